"""The price of an order: its total, the share of each line, and the amount refunded with each piece.

Amounts are whole minor units. A line has a `quantity` and perhaps a `unitPrice`. An adjustment has a `kind`
and an `amount`, and perhaps the number of its `line` and `included`. Lines are numbered from 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

KINDS = ("shipping", "tax", "discount", "fee", "tip")
# These go back as a whole or not at all, unless they belong to a line.
_NOT_DEALT = ("shipping", "tip")

_Lines = Sequence[Mapping[str, Any]]
_Adjustments = Sequence[Mapping[str, Any]]


def total(lines: _Lines, adjustments: _Adjustments) -> int | None:
    """The sum of all lines and adjustments, included taxes left out. None if a line has no price."""
    if any("unitPrice" not in line for line in lines):
        return None
    return sum(map(_price, lines)) + sum(one["amount"] for one in adjustments if not one.get("included"))


def deal(amount: int, weights: Sequence[int]) -> list[int]:
    """The amount, dealt by the weights. The parts add up to the amount and have its sign.

    Each part is rounded down. Then the largest remainders get one unit each, the earlier of equal ones first.
    At least one weight is above 0.
    """
    whole = sum(weights)
    parts, remainders = zip(*(divmod(abs(amount) * weight, whole) for weight in weights), strict=True)
    left = abs(amount) - sum(parts)
    largest = set(sorted(range(len(weights)), key=lambda place: -remainders[place])[:left])
    dealt = [part + (place in largest) for place, part in enumerate(parts)]
    return dealt if amount >= 0 else [-part for part in dealt]


def by_line(lines: _Lines, adjustment: Mapping[str, Any]) -> list[int]:
    """Each line's share of an adjustment; 0 for an included tax and the whole order's shipping and tips."""
    if adjustment.get("included"):
        return [0] * len(lines)
    if "line" in adjustment:
        return [adjustment["amount"] * (number == adjustment["line"]) for number in range(1, len(lines) + 1)]
    if adjustment["kind"] in _NOT_DEALT:
        return [0] * len(lines)
    weights = list(map(_price, lines))
    return deal(adjustment["amount"], weights if any(weights) else [line["quantity"] for line in lines])


def below_zero(lines: _Lines, adjustments: _Adjustments) -> dict[int, int]:
    """The discounts that bring the share of a line below 0: their positions, each with the first such line.

    Discounts are subtracted after everything else, in their order.
    """
    shares = list(map(_price, lines))
    found: dict[int, int] = {}
    in_order = sorted(enumerate(adjustments), key=lambda each: each[1]["kind"] == "discount")
    for position, adjustment in in_order:
        for place, part in enumerate(by_line(lines, adjustment)):
            if shares[place] >= 0 > shares[place] + part:
                found.setdefault(position, place + 1)
            shares[place] += part
    return found


def _price(line: Mapping[str, Any]) -> int:
    price: int = line.get("unitPrice", 0) * line["quantity"]
    return price


class Pieces(NamedTuple):
    """Pieces of a line. `before` counts the pieces of the line that were paid or asked back before them."""

    line: int
    quantity: int
    before: int


class Costs:
    """The price of the pieces of an order's lines."""

    def __init__(self, lines: _Lines, adjustments: _Adjustments) -> None:
        self._lines = lines
        self._shipping = sum(
            one["amount"] for one in adjustments if one["kind"] == "shipping" and "line" not in one
        )
        self._kinds = [dict.fromkeys(KINDS, 0) for _ in lines]
        for adjustment in adjustments:
            for kinds, part in zip(self._kinds, by_line(lines, adjustment), strict=True):
                kinds[adjustment["kind"]] += part

    def share(self, line: int) -> int:
        """The share of the line with this number. A line without a price has a price of 0 here."""
        return _price(self._lines[line - 1]) + sum(self._kinds[line - 1].values())

    def breakdown(
        self, pieces: Iterable[Pieces], *, shipping: bool, amount: int | None = None
    ) -> dict[str, int]:
        """The cost of the pieces by kind, and as `products` the rest of the amount.

        Without an `amount`, it is the shares of the pieces. `shipping` adds the shipping of the whole order.
        """
        kinds = dict.fromkeys(KINDS, 0)
        kinds["shipping"] = costs = self._shipping if shipping else 0
        for some in pieces:
            costs += self._part(self.share(some.line), some)
            for kind, whole in self._kinds[some.line - 1].items():
                kinds[kind] += self._part(whole, some)
        return {"products": (costs if amount is None else amount) - sum(kinds.values()), **kinds}

    def _part(self, whole: int, some: Pieces) -> int:
        """The part of an amount of a line. The parts of all its pieces add up to the amount."""
        of = self._lines[some.line - 1]["quantity"]
        part: int = whole * (some.before + some.quantity) // of - whole * some.before // of
        return part
