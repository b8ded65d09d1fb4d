"""Log lines as another process reads them."""

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from app.logging import configure
configure("info")
log = structlog.get_logger()
structlog.contextvars.bind_contextvars(request_id="abc")
log.debug("unseen")
log.info("order placed", order_id="1", note="two\\nlines \\ud800")
logging.getLogger("some.library").warning("it %s", "happened")
logging.getLogger("pymongo").info("unseen")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_each_line_is_one_json_object_with_its_request_id() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["order placed", "it happened", "failed"]
    assert {line["request_id"] for line in lines} == {"abc"}
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert lines[1]["logger"] == "some.library"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert run.stdout == b""
