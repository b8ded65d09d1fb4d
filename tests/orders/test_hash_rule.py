"""docs/events.md says how hashes are computed, and its example comes out as it says."""

from __future__ import annotations

import json
import re

from deploy.local.stack import ROOT
from tests.support.hash_rule import hashes, texts

RULE = (ROOT / "docs/events.md").read_text().partition("### How a hash is computed")[2]


def test_the_example_is_recomputed_by_the_rule_alone() -> None:
    """Both the texts and the hashes that the page gives."""
    order_id = re.search("the id `([0-9a-f]{24})`", RULE)
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```", RULE)
    assert order_id
    answer, listed = blocks[:2]
    events = json.loads(answer)["events"]
    assert len(events) == 6
    assert texts(order_id[1], events) == listed.splitlines()
    assert hashes(order_id[1], answer) == [event["hash"] for event in events]


def test_an_event_that_is_edited_comes_out_otherwise_from_there_on() -> None:
    order_id = "66ffbd20a1b2c3d4e5f60718"
    (answer, *_) = re.findall(r"(?ms)^```\w*\n(.*?)^```", RULE)
    given = [event["hash"] for event in json.loads(answer)["events"]]
    edited = hashes(order_id, answer.replace('"capturedAmount": 9.00', '"capturedAmount": 9.01'))
    assert [one == other for one, other in zip(given, edited, strict=True)] == [True] * 3 + [False] * 3
