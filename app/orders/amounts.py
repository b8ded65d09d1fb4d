"""Checks the amounts of a new order or of a quote: their decimals, the adjustments and the total."""

from decimal import Decimal
from typing import Any

from app.http.fields import is_finer
from app.money import DECIMALS, to_minor
from app.orders import shares


def faults_in(data: dict[str, Any], original: dict[str, Any], currency: str | None) -> dict[Any, Any]:
    """The faults of the amounts, nested like the input.

    `data` has the valid fields of `original`, in major units. `currency` is None if it is not valid.
    """
    lines = _in_place(data, original, "products")
    faults = _too_fine(data, lines, currency) if currency else {}
    expected, total = _sum(lines), data.get("totalAmount")
    summed = "lines"
    if "adjustments" in original:
        adjustments = _in_place(data, original, "adjustments")
        if wrong := _misfits(adjustments, len(lines), currency):
            faults["adjustments"] = wrong
        if wrong or not _are_valid(adjustments, original["adjustments"]):
            expected = None
        elif expected is not None:
            expected += sum(one["amount"] for one in adjustments if not one.get("included"))
            summed = "lines and adjustments"
            if below := _below_zero(lines, adjustments, currency, faults):
                faults["adjustments"] = below
    if expected is not None and total is not None and expected != total and "totalAmount" not in faults:
        shown = f"{expected:.{DECIMALS[currency]}f}" if currency else expected
        faults["totalAmount"] = [f"must equal the sum of the {summed} ({shown})"]
    return faults


def _at_most(currency: str) -> str:
    return f"must have at most {DECIMALS[currency]} decimals in {currency}"


def _too_fine(order: dict[str, Any], lines: list[dict[str, Any]], currency: str) -> dict[Any, Any]:
    decimals = DECIMALS[currency]
    complaint = [_at_most(currency)]
    faults: dict[Any, Any] = {}
    if "totalAmount" in order and is_finer(order["totalAmount"], decimals):
        faults["totalAmount"] = complaint
    prices = {
        index: {"unitPrice": complaint}
        for index, line in enumerate(lines)
        if "unitPrice" in line and is_finer(line["unitPrice"], decimals)
    }
    if prices:
        faults["products"] = prices
    return faults


def _sum(lines: list[dict[str, Any]]) -> Decimal | None:
    """The sum of the lines; None if a line has no valid price or quantity."""
    total = Decimal(0)
    for line in lines:
        if "unitPrice" not in line or "quantity" not in line:
            return None
        total += line["unitPrice"] * line["quantity"]
    return total if lines else None


def _in_place(data: dict[str, Any], original: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The valid parts of these items. Empty if one is missing, since the positions have shifted then."""
    items: list[dict[str, Any]] = data.get(name, [])
    return items if items and len(items) == len(original[name]) else []


def _are_valid(adjustments: list[dict[str, Any]], sent: Any) -> bool:
    """Whether every adjustment that was sent has all of its fields, each valid by itself."""
    return (
        isinstance(sent, list)
        and len(adjustments) == len(sent)
        and all(
            isinstance(each, dict) and one.keys() == each.keys() >= {"kind", "amount"}
            for one, each in zip(adjustments, sent, strict=True)
        )
    )


def _misfits(adjustments: list[dict[str, Any]], lines: int, currency: str | None) -> dict[int, Any]:
    """The faults of each adjustment by its position. `lines` is the number of lines; 0 if unknown."""
    faults: dict[int, Any] = {}
    for position, adjustment in enumerate(adjustments):
        wrong: dict[str, list[str]] = {}
        kind, amount = adjustment.get("kind"), adjustment.get("amount")
        if kind and amount is not None and (amount > 0 if kind == "discount" else amount < 0):
            wrong["amount"] = [f"must be {'at most' if kind == 'discount' else 'at least'} 0 for a {kind}"]
        elif amount is not None and currency and is_finer(amount, DECIMALS[currency]):
            wrong["amount"] = [_at_most(currency)]
        if kind and kind != "tax" and "included" in adjustment:
            wrong["included"] = ["is only allowed with the kind tax"]
        if lines and adjustment.get("line", 0) > lines:
            wrong["line"] = [f"must be a line of the order, from 1 to {lines}"]
        if wrong:
            faults[position] = wrong
    return faults


def _below_zero(
    lines: list[dict[str, Any]],
    adjustments: list[dict[str, Any]],
    currency: str | None,
    faults: dict[Any, Any],
) -> dict[int, Any]:
    """The fault of each discount that brings the share of a line below 0."""
    if not currency or "products" in faults:
        return {}
    found = shares.below_zero(
        [{**line, "unitPrice": to_minor(line["unitPrice"], currency)} for line in lines],
        [{**one, "amount": to_minor(one["amount"], currency)} for one in adjustments],
    )
    return {
        position: {"amount": [f"must not bring the share of line {line} below 0"]}
        for position, line in found.items()
    }
