"""In any state that an order can reach, a dry run says what the command then does, and writes nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.notifications.mail.channel import template_of
from app.orders import public
from app.orders.processing import perform
from app.orders.steps import AUTHORIZE, DECREMENT, STEPS
from app.orders.sweeping import expire_orders
from tests.support.emptying import empty
from tests.support.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.orders.model import Order
    from app.services import Services

WITH_MAIL = {"SMTP_URL": "smtp://127.0.0.1:1", "MAIL_FROM": "shop@shop.example"}
METHODS = ("sandbox_ok", "sandbox_declined", "sandbox_timeout_once", "sandbox_refund_fails_once")
MERGE_PATCH = "application/merge-patch+json"
# What differs between a dry run and the command: hashes, ids, the numbers made of them, and times.
OWN = re.compile(
    r"[0-9a-f]{64}|[0-9a-f]{24}|[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
)


class Command(NamedTuple):
    """A request about an order; `path` goes after the order's own."""

    method: str
    path: str = ""
    body: Any = None
    media: str = "application/json"


products = st.lists(
    st.fixed_dictionaries(
        {"productId": st.sampled_from(("fig", "kiwi", "untracked")), "quantity": st.integers(1, 3)},
        optional={"unitPrice": st.just(10)},
    ),
    min_size=1,
    max_size=3,
)


# What an order does if the stock is short.
SHORTAGES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"onShortage": "partial"},
    {"onShortage": "backorder", "backorderUntil": "2099-10-04T10:00:00.000Z"},
)


def draft_of(
    lines: list[dict[str, Any]], method: str, extra: dict[str, Any], shortage: dict[str, Any]
) -> dict[str, Any]:
    if shortage.get("onShortage") == "partial":
        lines = [{**line, "unitPrice": 10} for line in lines]
    total = sum(line["quantity"] * 10 for line in lines)
    draft = {"userId": "ann", "products": lines, "totalAmount": total, "paymentMethod": method}
    return {**draft, **extra, **shortage}


drafts = st.tuples(
    products,
    st.sampled_from(METHODS),
    st.fixed_dictionaries(
        {}, optional={"email": st.just("ann@example.org"), "metadata": st.just({"a": "b"})}
    ),
    st.sampled_from(SHORTAGES),
).map(lambda parts: draft_of(*parts))
status_changes = st.one_of(
    st.just({"status": "delivered"}),
    st.fixed_dictionaries({"status": st.just("shipped")}, optional={"tracking": st.just({"number": "1"})}),
    st.fixed_dictionaries({"status": st.just("cancelled")}, optional={"reason": st.just("no more")}),
)
refunded_lines = st.fixed_dictionaries(
    {"line": st.integers(1, 3), "quantity": st.integers(1, 2), "restock": st.booleans()}
)
cancelled_pieces = st.fixed_dictionaries(
    {
        "products": st.lists(
            st.fixed_dictionaries({"line": st.integers(1, 3), "quantity": st.integers(1, 3)}),
            min_size=1,
            max_size=2,
        )
    },
    optional={"reason": st.just("no more"), "amount": st.sampled_from((0, 5, 30))},
)
shipments = st.fixed_dictionaries(
    {},
    optional={
        "products": st.lists(
            st.fixed_dictionaries({"line": st.integers(1, 3), "quantity": st.integers(1, 3)}),
            min_size=1,
            max_size=2,
        ),
        "tracking": st.just({"number": "1"}),
    },
)
of_shipments = [
    *(Command("POST", f"/shipments/{{id}}-s{n}/{what}") for n in (1, 2) for what in ("deliver", "cancel")),
    Command("PATCH", "/shipments/{id}-s1", {"tracking": {"number": "2"}}, MERGE_PATCH),
    Command("PATCH", "/shipments/{id}-s1", {"tracking": None}, MERGE_PATCH),
]
refund_drafts = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.sampled_from((1, 5, 30)),
        "products": st.lists(refunded_lines, min_size=1, max_size=2),
        "shipping": st.booleans(),
    },
)
patches = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(("eve@example.org", None)),
        "reference": st.sampled_from(("A", "B", None)),
        "metadata": st.sampled_from(({"c": "d"}, {"a": None}, None)),
    },
)
commands = st.one_of(
    status_changes.map(lambda body: Command("PUT", body=body)),
    refund_drafts.map(lambda body: Command("POST", "/refunds", body)),
    st.sampled_from((1, 2)).map(lambda number: Command("POST", f"/refunds/{{id}}-{number}/retry")),
    shipments.map(lambda body: Command("POST", "/shipments", body)),
    st.sampled_from(of_shipments),
    cancelled_pieces.map(lambda body: Command("POST", "/cancellations", body)),
    patches.map(lambda body: Command("PATCH", body=body, media=MERGE_PATCH)),
    st.sampled_from((["vip"], ["vip", "gift"], [])).map(lambda body: Command("PUT", "/tags", body)),
    st.just(Command("POST", "/notes", {"text": "Called."})),
    st.just(Command("DELETE", "/notes/{id}-n1")),
)
HOLD = Command("POST", "/holds", {"code": "fraud_review", "reason": "Look."})
commands |= st.sampled_from(
    (
        HOLD,
        Command("POST", "/holds", {"code": "address", "blocks": ["ship"]}),
        Command("POST", "/holds/fraud_review/release", {"reason": "Fine."}),
        Command("DELETE", "/holds/address"),
        Command("POST", "/notes", {"text": "Called.", "visibility": "customer"}),
        Command("DELETE", "/notes/{id}-n1"),
        Command("PUT", "/tags", ["vip", "gift"]),
        Command("PUT", "/tags", ["gift"]),
    )
)
returned_lines = st.lists(
    st.fixed_dictionaries({"line": st.integers(1, 3), "quantity": st.integers(1, 2)}),
    min_size=1,
    max_size=2,
    unique_by=lambda some: some["line"],
)
amounts_of_returns = st.fixed_dictionaries({}, optional={"amount": st.sampled_from((0, 5))})
commands |= st.one_of(
    st.fixed_dictionaries(
        {"products": returned_lines},
        optional={"refund": st.sampled_from(("on_receipt", "on_approval", "none")), "note": st.just("n")},
    ).map(lambda body: Command("POST", "/returns", body)),
    amounts_of_returns.map(lambda body: Command("POST", "/returns/{id}-r1/approve", body)),
    st.tuples(returned_lines, st.sampled_from(("resellable", "damaged")), amounts_of_returns).map(
        lambda parts: Command(
            "POST",
            "/returns/{id}-r1/receive",
            {"products": [{**some, "condition": parts[1]} for some in parts[0]], **parts[2]},
        )
    ),
    st.sampled_from(("reject", "cancel", "close")).map(
        lambda verb: Command(
            "POST", f"/returns/{{id}}-r1/{verb}", {"reason": "r"} if verb == "reject" else None
        )
    ),
)
ANNOUNCE_RETURN = Command("POST", "/returns", {"products": [{"line": 1, "quantity": 1}]})
APPROVE_RETURN = Command("POST", "/returns/{id}-r1/approve", {})
SHIP, DELIVER = (Command("PUT", body={"status": status}) for status in ("shipped", "delivered"))
REFUND, DELETE = Command("POST", "/refunds", {}), Command("DELETE")
# What happens between two commands: one step of the workers, all of them, or the expiry of the order.
happenings = st.sampled_from((*STEPS, "all", "all", "all", "expiry"))
beginnings = st.sampled_from(
    (
        (),
        (AUTHORIZE,),
        (AUTHORIZE, DECREMENT),
        ("all",),
        (HOLD, "all"),
        ("all", SHIP),
        ("all", Command("POST", "/shipments", {"products": [{"line": 1, "quantity": 1}]})),
        ("all", SHIP, DELIVER),
        ("all", SHIP, DELIVER, ANNOUNCE_RETURN),
        ("all", SHIP, DELIVER, ANNOUNCE_RETURN, APPROVE_RETURN),
        ("all", REFUND, "all"),
        ("all", Command("PUT", body={"status": "cancelled"}), "all"),
    )
)
histories = st.tuples(
    beginnings.map(list),
    st.lists(st.one_of(commands, commands, happenings), max_size=5),
    st.sampled_from(([], [DELETE], [DELETE, "all", Command("POST", "/refunds/{id}-1/retry")])),
).map(lambda parts: [what for part in parts for what in part])
keys = st.lists(st.sampled_from((None, None, "key", "other")), min_size=12, max_size=12)
MANY = settings(
    max_examples=40,
    deadline=None,
    # An example takes tenths of a second, and can be read as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Shop:
    """An application over a real database with one order in it."""

    def __init__(self, app: Flask, database: Database[dict[str, Any]]) -> None:
        self._client: FlaskClient = app.test_client()
        self._services: Services = app.extensions["services"]
        self._database = database
        self.order_id = ""

    def place(self, draft: dict[str, Any], key: str | None) -> None:
        """Places the order, with a dry run before it."""
        said, answer = self._twice(Command("POST", "/orders", draft), key)
        self.order_id = answer.get_json()["order"]["id"]
        self._compare(said, 0)

    def carry_out(self, command: Command, key: str | None, *, to_the_end: bool) -> None:
        """Runs the command dry and then in earnest, and compares. `to_the_end` does all steps after it."""
        before = self._order()
        path = f"/orders/{self.order_id}{command.path.format(id=self.order_id)}"
        levels = self._levels()
        said, answer = self._twice(command._replace(path=path), key)
        if answer.status_code >= 400:
            return
        after = self._compare(said, before["version"])
        if to_the_end and _is_obliged(before) and after["version"] > before["version"]:
            self.happen("all")
            self._compare_consequences(said, before, after, levels)

    def happen(self, what: Any) -> None:
        """Does one step of the workers, all of them, or lets the order expire."""
        orders = self._services.orders
        if what == "expiry":
            expire_orders(replace(orders, order_expiry=timedelta(seconds=-1)))
        elif what != "all":
            perform(orders, what, [self.order_id])
        else:
            while owed := [step for step in STEPS if step.is_due(self._order())]:
                for step in owed:
                    perform(orders, step, [self.order_id])

    def _twice(self, command: Command, key: str | None) -> tuple[Any, TestResponse]:
        """What the dry run said, and the answer of the command. Compares the refusals."""

        def send(query: str) -> TestResponse:
            return self._client.open(
                f"{command.path}{query}",
                method=command.method,
                data=None if command.body is None else orjson.dumps(command.body),
                content_type=None if command.body is None else command.media,
                headers={"Idempotency-Key": key} if key else {},
            )

        stored = snapshot(self._database)
        rehearsed = send("?dryRun=true")
        assert snapshot(self._database) == stored
        answer = send("")
        said, real = rehearsed.get_json(), answer.get_json(silent=True)
        assert rehearsed.headers["Dry-Run"] == "true"
        assert rehearsed.headers.get("Idempotent-Replayed") == answer.headers.get("Idempotent-Replayed")
        if answer.status_code >= 400:
            assert rehearsed.status_code == answer.status_code
            assert {**said, "requestId": ""} == {**real, "requestId": ""}
        else:
            assert rehearsed.status_code == 200, rehearsed.text
        return said, answer

    def _compare(self, said: Any, version: int) -> Order:
        """Compares the order and its events with those after the command, which had this version before."""
        order = self._order()
        events = [event for event in order["events"] if event["sequence"] > version]
        shown = [public.event(event, order, for_shop=True) for event in events]
        assert alike(said["events"]) == alike(shown)
        if events:
            assert alike(said["order"]) == alike(public.order(order, for_shop=True))
        else:
            assert (said["sets"], said["stock"], said["mails"]) == ([], [], [])
        return order

    def _compare_consequences(self, said: Any, before: Order, after: Order, levels: dict[str, int]) -> None:
        at_last = self._order()
        types = [event["type"] for event in at_last["events"] if event["sequence"] > after["version"]]
        assert said["sets"] == types
        money, now = before["payment"], at_last["payment"]
        assert said["money"] == {
            "capture": (now["capturedAmount"] - money["capturedAmount"]) / 100,
            "refund": (now["refundedAmount"] - money["refundedAmount"]) / 100,
        }
        assert said["stock"] == [
            {"productId": product, "before": levels[product], "after": level}
            for product, level in sorted(self._levels().items())
            if level != levels[product]
        ]
        recorded = self._database["notifications"].find({"channel": "mail"}).sort("sequence")
        mails = [one["type"] for one in recorded if one["sequence"] > before["version"]]
        assert [mail["template"] for mail in said["mails"]] == [template_of(kind) for kind in mails]

    def _order(self) -> Order:
        (order,) = self._services.orders.store.load_with_logs([self.order_id])
        return order

    def _levels(self) -> dict[str, int]:
        return {level["_id"]: level["onHand"] for level in self._database["stock"].find()}

    def stock(self, levels: dict[str, int]) -> None:
        """Sets the stock."""
        for product, level in levels.items():
            self._client.put(f"/stock/{product}", json={"onHand": level})


def alike(shown: Any) -> Any:
    """What was shown, without ids, times and hashes."""
    return orjson.loads(OWN.sub("…", orjson.dumps(shown).decode()))


def _is_obliged(order: Order) -> bool:
    """Whether the provider does all that it is asked for this order from now on."""
    method = order["payment"].get("method")
    return method == "sandbox_ok" or (method == "sandbox_timeout_once" and "reference" in order["payment"])


@pytest.mark.slow
@given(
    levels=st.fixed_dictionaries({"fig": st.integers(0, 9), "kiwi": st.integers(3, 9)}),
    draft=drafts,
    history=histories,
    used=keys,
    to_the_end=st.booleans(),
    first=st.sampled_from(("true", "false")),
)
@MANY
def test_a_dry_run_and_then_the_command_do_the_same(
    shared_app: Callable[..., Flask],
    api_database: Database[dict[str, Any]],
    levels: dict[str, int],
    draft: dict[str, Any],
    history: list[Any],
    used: list[str | None],
    to_the_end: bool,
    first: str,
) -> None:
    empty(api_database)
    shop = Shop(shared_app(**WITH_MAIL, STOCK_FIRST=first), api_database)
    shop.stock(levels)
    shop.place(draft, used[0])
    for what, key in zip(history, used[1:], strict=False):
        if isinstance(what, Command):
            shop.carry_out(what, key, to_the_end=to_the_end)
        else:
            shop.happen(what)
