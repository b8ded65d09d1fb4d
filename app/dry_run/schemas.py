"""The query of a command, and the answer of a dry run."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import fields

from app.http import examples
from app.http.schemas import Answer, amount, listed, nested, text, whole
from app.orders.events import EVENTS
from app.orders.schemas import Event, Order

EXAMPLE: dict[str, Any] = {
    "order": examples.ORDER,
    "events": examples.EVENTS["events"][:1],
    "sets": ["payment.authorized", "stock.decremented", "payment.captured", "order.confirmed"],
    "money": {"capture": 200.00, "refund": 0.00},
    "stock": [{"productId": "product-id", "before": 10, "after": 8}],
    "mails": [{"to": "customer", "template": "confirmed"}],
}


class MoneyForeseen(Answer):
    """The money that the command and the steps after it move."""

    capture = amount("The amount that is taken, exact, in major units.")
    refund = amount("The amount that is given back, exact, in major units.")


class StockForeseen(Answer):
    """A product whose stock level changes."""

    productId = text("The id of the product.")
    before = whole("The present quantity on hand.", minimum=0)
    after = whole("The quantity on hand after all steps.", minimum=0)


class MailForeseen(Answer):
    """A mail that is sent."""

    to = text("The recipient.", enum=["customer"])
    template = text("The name of the mail, such as `confirmed`.")


class DryRun(Answer):
    """What the command would do. Nothing is written."""

    order = nested(Order, "The order after the command's own write.")
    events = listed(fields.Nested(Event), "The events that the command itself adds.")
    sets = listed(
        fields.String(metadata={"enum": list(EVENTS)}),
        "The types of all events that follow, if the payment provider does as asked.",
    )
    money = nested(MoneyForeseen, "The money that moves.")
    stock = listed(
        fields.Nested(StockForeseen),
        "The products whose stock levels change. Untracked products are left out.",
    )
    mails = listed(fields.Nested(MailForeseen), "The mails that are sent.")
