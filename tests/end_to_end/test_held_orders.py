"""A held order is never captured, however fast the workers are, and ends when its hold does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.clock import now, to_text
from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    import httpx

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

HOLD = {"code": "review"}
ORDERS, RACES, ENDING = 1_000, 150, 100


def hold(service: Service, order_id: str) -> httpx.Response:
    return service.http.post(f"/orders/{order_id}/holds", json=HOLD)


def release(service: Service, order_id: str) -> int:
    return service.http.delete(f"/orders/{order_id}/holds/review").status_code


def captured(service: Service, ids: list[str]) -> set[str]:
    """Those of the orders whose money the provider took."""
    taken = service.database.sandbox_payments.find({"_id": {"$in": ids}, "captured": {"$gt": 0}}, {"_id": 1})
    return {found["_id"] for found in taken}


def test_of_a_thousand_orders_posted_with_a_hold_none_is_captured_before_its_release(
    service: Service,
) -> None:
    service.set_stock("held-goods", ORDERS)
    ids = service.place_all([draft("held-goods", holds=[HOLD])] * ORDERS, clients=32)
    service.come_to_rest(ids, timeout=90)
    assert service.count(ids, status="pending", payment__status="authorized") == ORDERS
    assert captured(service, ids) == set()
    assert service.on_hand("held-goods") == 0
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda order_id: release(service, order_id), ids)) == {200}
    service.come_to_rest(ids, timeout=90)
    assert service.count(ids, status="confirmed", payment__status="captured") == ORDERS
    assert books.faults(service, ids) == []
    assert service.broken_chains(ids[::50]) == []


def test_a_hold_that_races_with_the_workers_is_obeyed_or_the_capture_is_on_record(service: Service) -> None:
    """Whichever was first, the order and the provider agree."""

    def placed_and_held(_: int) -> tuple[str, int]:
        order_id = service.placed(draft())
        return order_id, hold(service, order_id).status_code

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(placed_and_held, range(RACES)))
    ids = [order_id for order_id, _ in results]
    assert {status for _, status in results} == {201}
    service.come_to_rest(ids)
    taken = captured(service, ids)

    def check(order_id: str) -> None:
        order = service.get(order_id)
        assert order["holds"]
        expected = ("confirmed", "captured") if order_id in taken else ("pending", "authorized")
        assert (order["status"], order["payment"]["status"]) == expected
        assert service.put(order_id, {"status": "shipped"}).json()["code"] in (
            "on_hold",
            "illegal_transition",
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, ids))
        assert len(taken) < RACES, "no hold was in time"
        assert set(pool.map(lambda order_id: release(service, order_id), ids)) == {200}
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == RACES
    assert books.faults(service, ids) == []


def test_holds_end_and_take_effect_once_though_workers_are_killed(serve: ServiceStarter) -> None:
    """Half of the orders are then captured, the others cancelled; each once."""
    service = serve()
    service.set_stock("goods", ENDING)
    until = now() + timedelta(seconds=10)
    ends = [{**HOLD, "until": to_text(until), "then": then} for then in ("release", "cancel")]
    bodies: list[Any] = [draft("goods", holds=[end]) for end in ends] * (ENDING // 2)
    ids = service.place_all(bodies)
    released = {order_id for order_id, body in zip(ids, bodies, strict=True) if body["holds"][0] == ends[0]}
    service.come_to_rest(ids)
    assert captured(service, ids) == set()
    eventually(lambda: now() > until)
    for _ in range(3):
        service.stack.kill("worker")
        service.stack.start("worker")
        eventually(service.pool_children)
    eventually(lambda: service.count(ids, holds={"$exists": False}) == ENDING)
    service.end_transactions()
    service.come_to_rest(ids)
    ended = {
        event["at"]
        for order in service.database.orders.find({}, {"events": 1})
        for event in order["events"]
        if event["type"] == "hold.expired"
    }
    assert min(ended) >= until
    # Beat and a worker need some seconds to come back after the last kill.
    assert max(ended) - until < timedelta(seconds=40)
    assert service.count(released, status="confirmed") == len(released) == ENDING // 2
    assert service.count(ids, status="cancelled", cancellation__reason="expired") == ENDING // 2
    assert captured(service, ids) == released
    assert service.on_hand("goods") == ENDING // 2
    assert books.faults(service, ids) == []


def test_a_hold_acts_within_ten_seconds_of_its_end(service: Service) -> None:
    until = now() + timedelta(seconds=3)
    ids = service.place_all([draft(holds=[{**HOLD, "until": to_text(until)}])] * 20)
    eventually(lambda: service.count(ids, status="confirmed") == len(ids))
    for order_id in ids:
        events = service.http.get(f"/orders/{order_id}/events").json()["events"]
        (end,) = [event["at"] for event in events if event["type"] == "hold.expired"]
        assert to_text(until) <= end <= to_text(until + timedelta(seconds=10))
    assert books.faults(service, ids) == []
