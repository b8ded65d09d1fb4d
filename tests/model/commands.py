"""The commands of the contract, with what a client may send: a table of strategies."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

PRODUCTS = ("fig", "kiwi", "untracked")
METHODS = (
    *["sandbox_ok"] * 6,
    "sandbox_declined",
    "sandbox_timeout_once",
    "sandbox_unavailable",
    "sandbox_refund_fails_once",
    "sandbox_refund_fails",
)
CODES = ("review", "address")


class Command(NamedTuple):
    """A request about an order: `{id}` in the path is the order's id."""

    method: str
    path: str
    body: Any = None

    @property
    def takes_key(self) -> bool:
        """Whether an idempotency key has a meaning."""
        if self.method == "DELETE":
            return "/holds/" in self.path
        return self.method != "PUT" or self.path != "/orders/{id}"


def record(required: dict[str, Strategy], **optional: Strategy) -> Strategy:
    return st.fixed_dictionaries(required, optional=optional)


def command(method: str, path: str, body: Strategy | None = None) -> Strategy:
    return (st.none() if body is None else body).map(
        lambda sent: Command(method, f"/orders/{{id}}{path}", sent)
    )


# Amounts are in cents here, so that sums are exact.
lines = st.lists(
    st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 4), st.sampled_from((0, 5, 333, 1000, 1000))),
    min_size=1,
    max_size=3,
)
adjustments = st.lists(
    st.sampled_from(
        (
            {"kind": "shipping", "amount": 490},
            {"kind": "discount", "amount": -7},
            {"kind": "discount", "amount": -3, "line": 1},
            {"kind": "tax", "amount": 19, "line": 1},
            {"kind": "tax", "amount": 10, "included": True},
            {"kind": "fee", "amount": 1},
            {"kind": "tip", "amount": 100},
        )
    ),
    max_size=3,
)


def _draft(parts: tuple[Any, ...]) -> Any:
    wanted, adjusted, priced, currency, optional = parts
    scale = 1 if currency == "JPY" else 100
    products = [
        {"productId": product, "quantity": quantity, **({"unitPrice": price / scale} if priced else {})}
        for product, quantity, price in wanted
    ]
    total = sum(quantity * price for _, quantity, price in wanted)
    total += sum(one["amount"] for one in adjusted if not one.get("included"))
    body = {"userId": "ann", "products": products, "totalAmount": max(0, total) / scale, "currency": currency}
    if adjusted:
        body["adjustments"] = [{**one, "amount": one["amount"] / scale} for one in adjusted]
    if currency == "JPY":
        body = _whole(body)
    return {**body, **optional}


def _whole(value: Any) -> Any:
    match value:
        case dict():
            return {name: _whole(inner) for name, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case float():
            return int(value)
    return value


holds = record(
    {"code": st.sampled_from(CODES)},
    reason=st.just("Look."),
    blocks=st.sampled_from((["capture"], ["ship"], ["capture", "ship"])),
)
drafts = st.tuples(
    lines,
    adjustments,
    st.sampled_from((True, True, True, False)),
    st.sampled_from(("USD", "USD", "JPY")),
    record(
        {"paymentMethod": st.sampled_from(METHODS)},
        email=st.just("ann@example.org"),
        metadata=st.just({"gift": "yes"}),
        holds=st.just([{"code": "first", "blocks": ["capture"]}]),
    ),
).map(_draft)

tracking = record({}, carrier=st.just("DHL"), number=st.sampled_from(("1", "2")))
pieces = record({"line": st.integers(1, 3), "quantity": st.integers(1, 3)}, restock=st.booleans())
refunds = record(
    {},
    amount=st.sampled_from((1, 5, 30)),
    products=st.lists(pieces, min_size=1, max_size=2),
    shipping=st.booleans(),
    reason=st.just("late"),
)
corrections = record(
    {},
    email=st.sampled_from(("eve@example.org", None)),
    reference=st.sampled_from(("A", "B", None)),
    metadata=st.sampled_from(({"c": "d"}, {"gift": None}, None)),
    shippingAddress=st.sampled_from(({"city": "Bonn"}, None)),
)

SHIP = command("PUT", "", record({"status": st.just("shipped")}, tracking=tracking))
DELIVER = command("PUT", "", st.just({"status": "delivered"}))
CANCEL = command("PUT", "", record({"status": st.just("cancelled")}, reason=st.just("no more")))
DELETE = command("DELETE", "")
REFUND = command("POST", "/refunds", refunds)
RETRY = st.integers(1, 2).flatmap(lambda number: command("POST", f"/refunds/{{id}}-{number}/retry"))
HOLD = command("POST", "/holds", holds)
RELEASE = st.sampled_from((*CODES, "first")).flatmap(
    lambda code: command("DELETE", f"/holds/{code}") | command("POST", f"/holds/{code}/release", st.just({}))
)
SMALL = (
    command("PATCH", "", corrections)
    | command("PUT", "/tags", st.sampled_from((["vip"], ["vip", "gift"], [])))
    | command("POST", "/notes", st.just({"text": "Called."}))
    | command("DELETE", "/notes/{id}-n1")
)

some = st.lists(record({"line": st.integers(1, 3), "quantity": st.integers(1, 3)}), min_size=1, max_size=2)
amount = st.sampled_from((1, 7))
SHIPMENT = st.sampled_from(("1", "1", "2")).map("/shipments/{{id}}-s{}".format)
SHIPMENTS = st.one_of(
    command("POST", "/shipments", record({}, products=some, tracking=tracking)),
    command("POST", "/shipments", record({"products": some})),
    SHIPMENT.flatmap(
        lambda path: st.one_of(
            command("PATCH", path, record({"tracking": st.none() | tracking})),
            command("POST", f"{path}/deliver"),
            command("POST", f"{path}/cancel"),
        )
    ),
)
CANCELLATIONS = command(
    "POST", "/cancellations", record({"products": some}, reason=st.just("less"), amount=amount)
) | command("POST", "/cancellations", record({"products": some}))
received = st.lists(
    record(
        {
            "line": st.integers(1, 3),
            "quantity": st.integers(1, 3),
            "condition": st.sampled_from(("resellable", "damaged")),
        }
    ),
    min_size=1,
    max_size=2,
)
RETURN = st.sampled_from(("1", "1", "2")).map("/returns/{{id}}-r{}".format)
RETURNS = st.one_of(
    command(
        "POST",
        "/returns",
        record({"products": some}, refund=st.sampled_from(("on_receipt", "on_approval", "none"))),
    ),
    RETURN.flatmap(
        lambda path: st.one_of(
            command("POST", f"{path}/approve", record({}, amount=amount)),
            command("POST", f"{path}/receive", record({"products": received}, amount=amount)),
            command("POST", f"{path}/receive", record({"products": received})),
            command("POST", f"{path}/approve"),
            command("POST", f"{path}/reject", st.just({"reason": "worn"})),
            command("POST", f"{path}/cancel"),
            command("POST", f"{path}/close"),
        )
    ),
)

# Each kind as often as any other, but for the many small ones.
COMMANDS = st.one_of(
    SHIP,
    DELIVER,
    CANCEL,
    DELETE,
    REFUND,
    REFUND,
    RETRY,
    HOLD,
    RELEASE,
    SMALL,
    SHIPMENTS,
    SHIPMENTS,
    CANCELLATIONS,
    CANCELLATIONS,
    RETURNS,
    RETURNS,
    RETURNS,
)
