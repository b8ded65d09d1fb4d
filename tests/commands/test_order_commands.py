"""`flask --app wsgi orders` and `refunds`, on orders with money behind them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from flask import Flask

from app.clock import to_text
from app.commands import register_commands
from app.holds.service import release_hold
from app.orders.bounds import MOST_RETRIES
from app.orders.commands import Request
from app.orders.service import change_status, delete_order, place_order
from app.orders.sweeping import purge_deleted_orders
from app.reconciliation import run as reconciling
from app.refunds.service import request_refund, retry_refund
from tests.support.announcing import announce
from tests.support.reconciled import differences, reconciled
from tests.support.recovered import NEVER, recovered_services

if TYPE_CHECKING:
    from flask.testing import FlaskCliRunner

    from app.mongo.database import OrderDatabase
    from app.orders.refunds import Refund
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place


@pytest.fixture
def runner(services: Services) -> FlaskCliRunner:
    """Runs a command as a terminal would."""
    app = Flask("commands")
    app.extensions["services"] = services
    register_commands(app)
    return app.test_cli_runner()


@pytest.fixture
def recovered(services: Services, database: OrderDatabase) -> Services:
    """The services once the provider works again."""
    return recovered_services(services, database)


@pytest.fixture
def deleted(services: Services, place: Place, finish: Finish) -> str:
    """The id of an order that was deleted and whose money did not go back."""
    order_id = place(method=NEVER)["id"]
    finish(services, order_id)
    delete_order(services.orders, order_id, actor="user")
    finish(services, order_id)
    return order_id


def ask(services: Services, order_id: str, amount: str) -> Refund:
    return request_refund(
        services.orders, order_id, {"amount": Decimal(amount)}, actor="services", key=None, digest=""
    ).refund


def test_adjustments_are_shown_with_the_numbered_lines(
    runner: FlaskCliRunner, services: Services, finish: Finish
) -> None:
    """Amounts in major units; a refund by lines in the history."""
    draft: Any = {
        "userId": "eve",
        "products": [
            {"productId": "pear", "quantity": 2, "unitPrice": 625},
            {"productId": "fig", "quantity": 1},
        ],
        "adjustments": [
            {"kind": "shipping", "name": "Parcel\x1b", "amount": 490},
            {"kind": "discount", "amount": -100, "line": 1},
            {"kind": "tax", "amount": 7, "included": True},
        ],
        "totalAmount": 1640,
        "currency": "USD",
    }
    order_id = place_order(services.orders, draft, actor="eve", key=None, digest="").order["id"]
    finish(services, order_id)
    pieces: Any = {"products": [{"line": 1, "quantity": 1, "restock": False}], "shipping": True}
    request_refund(services.orders, order_id, pieces, actor="shop", key=None, digest="")
    printed = runner.invoke(args=["orders", "show", order_id]).stdout
    assert (
        "lines\n"
        "  1  2  pear  at 6.25\n"
        "  2  1  fig\n"
        "\n"
        "adjustments\n"
        "  shipping  4.90   Parcel\\x1b\n"
        "  discount  -1.00              for line 1\n"
        "  tax       0.07               included\n"
    ) in printed
    assert "amount=10.65 computed=True" in printed


def test_holds_are_shown_with_their_ends_and_reasons(
    runner: FlaskCliRunner, services: Services, clock: StoppedClock
) -> None:
    """And the time of the last release, once there is one."""
    until = clock() + timedelta(hours=1)
    draft: Any = {
        "userId": "eve",
        "products": [{"productId": "pear", "quantity": 2}],
        "totalAmount": 1640,
        "currency": "USD",
        "holds": [
            {"code": "a", "blocks": ["ship"], "until": until, "then": "cancel", "reason": "Why\x1b not"},
            {"code": "fraud_review", "blocks": ["capture", "ship"], "then": "release"},
        ],
    }
    order_id = place_order(services.orders, draft, actor="eve", key=None, digest="").order["id"]
    printed = runner.invoke(args=["orders", "show", order_id]).stdout
    assert (
        "holds\n"
        f"  a             blocks ship           until {to_text(until)}, then cancel  Why\\x1b not\n"
        "  fraud_review  blocks capture, ship\n"
    ) in printed
    assert "\nreleased" not in printed
    for code in ("a", "fraud_review"):
        release_hold(services.orders, order_id, code, None, Request("shop"))
    printed = runner.invoke(args=["orders", "show", order_id]).stdout
    assert "\nholds\n" not in printed
    assert ["released", to_text(clock())] in [line.split() for line in printed.splitlines()]


def test_every_amount_of_a_history_is_in_major_units(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish
) -> None:
    """That of a refund, too."""
    order_id = place(total=1250)["id"]
    finish(services, order_id)
    refund = ask(services, order_id, "5.00")["id"]
    finish(services, order_id)
    printed = runner.invoke(args=["orders", "show", order_id]).stdout
    events = [line.split() for line in printed.splitlines() if line.startswith("  ")][1:]
    shown = [(event[2], *event[4:]) for event in events if event[2].startswith(("payment", "refund"))]
    assert shown[1:] == [
        ("payment.captured", "capturedAmount=12.50"),
        ("refund.requested", f"refundId={refund}", "amount=5.00"),
        ("refund.succeeded", f"refundId={refund}"),
        ("payment.partially_refunded", "refundedAmount=5.00"),
    ]


def test_a_failed_refund_of_a_deleted_order_is_retried_until_it_succeeds(
    runner: FlaskCliRunner,
    services: Services,
    recovered: Services,
    deleted: str,
    finish: Finish,
    books: Books,
) -> None:
    for attempt in (2, 3):
        result = runner.invoke(args=["refunds", "retry", deleted])
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{deleted}-1  10.00 USD  attempt {attempt}\n"
        finish(services, deleted)
        assert books.order(deleted)["refunds"][0]["status"] == "failed"
    assert runner.invoke(args=["refunds", "retry", deleted.upper(), f"{deleted}-1"]).exit_code == 0
    finish(recovered, deleted)
    order = books.order(deleted)
    assert (order["payment"]["status"], order["payment"]["refundedAmount"]) == ("refunded", 1000)
    assert {event["actor"] for event in order["events"] if event["type"] == "refund.retried"} == {"operator"}


def test_an_order_that_owes_a_refund_is_reported_with_the_command_and_kept(
    runner: FlaskCliRunner,
    services: Services,
    recovered: Services,
    deleted: str,
    finish: Finish,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once the money is back it is no difference any more, and is purged."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    announce(services.notifications, [deleted])
    clock.advance(timedelta(days=services.settings.retention_days + 1))
    assert purge_deleted_orders(services.orders) == 0
    (found,) = differences(services, reconciled(services, scopes=["payments"]))
    assert (found["kind"], found["ids"]["orderId"]) == ("cancelled_refund_failed", deleted)
    assert "flask --app wsgi refunds retry" in runner.invoke(args=["reconcile", "payments"]).stdout
    assert runner.invoke(args=["refunds", "retry", deleted]).exit_code == 0
    assert purge_deleted_orders(services.orders) == 0
    finish(recovered, deleted)
    announce(services.notifications, [deleted])
    clock.advance(timedelta(minutes=2))
    assert differences(services, reconciled(services)) == []
    assert purge_deleted_orders(services.orders) == 1


def test_an_order_is_purged_once_another_refund_has_replaced_its_failed_one(
    services: Services, recovered: Services, place: Place, finish: Finish, clock: StoppedClock
) -> None:
    kept, gone = place(method=NEVER)["id"], place(method=NEVER)["id"]
    for order_id in (kept, gone):
        finish(services, order_id)
        for status in ("shipped", "delivered"):
            change_status(services.orders, order_id, status, actor="services")
        ask(services, order_id, "5.00")
        finish(services, order_id)
    ask(services, gone, "5.00")
    finish(recovered, gone)
    for order_id in (kept, gone):
        delete_order(services.orders, order_id, actor="services")
    announce(services.notifications, [kept, gone])
    clock.advance(timedelta(days=services.settings.retention_days + 1))
    assert purge_deleted_orders(services.orders) == 1
    assert services.orders.store.load([gone]) == []


def test_an_order_that_cannot_be_read_keeps_no_other_from_being_purged(
    services: Services, place: Place, finish: Finish, clock: StoppedClock, database: OrderDatabase
) -> None:
    ids = [place()["id"] for _ in range(2)]
    for order_id in ids:
        delete_order(services.orders, order_id, actor="user")
    finish(services, *ids)
    announce(services.notifications, ids)
    broken = {"$set": {"refunds": "none"}}
    database["orders"].update_one({"_id": ObjectId(ids[0])}, broken, bypass_document_validation=True)
    clock.advance(timedelta(days=services.settings.retention_days + 1))
    purge_deleted_orders(services.orders)
    assert services.orders.store.load([ids[1]]) == []


def test_a_retry_refunds_the_rest_of_a_cancelled_order(
    runner: FlaskCliRunner,
    services: Services,
    recovered: Services,
    place: Place,
    finish: Finish,
    books: Books,
) -> None:
    """Of the refund of all of it, after a smaller one was retried before."""
    order_id = place(method=NEVER)["id"]
    finish(services, order_id)
    small = ask(services, order_id, "4.00")["id"]
    finish(services, order_id)
    delete_order(services.orders, order_id, actor="user")
    finish(services, order_id)
    retry_refund(services.orders, order_id, small, actor="services")
    finish(recovered, order_id)
    result = runner.invoke(args=["refunds", "retry", order_id])
    assert result.stdout == f"{order_id}-2  6.00 USD  attempt 2\n"
    finish(recovered, order_id)
    order = books.order(order_id)
    assert [refund["amount"] for refund in order["refunds"]] == [400, 600]
    assert order["payment"]["status"] == "refunded"


def test_of_several_failed_refunds_the_largest_is_retried_first(
    runner: FlaskCliRunner, services: Services, place: Place, finish: Finish
) -> None:
    """A refund that finds nothing left is named, and makes the command fail."""
    order_id = place(method=NEVER)["id"]
    finish(services, order_id)
    for amount in ("4.00", "10.00"):
        ask(services, order_id, amount)
        finish(services, order_id)
    result = runner.invoke(args=["refunds", "retry", order_id])
    assert result.exit_code == 1
    assert result.stdout == f"{order_id}-2  10.00 USD  attempt 2\n"
    assert result.stderr == f"{order_id}-1  not retried: At most 0.00 USD can be refunded.\n"


def test_a_refused_retry_is_reported_in_one_line(
    runner: FlaskCliRunner, services: Services, place: Place, deleted: str, finish: Finish
) -> None:
    """An order without a failed refund, one that is not there, and a refund that was retried too often."""
    for _ in range(MOST_RETRIES):
        runner.invoke(args=["refunds", "retry", deleted])
        finish(services, deleted)
    for arguments, reason in (
        ([place()["id"]], "No refund of the order has failed."),
        (["66ffbd20a1b2c3d4e5f60718"], "The order 66ffbd20a1b2c3d4e5f60718 does not exist."),
        (["\x1b[2J"], r"The order \x1b[2J does not exist."),
        ([deleted, f"{deleted}-2"], "The refund does not exist."),
        ([deleted, f"{deleted}-1"], "The refund was retried 20 times."),
        ([deleted], "The refund was retried 20 times."),
    ):
        result = runner.invoke(args=["refunds", "retry", *arguments])
        assert result.exit_code == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert reason in result.stderr
