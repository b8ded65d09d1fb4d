"""The number of an order: a short name of its id that a customer can read aloud, such as `7KQ4-2M9X-D`.

The first eight signs are 40 bits of a digest of the id, in Crockford's base 32. The ninth is their remainder
modulo 37, so that a mistyped sign or two swapped ones are noticed. It is always a letter or a digit, since
numbers with another check sign are not used.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from itertools import count, islice

from app.clock import new_id

_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# The two signs of each ten bits.
_PAIRS = [one + other for one in _SIGNS for other in _SIGNS]
_CHECKED, _LENGTH = 37, 9
_AS_MEANT = str.maketrans("OIL", "011", "- ")
# An order whose number was taken has one of the next ones. More than a few are never needed.
_MOST = 16


def new_numbered_id(moment: datetime) -> str:
    """A new id of an order whose digest gives a number."""
    while True:
        order_id = new_id(moment)
        if _number(order_id):
            return order_id


def numbers_of(order_id: str) -> Iterator[str]:
    """The numbers that an order can have, best first. Only orders that were stored before they got a number
    can have another one than the first."""
    yield from filter(None, (_number(f"{order_id}:{again}" if again else order_id) for again in count()))


def number_of(order_id: str) -> str:
    """The first number of the order, which it has unless that was taken."""
    return _number(order_id) or next(numbers_of(order_id))


def is_number_of(number: str, order_id: str) -> bool:
    """Whether the order can have this number."""
    return number in islice(numbers_of(order_id), _MOST)


def parse(text: str) -> str | None:
    """The number that a person wrote, without regard to case, dashes and spaces; None if it is mistyped.

    The letter O counts as 0, I and L as 1.
    """
    signs = text.upper().translate(_AS_MEANT) if text.isascii() else ""
    if len(signs) != _LENGTH or not set(signs) <= set(_SIGNS):
        return None
    value = sum(_SIGNS.index(sign) << 5 * place for place, sign in enumerate(reversed(signs[:-1])))
    if value % _CHECKED != _SIGNS.index(signs[-1]):
        return None
    return f"{signs[:4]}-{signs[4:8]}-{signs[8]}"


def _number(text: str) -> str | None:
    """The number from the digest of the text; None if its check is not a letter or digit."""
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:5])
    check = value % _CHECKED
    if check >= len(_SIGNS):
        return None
    first, second = _PAIRS[value >> 30], _PAIRS[value >> 20 & 1023]
    return f"{first}{second}-{_PAIRS[value >> 10 & 1023]}{_PAIRS[value & 1023]}-{_SIGNS[check]}"
