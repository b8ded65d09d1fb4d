"""The routes of the stock.

A product id may contain a slash, sent as `%2F`. Servers decode it before routing, hence `path:`.
"""

from typing import Any

from flask import Response
from werkzeug.routing import PathConverter

from app.http import examples
from app.http.answers import NEXT, answer
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_A_PRODUCT, LIKE_AN_ORDER, after, listing
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.http.schemas import PageQuery
from app.stock import schemas
from app.stock import service as stocking
from app.stock.schemas import AdjustmentIn, Level, LevelIn, Movement, require_product_id

blueprint = Blueprint("stock", __name__, description="Stock levels and their movements.")
blueprint.before_request(require_json_accepted)


class ProductConverter(PathConverter):
    """A product id at the end of a path, unless the path is one of the routes below the product."""

    regex = r"(?!.+/(?:adjustments|movements)/?$)" + PathConverter.regex


@blueprint.get("/stock")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(200, schemas.Levels, headers=NEXT, example=examples.LEVELS)
@declares("stock:write", "bad_cursor")
def list_stock_levels(query: dict[str, Any]) -> Response:
    """List stock levels by product id"""
    page = stocking.list_levels(services().stock, query["limit"], after(query.get("cursor"), LIKE_A_PRODUCT))
    return listing("levels", [Level.of(level) for level in page.items], page.next)


@blueprint.get("/stock/<product:product_id>")
@blueprint.response(200, Level, example=examples.LEVEL)
@declares("stock:write", "not_found")
def get_stock_level(product_id: str) -> Response:
    """Get the stock level of a product"""
    return answer(Level.of(stocking.get_level(services().stock, require_product_id(product_id))))


@blueprint.put("/stock/<product:product_id>")
@blueprint.arguments(LevelIn(), example=examples.NEW_LEVEL)
@blueprint.response(200, Level, example=examples.LEVEL)
@blueprint.alt_response(201, schema=Level, example=examples.LEVEL | {"version": 1})
@declares("stock:write", "not_found", "stock_busy")
def set_stock_level(wanted: dict[str, Any], product_id: str) -> Response:
    """Set the stock level of a product

    The product is tracked from then on.
    """
    level, created = stocking.set_level(services().stock, require_product_id(product_id), wanted["onHand"])
    return answer(Level.of(level), 201 if created else 200)


@blueprint.post("/stock/<path:product_id>/adjustments")
@blueprint.arguments(AdjustmentIn(), example=examples.NEW_ADJUSTMENT)
@blueprint.response(201, schemas.Adjustment, example=examples.ADJUSTMENT)
@declares("stock:write", "not_found", "insufficient_stock", "stock_busy")
def create_stock_adjustment(wanted: dict[str, Any], product_id: str) -> Response:
    """Adjust the stock level of a product"""
    level, movement = stocking.adjust(
        services().stock, require_product_id(product_id), wanted["quantity"], wanted["reason"]
    )
    return answer({**Level.of(level), "movement": Movement.of(movement)}, 201)


@blueprint.get("/stock/<path:product_id>/movements")
@blueprint.arguments(PageQuery(), location="query")
@blueprint.response(200, schemas.Movements, headers=NEXT, example=examples.MOVEMENTS)
@declares("stock:write", "bad_cursor", "not_found")
def list_stock_movements(query: dict[str, Any], product_id: str) -> Response:
    """List the stock movements of a product, newest first"""
    page = stocking.list_movements(
        services().stock,
        require_product_id(product_id),
        query["limit"],
        after(query.get("cursor"), LIKE_AN_ORDER),
    )
    return listing("movements", [Movement.of(movement) for movement in page.items], page.next)
