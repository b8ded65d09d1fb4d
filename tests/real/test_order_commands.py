"""`flask --app wsgi orders` and `refunds`, on orders with money behind them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from app.cli import register_commands
from app.services.refunding import ask_refund

if TYPE_CHECKING:
    from flask.testing import FlaskCliRunner

    from app.services.shop import Shop
    from tests.real.conftest import Finish, Place


@pytest.fixture
def runner(shop: Shop) -> FlaskCliRunner:
    """Runs a command as a terminal would."""
    app = Flask("commands")
    app.extensions["shop"] = shop
    register_commands(app)
    return app.test_cli_runner()


def test_every_amount_of_a_history_is_in_major_units(
    runner: FlaskCliRunner, shop: Shop, place: Place, finish: Finish
) -> None:
    """That of a refund, too."""
    order_id = place(total=1250)["id"]
    finish(shop, order_id)
    refund = ask_refund(
        shop, order_id, {"amount": Decimal("5.00")}, actor="shop", key=None, digest=""
    ).refund["id"]
    finish(shop, order_id)
    printed = runner.invoke(args=["orders", "show", order_id]).stdout
    events = [line.split() for line in printed.splitlines() if line.startswith("  ")][1:]
    told = [(event[2], *event[4:]) for event in events if event[2].startswith(("payment", "refund"))]
    assert told[1:] == [
        ("payment.captured", "capturedAmount=12.50"),
        ("refund.requested", f"refundId={refund}", "amount=5.00"),
        ("refund.succeeded", f"refundId={refund}"),
        ("payment.partially_refunded", "refundedAmount=5.00"),
    ]
