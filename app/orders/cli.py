"""`flask --app wsgi orders`: shows one order with its history, and makes the steps of a stuck order due."""

import json
import re
from collections.abc import Callable
from typing import Any

import click

from app import money
from app.clock import to_text
from app.console import OperatorGroup, echo_columns, plain, progress_bar, services
from app.errors import NotFound
from app.orders import steps
from app.orders.fields import ORDER, with_amounts
from app.orders.goods import PartCancellation, Return, Shipment
from app.orders.goods import shipments as shipments_of
from app.orders.holds import Hold
from app.orders.log import Event, first_bad_sequence
from app.orders.model import Adjustment, NoteText, Order
from app.orders.numbers import parse
from app.orders.reading import reading
from app.orders.sweeping import index_emails as correct_keys
from app.orders.sweeping import redrive as make_due

orders = OperatorGroup("orders", help="Single orders.")


@orders.command()
@click.argument("key", metavar="ID_OR_NUMBER")
@click.pass_context
def show(ctx: click.Context, key: str) -> None:
    """Print an order and its history, even if it is deleted. Exit with 1 if the history was tampered with."""
    order = _load(key)
    with reading(order["id"]):
        bad = first_bad_sequence(order["id"], order["events"], order["version"])
        facts = _facts(order)
        lines = [_line(order, number) for number in range(len(order["products"]))]
        adjustments = [_adjustment(order, one) for one in order.get("adjustments", ())]
        holds = [_hold(hold) for hold in order.get("holds", ())]
        shipments = [_shipment(one) for one in shipments_of(order, order["events"])]
        cancellations = [_cancellation(order, one) for one in order.get("cancellations", ())]
        returns = [_return(one) for one in order.get("returns", ())]
        notes = [_note(order, text) for text in order.get("noteTexts", ())]
        entries = [_entry(event, order) for event in order["events"]]
    echo_columns(facts)
    click.echo("\nlines")
    echo_columns(lines, indent="  ")
    if shipments:
        click.echo("\nshipments")
        echo_columns(shipments, indent="  ")
    if cancellations:
        click.echo("\ncancelled pieces")
        echo_columns(cancellations, indent="  ")
    if returns:
        click.echo("\nreturns")
        echo_columns(returns, indent="  ")
    if holds:
        click.echo("\nholds")
        echo_columns(holds, indent="  ")
    if adjustments:
        click.echo("\nadjustments")
        echo_columns(adjustments, indent="  ")
    if notes:
        click.echo("\nnotes")
        echo_columns(notes, indent="  ")
    click.echo(f"\nhistory, {'its hashes intact' if bad is None else f'NOT INTACT from event {bad} on'}")
    echo_columns(entries, indent="  ")
    ctx.exit(0 if bad is None else 1)


@orders.command()
@click.argument("key", metavar="ID_OR_NUMBER")
def redrive(key: str) -> None:
    """Make every step that an order owes due at once; the next sweep sends it again."""
    owed = make_due(services().orders, _load(key)["id"])
    click.echo(f"due again: {', '.join(owed)}" if owed else "The order owes nothing.")


@orders.command()
def reindex() -> None:
    """Make all orders found by email with the present PERSONAL_INDEX_KEY."""
    with progress_bar("index emails") as progress:
        corrected = correct_keys(services().orders, progress)
    click.echo(f"corrected: {corrected}")


def _load(key: str) -> Order:
    """The order with this id or number. Raises NotFound."""
    for order in services().orders.store.load_with_logs([id_of(key)]):
        return order
    raise _missing(key)


def id_of(key: str) -> str:
    """The id of an order that a command names by its id or number. Raises NotFound."""
    if re.fullmatch("[0-9a-f]{24}", key.lower()):
        return key.lower()
    number = parse(key)
    if found := services().orders.store.id_of(number) if number else None:
        return found
    raise _missing(key)


def _missing(key: str) -> NotFound:
    return NotFound(f"The order {plain(key)} does not exist.")


def _facts(order: Order) -> list[tuple[str, str]]:
    known: dict[str, Any] = {**order.get("personal", {}), **order}
    facts: dict[str, Any] = {}
    for field in _FIELDS:
        if field.name in _PRINTED:
            facts |= _PRINTED[field.name](order)
        else:
            value = known[field.name] if field.always else known.get(field.name)
            facts |= _amounts_in({field.name: value}, order)
    facts["owes"] = _owed(order)
    return [(name, _text(value)) for name, value in facts.items() if value is not None]


def _total(order: Order) -> str:
    return f"{money.to_text(order['totalAmount'], order['currency'])} {order['currency']}"


def _payment(order: Order) -> dict[str, Any]:
    payment = _amounts_in(order["payment"], order)
    return {
        "payment": f"{payment['status']}, captured {payment['capturedAmount']}, "
        f"refunded {payment['refundedAmount']}",
        "method": payment.get("method"),
        "payment reference": payment.get("reference"),
        "failure": payment.get("failure"),
    }


def _stock(order: Order) -> dict[str, Any]:
    stock = order["stock"]
    return {
        "stock": stock["status"],
        "shortages": stock.get("shortages"),
        "held until": stock.get("heldUntil"),
    }


def _nothing(_order: Order) -> dict[str, Any]:
    return {}


# How a field is printed, where not by its own name and value.
_PRINTED: dict[str, Callable[[Order], dict[str, Any]]] = {
    "id": lambda order: {"order": order["id"]},
    "userId": lambda order: {"user": order["userId"]},
    "totalAmount": lambda order: {"total": _total(order)},
    "payment": _payment,
    "stock": _stock,
    "createdAt": lambda order: {"created": order["createdAt"]},
    "updatedAt": lambda order: {"updated": order["updatedAt"]},
    "deletedAt": lambda order: {"deleted": order.get("deletedAt")},
    "releasedAt": lambda order: {"released": order.get("releasedAt")},
    # Tables below the facts show these.
    **dict.fromkeys(
        (
            "products",
            "adjustments",
            "currency",
            "publicVersion",
            "refunds",
            "shipments",
            "cancellations",
            "returns",
            "holds",
            "notes",
        ),
        _nothing,
    ),
}
# The first fields that are printed; all others follow in the order of their definition.
_FIRST = (
    "id", "number", "userId", "reference", "status", "cancellation", "totalAmount", "payment", "stock",
    "tracking",
)  # fmt: skip
_FIELDS = sorted(
    (field for field in ORDER if field.stored),
    key=lambda field: _FIRST.index(field.name) if field.name in _FIRST else len(_FIRST),
)


def _owed(order: Order) -> str | None:
    owed = steps.due(order)
    return f"{', '.join(owed)} (attempts so far: {order.get('attempts', 0)})" if owed else None


def _line(order: Order, number: int) -> tuple[str, ...]:
    line = order["products"][number]
    price = f"at {money.to_text(line['unitPrice'], order['currency'])}" if "unitPrice" in line else ""
    # A single line needs no number.
    numbered = (str(number + 1),) if len(order["products"]) > 1 else ()
    return *numbered, str(line["quantity"]), plain(line["productId"]), price


def _adjustment(order: Order, one: Adjustment) -> tuple[str, ...]:
    amount = money.to_text(one["amount"], order["currency"])
    about = f"for line {one['line']}" if "line" in one else ""
    return one["kind"], amount, plain(one.get("name", "")), "included" if one.get("included") else about


def _shipment(one: Shipment) -> tuple[str, ...]:
    pieces = ", ".join(f"{some['quantity']} of line {some['line']}" for some in one["products"])
    tracking = one.get("tracking", {})
    parcel = " ".join(tracking[name] for name in ("carrier", "number", "url") if name in tracking)
    return one["id"], one["status"], to_text(one["updatedAt"]), pieces, plain(parcel)


def _hold(hold: Hold) -> tuple[str, ...]:
    end = f"until {to_text(hold['until'])}, then {hold['then']}" if "until" in hold else ""
    return hold["code"], f"blocks {', '.join(hold['blocks'])}", end, plain(hold.get("reason", ""))


def _return(one: Return) -> tuple[str, ...]:
    pieces = ", ".join(f"{some['quantity']} of line {some['line']}" for some in one["products"])
    came = ", ".join(
        f"{some['quantity']} of line {some['line']} {some['condition']}"
        for receipt in one["receipts"]
        for some in receipt["products"]
    )
    reason = one.get("rejection", {}).get("reason", one.get("note", ""))
    back = f"received {came}" if came else ""
    return one["id"], to_text(one["createdAt"]), one["status"], pieces, one["refund"], back, plain(reason)


def _cancellation(order: Order, one: PartCancellation) -> tuple[str, ...]:
    pieces = ", ".join(f"{some['quantity']} of line {some['line']}" for some in one["products"])
    amount = money.to_text(one["amount"], order["currency"])
    back = f"refund {one['refundId']}" if "refundId" in one else "not charged" if "lowers" in one else ""
    return one["id"], to_text(one["createdAt"]), pieces, amount, back, plain(one.get("reason", ""))


def _note(order: Order, text: NoteText) -> tuple[str, ...]:
    note = next(note for note in order["notes"] if note["id"] == text["id"])
    at = to_text(note["createdAt"])
    return plain(note["id"]), at, note["visibility"], plain(note["actor"]), plain(text["text"])


def _entry(event: Event, order: Order) -> tuple[str, ...]:
    # The facts above the history already show the data of the first event.
    data = {} if event["type"] == "order.created" else event["data"]
    details = " ".join(f"{name}={_text(value)}" for name, value in _amounts_in(data, order).items())
    return str(event["sequence"]), to_text(event["at"]), event["type"], plain(event["actor"]), plain(details)


def _amounts_in(data: Any, order: Order) -> Any:
    return with_amounts(data, lambda minor: money.to_text(minor, order["currency"]))


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return plain(json.dumps(value, ensure_ascii=False, default=to_text))
    return plain(to_text(value) if hasattr(value, "isoformat") else value)
