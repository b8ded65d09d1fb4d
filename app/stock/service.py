"""What an operator does with stock: look at levels and movements, set a level, adjust it."""

from typing import Any

from app.clock import new_id
from app.errors import InsufficientStock, NotFound
from app.mongo.database import Transaction
from app.orders.service import Page, page_of
from app.shop import Shop
from app.stock.model import Level, Movement
from app.stock.store import LevelTooLow


def list_levels(shop: Shop, limit: int, after: str | None) -> Page:
    """A page of the levels by product id."""
    return page_of(shop.stock.levels(after, limit), limit, "productId")


def get_level(shop: Shop, product_id: str) -> Level:
    """The level of a product. Raises NotFound where it is not tracked."""
    return _found(shop.stock.level(product_id))


def set_level(shop: Shop, product_id: str, on_hand: int) -> tuple[Level, bool]:
    """The level after it is set, and whether the product is tracked only from now on.

    The difference to the level before goes into the ledger as an adjustment.
    """
    levels, created = set_levels(shop, {product_id: on_hand})
    return levels[0], product_id in created


def set_levels(shop: Shop, wanted: dict[str, int]) -> tuple[list[Level], set[str]]:
    """Sets the levels of many products, all or none; the levels afterwards, and which products are new."""

    def work(transaction: Transaction) -> tuple[list[Level], set[str]]:
        at = shop.clock()
        before = shop.stock.on_hand(wanted, transaction)
        created = wanted.keys() - before.keys()
        shop.stock.create(
            [Level(productId=product, onHand=0, version=0, updatedAt=at) for product in sorted(created)],
            transaction,
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
        shop.stock.move(deltas, rows, at, transaction)
        return shop.stock.levels_of(wanted, transaction), created

    return shop.transact(work)


def adjust(shop: Shop, product_id: str, quantity: int, reason: str) -> tuple[Level, Movement]:
    """The level after an adjustment by a signed quantity, and its row in the ledger.

    Raises NotFound where the product is not tracked, InsufficientStock where it would fall below zero.
    """

    def work(transaction: Transaction) -> tuple[Level, Movement]:
        at = shop.clock()
        before = _found(shop.stock.level(product_id, transaction))
        row = Movement(
            id=new_id(at), productId=product_id, quantity=quantity, kind="adjustment", at=at, reason=reason
        )
        try:
            shop.stock.move({product_id: quantity}, [row], at, transaction)
        except LevelTooLow as error:
            raise InsufficientStock(product_id, before["onHand"]) from error
        return _found(shop.stock.level(product_id, transaction)), row

    return shop.transact(work)


def list_movements(shop: Shop, product_id: str, limit: int, after: str | None) -> Page:
    """A page of a product's movements, newest first. Raises NotFound where it is not tracked."""
    get_level(shop, product_id)
    return page_of(shop.stock.movements(product_id, after, limit), limit, "id")


def _found(level: Level | None) -> Any:
    if level is None:
        raise NotFound("The product has no stock record.")
    return level
