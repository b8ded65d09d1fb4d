"""OpenAPI links: which operations can follow each response, for tools that explore the API."""

from typing import Any, NamedTuple


class Link(NamedTuple):
    """Links from one operation's responses to other operations, with where their parameters come from."""

    source: str
    statuses: tuple[str, ...]
    parameters: dict[str, str]
    targets: tuple[str, ...]


_SAME = "$request.path.id"
_OF_AN_ORDER = (
    "getOrder",
    "updateOrder",
    "amendOrder",
    "deleteOrder",
    "listOrderEvents",
    "verifyOrderEvents",
    "createHold",
    "getOrderDiagnosis",
    "createCancellation",
    "listCancellations",
    "createShipment",
    "listShipments",
    "createRefund",
    "listRefunds",
    "createReturn",
    "listReturns",
)
_OF_A_RETURN = (
    "getReturn",
    "approveReturn",
    "rejectReturn",
    "cancelReturn",
    "receiveReturn",
    "closeReturn",
)
_OF_AN_ENDPOINT = (
    "getWebhookEndpoint",
    "updateWebhookEndpoint",
    "deleteWebhookEndpoint",
    "rotateWebhookSecret",
    "sendWebhookTestEvent",
    "listWebhookDeliveries",
)
_OF_A_PRODUCT = ("getStockLevel", "setStockLevel", "createStockAdjustment", "listStockMovements")

LINKS = (
    Link("createOrder", ("201",), {"id": "$response.body#/order/id"}, _OF_AN_ORDER),
    Link("updateOrder", ("200",), {"id": "$response.body#/order/id"}, _OF_AN_ORDER),
    Link(
        "createRefund",
        ("202",),
        {"id": _SAME, "refundId": "$response.body#/id"},
        ("getRefund", "retryRefund"),
    ),
    Link(
        "createCancellation",
        ("201",),
        {"id": _SAME, "cancellationId": "$response.body#/id"},
        ("getCancellation",),
    ),
    Link(
        "createShipment",
        ("201",),
        {"id": _SAME, "shipmentId": "$response.body#/id"},
        ("getShipment", "amendShipment", "deliverShipment", "cancelShipment"),
    ),
    Link(
        "createHold",
        ("200", "201"),
        {"id": _SAME, "code": "$response.body#/code"},
        ("releaseHold", "deleteHold"),
    ),
    Link("createReturn", ("201",), {"id": _SAME, "returnId": "$response.body#/id"}, _OF_A_RETURN),
    Link("listEvents", ("200",), {"after": "$response.body#/nextCursor"}, ("listEvents",)),
    Link("setStockLevel", ("200", "201"), {"productId": "$response.body#/productId"}, _OF_A_PRODUCT),
    Link("createStockAdjustment", ("201",), {"productId": "$response.body#/productId"}, _OF_A_PRODUCT),
    Link("createWebhookEndpoint", ("201",), {"id": "$response.body#/id"}, _OF_AN_ENDPOINT),
    Link(
        "sendWebhookTestEvent",
        ("202",),
        {"id": _SAME, "deliveryId": "$response.body#/id"},
        ("getWebhookDelivery", "replayWebhookDelivery"),
    ),
    Link(
        "listReconciliations",
        ("200",),
        {"id": "$response.body#/reconciliations/0/id"},
        ("getReconciliation",),
    ),
)


def link(operations: dict[str, dict[str, Any]]) -> None:
    """Adds the links to the operations, a mapping by operationId."""
    for source, statuses, parameters, targets in LINKS:
        for status in statuses:
            links = operations[source]["responses"][status].setdefault("links", {})
            for target in targets:
                name = f"{target}By{'And'.join(name[0].upper() + name[1:] for name in parameters)}"
                links[name] = {"operationId": target, "parameters": parameters}
