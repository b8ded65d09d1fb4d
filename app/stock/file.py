"""Reads a file of stock levels. The whole file is checked before any level is set."""

import csv
import re
from collections.abc import Iterable
from typing import NamedTuple

from app.orders.values import ID_LENGTH
from app.stock.model import MOST_ON_HAND

COLUMNS = ["productId", "onHand"]


class StockFile(NamedTuple):
    """The levels by product, and the faults of the file, each with its line."""

    levels: dict[str, int]
    faults: list[str]


def read_stock(lines: Iterable[str]) -> StockFile:
    """Reads CSV (RFC 4180) with the header `productId,onHand`. `lines` has surrogates for invalid UTF-8."""
    levels: dict[str, int] = {}
    faults: list[str] = []
    seen: dict[str, int] = {}
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        if header != COLUMNS:
            return StockFile({}, [f"line 1: the header is not {','.join(COLUMNS)}"])
        for row in rows:
            number = rows.line_num
            fault = _fault(row, seen)
            if fault:
                faults.append(f"line {number}: {fault}")
            if row and row[0] not in seen:
                seen[row[0]] = number
                levels[row[0]] = 0 if fault else int(row[1])
    except csv.Error as error:
        faults.append(f"line {rows.line_num}: {error}")
    return StockFile(levels, faults)


def _fault(row: list[str], seen: dict[str, int]) -> str | None:
    if not row:
        return None
    if len(row) != len(COLUMNS):
        return f"has {len(row)} columns, not {len(COLUMNS)}"
    product, on_hand = row
    if not 1 <= len(product) <= ID_LENGTH:
        return f"productId is not a text of 1 to {ID_LENGTH} characters"
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in product):
        return "productId has control characters or is not UTF-8"
    if product in seen:
        return f"{product} stands on line {seen[product]} already"
    if not re.fullmatch(r"[0-9]{1,10}", on_hand) or int(on_hand) > MOST_ON_HAND:
        return f"onHand is not a whole number from 0 to {MOST_ON_HAND}"
    return None
