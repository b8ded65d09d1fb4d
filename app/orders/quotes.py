"""Quotes: baskets that the shop's own pricing has priced and signed."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.errors import Expired, Fault, Forged, QuoteDiffers, QuoteExpired, QuoteInvalid
from app.orders.beside_store import QuoteUse
from app.orders.schemas import BASKET, basket_in, in_minor_units
from app.orders.service import Draft

# A date of MongoDB can be later, one of Python cannot.
_LAST = int(datetime(9990, 1, 1, tzinfo=UTC).timestamp())

Claims = Mapping[str, Any]


def claims_in(quote: str, verify: Callable[[str], Claims] | None) -> Claims:
    """The claims of a quote. Raises QuoteInvalid, QuoteExpired, IssuerUnavailable."""
    if verify is None:
        raise QuoteInvalid(Fault("/quote", "must be absent, because the service has no key for quotes"))
    try:
        return verify(quote)
    except Expired as error:
        raise QuoteExpired(Fault("/quote", "must not have expired")) from error
    except Forged as error:
        detail = "must be signed by the shop's pricing for this service"
        raise QuoteInvalid(Fault("/quote", detail)) from error


def priced(draft: Mapping[str, Any], claims: Claims, leeway: timedelta) -> tuple[Draft, QuoteUse | None]:
    """The draft of an order with the basket of its quote, and the use of the quote.

    The use is None if the quote is good for any number of orders. `leeway` is the time for which a quote is
    good after it has expired. Raises QuoteInvalid, QuoteDiffers.
    """
    basket = basket_in(claims)
    faults = [Fault(pointer, "must be as in the quote, or absent") for pointer in _differing(draft, basket)]
    if claims.get("sub", draft["userId"]) != draft["userId"]:
        faults.insert(0, Fault("/userId", "must be the user of the quote"))
    if faults:
        raise QuoteDiffers(*faults)
    quote_id = basket.pop("jti", None)
    order: Any = {name: value for name, value in draft.items() if name != "quote"} | in_minor_units(basket)
    if quote_id is None:
        return order, None
    expiry = datetime.fromtimestamp(min(int(claims["exp"]), _LAST), UTC)
    return order, QuoteUse(claims["iss"], quote_id, expiry + leeway)


def _differing(draft: Mapping[str, Any], basket: Mapping[str, Any]) -> Iterator[str]:
    """The pointers to the members of the draft that are not as in the basket."""
    for name in BASKET:
        if name in draft:
            yield from _unequal(draft[name], basket.get(name), f"/{name}")


def _unequal(sent: Any, quoted: Any, pointer: str) -> Iterator[str]:
    match sent, quoted:
        case dict(), dict():
            for name in {**quoted, **sent}:
                # Only the price of a line may be left out.
                if name in sent or name != "unitPrice":
                    yield from _unequal(sent.get(name), quoted.get(name), f"{pointer}/{name}")
        case list(), list() if len(sent) == len(quoted):
            for place, pair in enumerate(zip(sent, quoted, strict=True)):
                yield from _unequal(*pair, f"{pointer}/{place}")
        case _:
            # An empty list or false means the same as an absent member.
            if (sent or None) != (quoted or None):
                yield pointer
