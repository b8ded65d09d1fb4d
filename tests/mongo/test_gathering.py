"""Calls that are ready at the same time share one round trip, the first of them included."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent
from app.mongo.gathering import Gather

batches = []

def double(numbers):
    batches.append(len(numbers))
    return [2 * number for number in numbers]

gather = Gather(double, largest=5)
calls = [gevent.spawn(gather, number) for number in range({calls})]
gevent.joinall(calls, timeout=10, raise_error=True)
assert [call.value for call in calls] == [2 * number for number in range({calls})]
print(batches)
"""


def batches_of(calls: int) -> str:
    """The sizes of the batches of this many greenlets that all are ready."""
    command = [sys.executable, "-c", PROGRAM.format(calls=calls)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_requests_that_are_ready_share_one_batch() -> None:
    assert batches_of(5) == "[5]"


def test_a_lone_request_is_a_batch_of_its_own() -> None:
    assert batches_of(1) == "[1]"


def test_a_full_batch_does_not_wait_for_more() -> None:
    assert batches_of(11) == "[5, 5, 1]"
