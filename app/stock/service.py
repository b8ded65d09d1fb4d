"""The operations on stock: read levels and movements, set a level, adjust it."""

from typing import Any

from app.clock import new_id
from app.errors import InsufficientStock, NotFound
from app.mongo.database import Transaction
from app.orders.service import Page, page_of
from app.stock import StockServices
from app.stock.model import HeldLevel, Level, Movement
from app.stock.store import LevelTooLow


def list_levels(services: StockServices, limit: int, after: str | None) -> Page:
    """A page of the levels by product id."""
    with services.store.moment() as moment:
        page = page_of(services.store.levels(after, limit, moment), limit, "productId")
        return page._replace(items=_held(services, page.items, moment))


def get_level(services: StockServices, product_id: str) -> HeldLevel:
    """The level of a product. Raises NotFound if the product is not tracked."""
    with services.store.moment() as moment:
        return _held(services, [_found(services.store.level(product_id, moment))], moment)[0]


def set_level(services: StockServices, product_id: str, on_hand: int) -> tuple[HeldLevel, bool]:
    """Sets the level of a product. Returns the new level, and whether the product was not tracked before.

    The ledger records the difference as an adjustment.
    """

    def work(transaction: Transaction) -> tuple[HeldLevel, bool]:
        levels, created = _set(services, {product_id: on_hand}, transaction)
        return _held(services, levels, transaction)[0], product_id in created

    return services.transact(work)


def set_levels(services: StockServices, wanted: dict[str, int]) -> None:
    """Sets the levels of many products, all or none."""
    services.transact(lambda transaction: _set(services, wanted, transaction))


def _set(
    services: StockServices, wanted: dict[str, int], transaction: Transaction
) -> tuple[list[Level], set[str]]:
    """Sets the levels. Returns the new ones, and the newly tracked products."""
    at = services.clock()
    before = services.store.on_hand(wanted, transaction)
    created = wanted.keys() - before.keys()
    services.store.create(
        [Level(productId=product, onHand=0, version=0, updatedAt=at) for product in sorted(created)],
        transaction,
        # Only then an untracked product is out of stock.
        wanted=services.strict,
    )
    deltas = {
        product: on_hand - before.get(product, 0)
        for product, on_hand in sorted(wanted.items())
        if product in created or on_hand != before[product]
    }
    rows = [
        Movement(id=new_id(at), productId=product, quantity=delta, kind="adjustment", at=at)
        for product, delta in deltas.items()
        if delta
    ]
    services.store.move(deltas, rows, at, transaction)
    return services.store.levels_of(wanted, transaction), created


def adjust(
    services: StockServices, product_id: str, quantity: int, reason: str
) -> tuple[HeldLevel, Movement]:
    """Adjusts a level by a signed quantity. Returns the new level and the movement in the ledger.

    Raises NotFound if the product is not tracked, InsufficientStock if the level would fall below zero.
    """

    def work(transaction: Transaction) -> tuple[HeldLevel, Movement]:
        at = services.clock()
        before = _found(services.store.level(product_id, transaction))
        row = Movement(
            id=new_id(at), productId=product_id, quantity=quantity, kind="adjustment", at=at, reason=reason
        )
        try:
            services.store.move({product_id: quantity}, [row], at, transaction)
        except LevelTooLow as error:
            raise InsufficientStock(product_id, before["onHand"]) from error
        level = _found(services.store.level(product_id, transaction))
        return _held(services, [level], transaction)[0], row

    return services.transact(work)


def list_movements(services: StockServices, product_id: str, limit: int, after: str | None) -> Page:
    """A page of a product's movements, newest first. Raises NotFound if the product is not tracked."""
    _found(services.store.level(product_id))
    return page_of(services.store.movements(product_id, after, limit), limit, "id")


def _held(services: StockServices, levels: list[Level], transaction: Transaction) -> list[HeldLevel]:
    """The levels with what is held of each."""
    held = services.store.held([level["productId"] for level in levels], transaction)
    return [HeldLevel(**level, held=held[level["productId"]]) for level in levels]


def _found(level: Any) -> Any:
    if level is None:
        raise NotFound("The product has no stock record.")
    return level
