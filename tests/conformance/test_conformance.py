"""The running service answers any request as its description says: schemathesis, with all its checks.

None of its checks is left out; `hooks` says which refusals are for facts that no schema can state. What is
sent is the same each time. With CONFORMANCE_SECONDS=600 it goes on for so long in each mode, and is something
else every time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deploy.local.stack import ROOT
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.stack import Stack
    from tests.support.servers import StackStarter

SECONDS = os.environ.get("CONFORMANCE_SECONDS")
ENDLESS = int(SECONDS or 0) * 4 + 240
COMMAND = (sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()")
# Too long an address (414) is refused, too.
CONFIG = """
hooks = "tests.conformance.hooks"
continue-on-failure = true
cache.enabled = false
checks.negative_data_rejection.expected-statuses = [
    400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429, 431, 503
]
"""
# Neither may see what the other has; the examples' orders are the first one's.
PEERS = """
[auth.wfc]
path = "{path}"
peers = ["user-id", "another"]
"""
CUSTOMER = "orders:read orders:write"
CALLERS = {
    "user-id": CUSTOMER,
    "another": CUSTOMER,
    "services": "orders:admin stock:write webhooks:write reconciliations:read",
}
LONG = {"exp": 2**31}
# With tokens, finding orders by email needs a key.
GUARDED = {**SETTINGS, "PERSONAL_INDEX_KEY": "the key of a test, which has no customers"}


@pytest.fixture
def explore(tmp_path: Path) -> Callable[..., int]:
    """Sends requests to a service, so many for each operation and phase, and gives how many there were.

    Fails with all that schemathesis says where an answer is not as described.
    """

    def run(stack: Stack, examples: int, *options: str, config: str = "") -> int:
        file = tmp_path / "schemathesis.toml"
        file.write_text(CONFIG + config)
        finished = subprocess.run(
            [
                *COMMAND,
                *("--config-file", str(file), "run", f"{stack.base_url}/openapi.json", "--no-color"),
                *("--checks", "all", "--max-examples", str(examples)),
                *(["--max-time", SECONDS] if SECONDS else ["--generation-deterministic"]),
                *options,
            ],
            cwd=ROOT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert finished.returncode == 0, finished.stdout
        sent = re.search(r"(\d+) generated", finished.stdout)
        assert sent, finished.stdout
        return int(sent[1])

    return run


@pytest.mark.timeout(ENDLESS)
def test_where_everyone_may_do_everything(start_stack: StackStarter, explore: Callable[..., int]) -> None:
    assert explore(start_stack(), 10) > 1000


@pytest.mark.timeout(ENDLESS)
def test_where_callers_bring_tokens(
    start_stack: StackStarter, explore: Callable[..., int], tmp_path: Path
) -> None:
    """As customers who must not see each other's orders, as the shop, with a bad token and without one."""
    path = tmp_path / "callers.json"
    callers = [
        {
            "name": name,
            "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token(name, scope, **LONG)}"}],
        }
        for name, scope in CALLERS.items()
    ]
    path.write_text(json.dumps({"auth": callers}))
    stack = start_stack(settings=GUARDED)
    assert explore(stack, 10, config=PEERS.format(path=path)) > 1000


@pytest.mark.timeout(ENDLESS)
def test_requests_with_a_lesser_token_an_invalid_one_and_none(
    start_stack: StackStarter, explore: Callable[..., int]
) -> None:
    stack = start_stack(settings=GUARDED, roles={"web": 1})
    for given in (token(scope="orders:read", **LONG), "a.b.c"):
        authorization = bearer(given)["Authorization"]
        assert explore(stack, 2, "--phases", "fuzzing", "-H", f"Authorization: {authorization}") > 50
    assert explore(stack, 2, "--phases", "fuzzing,stateful") > 50
