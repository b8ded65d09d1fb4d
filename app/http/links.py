"""Which answer leads on to which operations (links of OpenAPI), for whoever explores the API by machine."""

from typing import Any, NamedTuple


class Link(NamedTuple):
    """From one operation's answers to others, and where these find their parameters in the answer."""

    source: str
    statuses: tuple[str, ...]
    parameters: dict[str, str]
    targets: tuple[str, ...]


_SAME = "$request.path.id"
_OF_AN_ORDER = ("show", "change", "delete", "events", "verify", "ask_refund", "list_refunds")
_OF_AN_ENDPOINT = (
    "show_endpoint",
    "change_endpoint",
    "remove_endpoint",
    "rotate_secret",
    "send_test_event",
    "list_deliveries",
)
_OF_A_PRODUCT = ("show_level", "set_level", "adjust", "list_movements")

LINKS = (
    Link("place", ("201",), {"id": "$response.body#/order/id"}, _OF_AN_ORDER),
    Link("change", ("200",), {"id": "$response.body#/order/id"}, _OF_AN_ORDER),
    Link(
        "ask_refund",
        ("202",),
        {"id": _SAME, "refundId": "$response.body#/id"},
        ("show_refund", "retry_refund"),
    ),
    Link("feed", ("200",), {"after": "$response.body#/nextCursor"}, ("feed",)),
    Link("set_level", ("200", "201"), {"productId": "$response.body#/productId"}, _OF_A_PRODUCT),
    Link("adjust", ("201",), {"productId": "$response.body#/productId"}, _OF_A_PRODUCT),
    Link("add_endpoint", ("201",), {"id": "$response.body#/id"}, _OF_AN_ENDPOINT),
    Link(
        "send_test_event",
        ("202",),
        {"id": _SAME, "deliveryId": "$response.body#/id"},
        ("show_delivery", "replay_delivery"),
    ),
    Link("list_reports", ("200",), {"id": "$response.body#/reconciliations/0/id"}, ("show_report",)),
)


def link(operations: dict[str, dict[str, Any]]) -> None:
    """Works the links into the operations, which are by their ids."""
    for source, statuses, parameters, targets in LINKS:
        for status in statuses:
            links = operations[source]["responses"][status].setdefault("links", {})
            for target in targets:
                name = f"{target}_by_{'_and_'.join(parameters)}"
                links[name] = {"operationId": target, "parameters": parameters}
