"""`flask --app wsgi orders`: shows one order with its history, and makes the steps of a stuck order due."""

import json
import re
from typing import Any

import click

from app import money
from app.clock import to_text
from app.console import OperatorGroup, echo_columns, plain, services
from app.errors import NotFound
from app.orders import steps
from app.orders.fields import with_amounts
from app.orders.log import Event, first_bad_sequence
from app.orders.model import Order
from app.orders.reading import reading
from app.orders.sweeping import redrive as make_due

orders = OperatorGroup("orders", help="Single orders.")


@orders.command()
@click.argument("order_id", metavar="ID")
@click.pass_context
def show(ctx: click.Context, order_id: str) -> None:
    """Print an order and its history, even if it is deleted. Exit with 1 if the history was tampered with."""
    order = _load(order_id)
    with reading(order["id"]):
        bad = first_bad_sequence(order["id"], order["events"], order["version"])
        facts = _facts(order)
        lines = [_line(order, number) for number in range(len(order["products"]))]
        entries = [_entry(event, order["currency"]) for event in order["events"]]
    echo_columns(facts)
    click.echo("\nlines")
    echo_columns(lines, indent="  ")
    click.echo(f"\nhistory, {'its hashes intact' if bad is None else f'NOT INTACT from event {bad} on'}")
    echo_columns(entries, indent="  ")
    ctx.exit(0 if bad is None else 1)


@orders.command()
@click.argument("order_id", metavar="ID")
def redrive(order_id: str) -> None:
    """Make every step that an order owes due at once; the next sweep sends it again."""
    owed = make_due(services().orders, _load(order_id)["id"])
    click.echo(f"due again: {', '.join(owed)}" if owed else "The order owes nothing.")


def _load(order_id: str) -> Order:
    wanted = order_id.lower()
    found = services().orders.store.load_with_logs([wanted]) if re.fullmatch("[0-9a-f]{24}", wanted) else []
    if not found:
        raise NotFound(f"There is no order {plain(order_id)}.")
    return found[0]


def _facts(order: Order) -> list[tuple[str, str]]:
    currency, payment = order["currency"], order["payment"]
    captured, refunded = (
        money.to_text(payment[part], currency) for part in ("capturedAmount", "refundedAmount")
    )
    facts: dict[str, Any] = {
        "order": order["id"],
        "user": order["userId"],
        "reference": order.get("reference"),
        "status": order["status"],
        "cancellation": order.get("cancellation"),
        "total": f"{money.to_text(order['totalAmount'], currency)} {currency}",
        "payment": f"{payment['status']}, captured {captured}, refunded {refunded}",
        "method": payment.get("method"),
        "payment reference": payment.get("reference"),
        "failure": payment.get("failure"),
        "stock": order["stock"]["status"],
        "shortages": order["stock"].get("shortages"),
        "tracking": order.get("tracking"),
        **{name: value for name, value in order.get("personal", {}).items() if name != "salt"},
        "version": order["version"],
        "created": to_text(order["createdAt"]),
        "updated": to_text(order["updatedAt"]),
        "deleted": to_text(order["deletedAt"]) if "deletedAt" in order else None,
        "owes": _owed(order),
    }
    return [(name, _text(value)) for name, value in facts.items() if value is not None]


def _owed(order: Order) -> str | None:
    owed = steps.due(order)
    return f"{', '.join(owed)} (attempts so far: {order.get('attempts', 0)})" if owed else None


def _line(order: Order, number: int) -> tuple[str, ...]:
    line = order["products"][number]
    price = f"at {money.to_text(line['unitPrice'], order['currency'])}" if "unitPrice" in line else ""
    return str(line["quantity"]), plain(line["productId"]), price


def _entry(event: Event, currency: str) -> tuple[str, ...]:
    # The facts above the history already show the data of the first event.
    data = {} if event["type"] == "order.created" else event["data"]
    shown = with_amounts(data, lambda minor: money.to_text(minor, currency))
    details = " ".join(f"{name}={_text(value)}" for name, value in shown.items())
    return str(event["sequence"]), to_text(event["at"]), event["type"], plain(event["actor"]), plain(details)


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return plain(json.dumps(value, ensure_ascii=False, default=to_text))
    return plain(to_text(value) if hasattr(value, "isoformat") else value)
