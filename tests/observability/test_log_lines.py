"""Log lines as another process reads them."""

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from app.observability.logging import configure
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


QUOTING = """
import structlog
from pymongo.errors import BulkWriteError
from app.observability.logging import configure
configure("info")
def write():
    raise BulkWriteError({"writeErrors": [{"op": {"email": "zoe@example.org"}}], "code": 65})
try:
    try:
        {}["zoe@example.org"]
    except KeyError:
        write()
except BulkWriteError as error:
    structlog.get_logger().error("by hand", exc_info=error)
    structlog.get_logger().exception("by itself")
"""


def test_an_exception_is_logged_with_type_and_traceback_and_without_its_message() -> None:
    run = subprocess.run([sys.executable, "-c", QUOTING], capture_output=True, check=True)
    assert b"zoe" not in run.stderr
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["by hand", "by itself"]
    for line in lines:
        first, second = line["exception"].split("builtins.KeyError")
        assert "line 10" in first
        assert "in write" in second
        assert second.endswith("pymongo.errors.BulkWriteError 65")


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
