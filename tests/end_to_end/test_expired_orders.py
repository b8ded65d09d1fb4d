"""An order that cannot be finished in time ends, and nothing of it is left open anywhere."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from deploy.local.process import Process
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service


def test_orders_of_a_provider_that_is_down_expire_with_nothing_left_open(serve: ServiceStarter) -> None:
    """A payment method that works is not held up by the one that does not."""
    service = serve(settings={"ORDER_EXPIRY": "3s"})
    service.set_stock("waited-for", 100)
    ids = service.place_all([draft("waited-for", paymentMethod="sandbox_unavailable")] * 30)
    well = service.confirmed(draft("waited-for"))["id"]

    service.come_to_rest(ids)

    assert _expired(service, ids) == len(ids)
    assert service.get(well)["status"] == "confirmed"
    payments = list(service.database.sandbox_payments.find({"_id": {"$in": ids}}))
    assert {(payment["status"], payment["captured"]) for payment in payments} == {("voided", 0)}
    assert service.on_hand("waited-for") == 99
    shown = service.get(ids[0])
    assert shown["payment"]["status"] == "voided"
    assert shown["stock"]["status"] == "released"
    assert books.faults(service, [*ids, well]) == []


def test_an_authorization_that_comes_after_the_expiry_is_void(serve: ServiceStarter) -> None:
    """The worker that has asked the provider stands still until another has seen the orders expire."""
    service = serve(settings={"ORDER_EXPIRY": "1s"}, roles={"web": 1, "relay": 1, "worker": 1})
    payments = service.database.sandbox_payments
    asking = service.process("worker")
    ids = eventually(lambda: _being_authorized(service, asking), timeout=90)
    service.stack.start("worker")
    service.stack.start("beat")
    closed = {"_id": {"$in": ids}, "status": "voided"}
    eventually(lambda: payments.count_documents(closed) == len(ids))
    service.come_to_rest(ids)
    assert _expired(service, ids) == len(ids)
    before = service.versions(ids)

    os.killpg(asking.pid, signal.SIGCONT)
    authorized = {"_id": {"$in": ids}, "calls": {"$gt": 0}}
    eventually(lambda: payments.count_documents(authorized) == len(ids))
    service.come_to_rest(ids)
    assert _expired(service, ids) == len(ids)
    assert service.versions(ids) == before
    assert payments.count_documents(closed) == len(ids)
    assert books.faults(service, ids) == []


def test_a_payment_whose_answer_was_lost_is_asked_for_again_and_taken_once(service: Service) -> None:
    """The provider acted and did not say so; asked again under the same key, it acts no second time."""
    ids = service.place_all([draft(paymentMethod="sandbox_timeout_once")] * 20)
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    payments = list(service.database.sandbox_payments.find({"_id": {"$in": ids}}))
    assert all(payment["calls"] >= 2 for payment in payments)
    assert books.faults(service, ids) == []


def _being_authorized(service: Service, worker: Process) -> list[str]:
    """An order whose payment the worker has asked for and not got, while it stands still from now on.

    None if the provider was faster: it takes two seconds. More orders could come in more messages, which keep
    all of the worker's processes busy for as long.
    """
    *ids, _ = service.in_hand()
    os.killpg(worker.pid, signal.SIGSTOP)
    if not service.database.sandbox_payments.count_documents({"_id": {"$in": ids}}):
        return ids
    os.killpg(worker.pid, signal.SIGCONT)
    return []


def _expired(service: Service, ids: list[str]) -> int:
    return service.count(ids, status="cancelled", cancellation__reason="expired")
