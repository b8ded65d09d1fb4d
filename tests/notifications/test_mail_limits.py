"""The limits of mails per hour, by address and by caller, counted in the database for all processes."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from app.config import Settings
from app.notifications.announce import deliver, forget_mail_counts, overdue_notifications
from app.notifications.mail.channel import MailChannel
from app.notifications.mail_counts_store import HOUR, MailCounts
from app.notifications.mail_limits import OF_CALLER, TO_ADDRESS, MailLimits
from app.orders.service import Draft, change_status, place_order
from tests.support.announcing import announce
from tests.support.doubles import at_once, with_parts
from tests.support.postbox import HOST, Postbox, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock

# The least that shows both limits apart.
PER_ADDRESS, PER_CALLER = 4, 3
SETTINGS = Settings.from_env(
    {"AUTH": "off", "MAILS_PER_ADDRESS": str(PER_ADDRESS), "MAILS_PER_CALLER": str(PER_CALLER)}
)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    """A mail server that takes everything."""
    box = Postbox()
    server = Server(box)
    server.start()
    box.port = server.port  # type: ignore[attr-defined]
    yield box
    server.stop()


@pytest.fixture
def mailing(
    services: Services, database: OrderDatabase, clock: StoppedClock, postbox: Postbox
) -> Callable[[], Services]:
    """Makes a process with limits, whose mails go to the postbox."""

    def start() -> Services:
        limits = MailLimits(MailCounts(database), clock, SETTINGS)
        url = f"smtp://{HOST}:{postbox.port}"  # type: ignore[attr-defined]
        return with_parts(services, channels=(MailChannel(url, "orders@shop.example", limits),))

    return start


def mails(services: Services, orders: list[tuple[str, str]]) -> list[str]:
    """The ids of the mails that the cancellations of new orders owe, by the user and address of each."""
    ids = []
    for user, email in orders:
        draft: Any = {"userId": user, "products": [{"productId": "p", "quantity": 1}]}
        wanted = Draft(**draft, totalAmount=0, currency="USD", email=email)
        order = place_order(services.orders, wanted, actor=user, key=None, digest="").order
        change_status(services.orders, order["id"], "cancelled", actor=user)
        ids += announce(services.notifications, [order["id"]]).notifications
    assert len(ids) == len(orders)
    return ids


def states(books: Books) -> Counter[tuple[str, str]]:
    return Counter((record["status"], record.get("detail", "")) for record in books.notifications())


def test_one_address_gets_so_many_mails_an_hour_however_it_is_spelled(
    mailing: Callable[[], Services], clock: StoppedClock, postbox: Postbox, books: Books
) -> None:
    """By two processes at once, and for callers that differ. What is over is recorded and not tried again."""
    spellings = [
        "jörg@müller.example",
        "JÖRG@müller.EXAMPLE",
        "jo\u0308rg@mu\u0308ller.example",
        "jörg@xn--mller-kva.example",
        "jörg+one@müller.example",
        "jörg+two@müller.example",
    ]
    shops = [mailing(), mailing()]
    ids = mails(shops[0], [(f"user-{number}", email) for number, email in enumerate(spellings)])
    at_once(
        lambda: deliver(shops[0].notifications, ids[::2]), lambda: deliver(shops[1].notifications, ids[1::2])
    )
    assert states(books) == {("sent", ""): PER_ADDRESS, ("withheld", TO_ADDRESS): 2}
    assert len(postbox.taken) == PER_ADDRESS
    clock.advance(HOUR)
    assert overdue_notifications(shops[0].notifications) == []
    deliver(shops[0].notifications, mails(shops[0], [("another", spellings[0])]))
    assert len(postbox.taken) == PER_ADDRESS + 1


def test_the_orders_of_one_caller_send_so_many_mails_an_hour_whatever_the_address(
    mailing: Callable[[], Services], clock: StoppedClock, postbox: Postbox, books: Books, logged: list[Any]
) -> None:
    """And what is withheld for the caller does not count for the address."""
    services = mailing()
    deliver(
        services.notifications,
        mails(services, [("spammer", f"victim-{number}@x.example") for number in range(PER_CALLER)]),
    )
    deliver(services.notifications, mails(services, [("spammer", "ann@x.example")] * PER_ADDRESS))
    assert states(books) == {("sent", ""): PER_CALLER, ("withheld", OF_CALLER): PER_ADDRESS}
    deliver(
        services.notifications,
        mails(services, [(f"user-{number}", "ann@x.example") for number in range(PER_ADDRESS)]),
    )
    assert states(books)["sent", ""] == PER_CALLER + PER_ADDRESS
    warned = [line for line in logged if line["event"] == "notification withheld"]
    assert [line["log_level"] for line in warned] == ["warning"] * PER_ADDRESS
    assert "@" not in repr(warned)
    clock.advance(HOUR)
    deliver(services.notifications, mails(services, [("spammer", "ann@x.example")]))
    assert states(books)["sent", ""] == PER_CALLER + PER_ADDRESS + 1


def test_a_mail_that_is_tried_again_counts_once(
    mailing: Callable[[], Services], clock: StoppedClock, postbox: Postbox, books: Books
) -> None:
    """An hour without a mail server costs no mail."""
    services = mailing()
    ids = mails(services, [("ann", "ann@x.example")] * PER_CALLER)
    postbox.replies = {"ann@x.example": "451 4.7.1 greylisted"}
    for _ in range(3):
        deliver(services.notifications, ids)
        clock.advance(timedelta(minutes=2))
    assert set(states(books)) == {("pending", "451 4.7.1")}
    postbox.replies = {}
    deliver(services.notifications, ids)
    assert {status for status, _ in states(books)} == {"sent"}


def test_counts_of_mails_name_no_customer_and_are_removed_after_their_hour(
    mailing: Callable[[], Services], database: OrderDatabase, clock: StoppedClock
) -> None:
    """The key stays, for all processes the same."""
    services = mailing()
    deliver(services.notifications, mails(services, [("ann-lee", "ann@x.example")]))
    counted = json_util.dumps(list(database["mail_counts"].find()))
    assert "ann" not in counted
    assert "x.example" not in counted
    forget_mail_counts(services.notifications)
    assert database["mail_counts"].count_documents({"until": {"$exists": True}}) == 2
    clock.advance(HOUR + timedelta(seconds=1))
    forget_mail_counts(services.notifications)
    assert [found["_id"] for found in database["mail_counts"].find()] == ["key"]


def test_mails_at_once_never_pass_the_limit(database: OrderDatabase, clock: StoppedClock) -> None:
    """From processes that share nothing but the database, each with its first look at the key."""
    counts = [MailCounts(database) for _ in range(16)]
    admitted = at_once(
        *(
            lambda held=held, n=n: [held.admit("a", f"{n}-{i}", 40, clock()) for i in range(10)]
            for n, held in enumerate(counts)
        )
    )
    assert sum(map(sum, admitted)) == 40
    assert database["mail_counts"].count_documents({}) == 2
