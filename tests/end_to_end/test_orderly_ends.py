"""Asked to stop, each process finishes what it has begun and ends well; a release loses nothing."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deploy.local.stack import ROLES
from tests.end_to_end import books
from tests.end_to_end.service import Load, draft, eventually

if TYPE_CHECKING:
    from deploy.local.process import Process
    from tests.end_to_end.conftest import ServiceStarter

GRACE = 10.0


def test_every_process_ends_in_good_order_under_load_and_nothing_is_lost(serve: ServiceStarter) -> None:
    """One after the other each is asked to stop and started again; clients only ever see a closed door."""
    service = serve()
    service.set_stock("released", 10_000)
    ended: list[Process] = []
    with Load(service, product="released") as load:
        for role in ("relay", "worker", "beat", "web"):
            load.wait_for(25)
            process = service.process(role)
            process.send(signal.SIGTERM)
            eventually(lambda process=process: process.exit_code is not None, GRACE)
            ended.append(process)
            service.stack.start(role)
        load.wait_for(25)

    assert {process.name: process.exit_code for process in ended} == dict.fromkeys(ROLES, 0)
    assert [process.name for process in ended if "Traceback" in process.log.read_text()] == []
    assert {answer.status for answer in load.answers} <= {201, 0}
    ids = load.order_ids() + load.place_again(load.of(0))
    assert len(set(ids)) == len(load.answers)
    assert sorted(ids) == sorted(service.order_ids())
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert books.faults(service, ids) == []


def test_a_request_under_way_is_answered_before_the_web_process_ends(serve: ServiceStarter) -> None:
    """The client prefers to wait for a payment that takes two seconds; SIGTERM comes in between."""
    service = serve(settings={"GRACEFUL_TIMEOUT": "8"})
    with ThreadPoolExecutor(1) as pool:
        slow = draft(paymentMethod="sandbox_slow")
        # A connection that the client keeps would hold up the end for as long as it may.
        waiting = pool.submit(service.post, slow, Prefer="wait=6", Connection="close")
        eventually(service.order_ids)
        service.process("web").send(signal.SIGTERM)
        answer = waiting.result(GRACE)
    assert answer.status_code == 201
    assert answer.json()["order"]["status"] == "confirmed"
    eventually(lambda: service.process("web").exit_code == 0, GRACE)


def test_a_worker_finishes_its_batch_before_it_ends(serve: ServiceStarter) -> None:
    """Its payments take two seconds, and none of them is asked for a second time."""
    service = serve(settings={"STEP_DEADLINE": "60s"})
    ids = service.in_hand(4)
    worker = service.process("worker")
    worker.send(signal.SIGTERM)
    eventually(lambda: worker.exit_code is not None, GRACE)
    assert worker.exit_code == 0
    service.stack.start("worker")
    service.come_to_rest(ids)
    payments = list(service.database.sandbox_payments.find({"_id": {"$in": ids}}))
    assert [payment["calls"] for payment in payments] == [1] * len(ids)
    assert books.faults(service, ids) == []
