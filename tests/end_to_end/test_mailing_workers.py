"""A worker that dies while it mails: another sends what it had claimed, soon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from app.clock import now
from app.notifications.announce import CLAIM
from tests.end_to_end.service import draft, eventually
from tests.support.postbox import HOST, Postbox, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter

STALLED = "ann@example.org"


@pytest.fixture
def postbox() -> Postbox:
    """The mails that the server accepted."""
    return Postbox()


@pytest.fixture
def smtp_url(postbox: Postbox) -> Iterator[str]:
    """A mail server for the postbox."""
    server = Server(postbox)
    server.start()
    yield f"smtp://{HOST}:{server.port}"
    server.stop()


def test_the_mails_of_a_dead_worker_go_out_within_a_minute(
    serve: ServiceStarter, postbox: Postbox, smtp_url: str
) -> None:
    """It dies in the middle of a mail, with the others of its batch behind that one.

    Its claim has to expire first. The test ends the claim to save time.
    """
    postbox.stalled.add(STALLED)
    service = serve(settings={"SMTP_URL": smtp_url})
    ids = service.place_all([draft(email=STALLED)] * 4)
    eventually(lambda: service.database.notifications.count_documents({"attempts": {"$gte": 1}}))
    service.stack.kill("worker")
    killed, killed_at = time.monotonic(), now()
    claimed = list(service.database.notifications.find({"status": "pending"}))
    assert max(one["dueBy"] for one in claimed) <= killed_at + CLAIM
    service.database.notifications.update_many({"status": "pending"}, {"$set": {"dueBy": killed_at}})
    postbox.stalled.clear()
    service.stack.start("worker")

    eventually(lambda: len(postbox.recipients) >= len(ids), timeout=180)

    # The worker's start, and a tick of beat.
    assert time.monotonic() - killed < 30
    assert {str(letter["Message-ID"]) for _, letter in postbox.taken} == {
        f"<{order_id}.{service.get(order_id)['version']}.mail@localhost>" for order_id in ids
    }
