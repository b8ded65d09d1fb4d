"""Carries out a client's command on an order, once for each idempotency key."""

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

from app.errors import IdempotencyKeyReused, NotFound, StaleVersion
from app.orders import OrderServices
from app.orders.beside_store import Beside, CommandKey
from app.orders.history import as_of
from app.orders.model import Change, NoteText, Order, Personal, advance


class Request(NamedTuple):
    """The caller of a command, its idempotency key with the digest of the request, and the versions that
    `If-Match` accepts; None accepts any."""

    actor: str
    key: str | None = None
    digest: str = ""
    if_match: Container[int] | None = None


class Decision(NamedTuple):
    """What a command does to an order. `made` is the id of what it makes, which a replay shows again.

    `personal` replaces the personal data. `note` is the text of a new note, and `erased` the id of a note
    whose text is erased.
    """

    changes: Sequence[Change]
    made: str | None = None
    personal: Personal | None = None
    note: NoteText | None = None
    erased: str | None = None


class Carried(NamedTuple):
    """The order after a command. If `replayed`, an earlier request with the same key carried it out."""

    order: Order
    made: str | None = None
    replayed: bool = False


def carry_out(
    services: OrderServices,
    order_id: str,
    command: str,
    request: Request,
    decide: Callable[[Order], Decision | None],
) -> Carried:
    """Carries out the command, by its name in `bounds.LIMITS`.

    `decide` gets the present order, and returns None if nothing changes. It is called again if another
    process was faster. Raises NotFound, IdempotencyKeyReused, StaleVersion, HistoryFull.
    """
    while True:
        order = found(services.store.with_tail(order_id))
        # The order is read before its key. If another call uses the key in between, the write fails.
        if earlier := _earlier(services, order, request):
            if earlier.digest != request.digest:
                raise IdempotencyKeyReused("The Idempotency-Key was used before with a different request.")
            past = as_of(found(services.store.with_log(order_id)), earlier.version)
            return Carried(past, earlier.made, replayed=True)
        require_version(order, request.if_match)
        decision = decide(order)
        if decision is None:
            if _kept(services, order, request):
                return Carried(order)
            continue
        after = advance(order, services.clock(), request.actor, decision.changes, command)
        if decision.personal is not None:
            after["personal"] = decision.personal
        key = _key(request, after, decision.made)
        beside = Beside(key=key, note=decision.note, erased=decision.erased)
        if services.store.append(order, after, services.due_by(), beside):
            return Carried(after, decision.made)


def found(order: Order | None) -> Order:
    """The order. Raises NotFound if it is None."""
    if order is None:
        raise NotFound("The order does not exist.")
    return order


def require_version(order: Order, if_match: Container[int] | None) -> None:
    """Raises StaleVersion if the order does not have one of these versions."""
    if if_match is not None and order["version"] not in if_match:
        raise StaleVersion(order["version"])


def _earlier(services: OrderServices, order: Order, request: Request) -> CommandKey | None:
    if request.key is None:
        return None
    return services.command_keys.find(order["id"], request.actor, request.key)


def _kept(services: OrderServices, order: Order, request: Request) -> bool:
    """Stores the key of a request that changes nothing. False if another process changed the order first."""
    key = _key(request, order, None)
    return key is None or services.command_keys.keep(order, key)


def _key(request: Request, order: Order, made: str | None) -> CommandKey | None:
    if request.key is None:
        return None
    return CommandKey(request.actor, request.key, request.digest, order["version"], made)
