"""What follows from a command of an order if the payment provider does as asked."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app.dry_run.provider import ObligingProvider
from app.dry_run.store import (
    NO_TRANSACTION,
    KeysUnwritten,
    OrdersInMemory,
    OrdersUnwritten,
    StockInMemory,
    WouldWrite,
)
from app.errors import OrderServiceError
from app.notifications.announce import templates
from app.orders.history import as_of
from app.orders.log import Event
from app.orders.model import Order
from app.orders.reading import reading
from app.orders.steps import ANNOUNCE, STEPS, Step
from app.payments import steps as payment_steps
from app.stock import steps as stock_steps

if TYPE_CHECKING:
    from app.orders.saving import Effect
    from app.services import Services


class Moved(NamedTuple):
    """A product whose level changes."""

    product: str
    before: int
    after: int


class DryRun(NamedTuple):
    """What a command would do. Amounts are in minor units.

    `order` is the order after the command's own write, with the `events` of that write. `follow` are the
    events of the later steps. `mails` are the templates of the mails that all of these events send.
    """

    order: Order
    events: list[Event]
    follow: list[Event]
    captured: int
    refunded: int
    stock: list[Moved]
    mails: list[str]


def rehearse(
    services: "Services", command: Callable[["Services"], object], order: Order | None = None
) -> DryRun:
    """What the command would do. It gets services that stop it at its write.

    `order` is the order that the command is about, with its log, if the caller has read it already. Raises
    what the command raises.
    """
    store = OrdersUnwritten(services.orders.store, order)
    keys = KeysUnwritten(services.orders.command_keys)
    try:
        command(replace(services, orders=replace(services.orders, store=store, command_keys=keys)))
    except WouldWrite as write:
        with reading(write.after["id"], OrderServiceError):
            return foresee(services, write.before, write.after)
    read = cast("Order", store.last_read)
    return DryRun(as_of(read, keys.answered) if keys.answered else read, [], [], 0, 0, [], [])


def foresee(services: "Services", before: Order | None, order: Order) -> DryRun:
    """What follows once a command has made this order out of the one before it; None for a new order."""
    stock = StockInMemory(services.stock.store)
    at_last = _after_all_steps(_effects(services, stock), order)
    events = _since(before["version"] if before else 0, order)
    follow = _since(order["version"], at_last)
    payment = before["payment"] if before else {"capturedAmount": 0, "refundedAmount": 0}
    written = (events, follow)
    return DryRun(
        order=order,
        events=events,
        follow=follow,
        captured=at_last["payment"]["capturedAmount"] - payment["capturedAmount"],
        refunded=at_last["payment"]["refundedAmount"] - payment["refundedAmount"],
        stock=_moved(stock),
        mails=[name for some in written for name in templates(services.notifications, at_last, some)],
    )


def _effects(services: "Services", stock: StockInMemory) -> "Mapping[Step, Effect]":
    """The workers' own functions for the steps, on stores in memory and a provider that does as asked."""
    in_memory: Any = OrdersInMemory()
    provider: Any = ObligingProvider()
    orders = replace(services.orders, store=in_memory)
    payments = replace(services.payments, orders=orders, provider=provider)
    stocks = replace(services.stock, orders=orders, store=stock, transact=_at_once)
    effects: dict[Step, Effect] = {
        step: partial(effect, payments) for step, effect in payment_steps.EFFECTS.items()
    }
    return effects | {step: partial(effect, stocks) for step, effect in stock_steps.EFFECTS.items()}


def _at_once(work: Callable[[Any], Any], _patience: float = 0) -> Any:
    return work(NO_TRANSACTION)


def _after_all_steps(effects: "Mapping[Step, Effect]", order: Order) -> Order:
    """The order after all steps that it owes, and those that they set in motion."""
    while step := next((step for step in STEPS if step is not ANNOUNCE and step.is_due(order)), None):
        done = [after for saved in effects[step]([order], ()) for after in saved.orders]
        if not done:
            break
        (order,) = done
    return order


def _since(version: int, order: Order) -> list[Event]:
    return [event for event in order["events"] if event["sequence"] > version]


def _moved(stock: StockInMemory) -> list[Moved]:
    """The products whose levels change, with their levels before and after."""
    deltas: dict[str, int] = {}
    for row in stock.moved:
        deltas[row["productId"]] = deltas.get(row["productId"], 0) + row["quantity"]
    levels = stock.on_hand(deltas, NO_TRANSACTION) if deltas else {}
    return [
        Moved(product, level - deltas[product], level)
        for product, level in sorted(levels.items())
        if deltas[product]
    ]
