"""The queue is a hint: while the broker is away orders are accepted, and what it forgets is sent again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import Load, accepted, draft, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.servers import Broker
    from tests.end_to_end.conftest import ServiceStarter

ORDERS, SLOWEST = 500, 1.0
LEASES, LEASED = ("lease:relay", "lease:beat"), 30.0


def test_orders_are_accepted_without_a_broker_and_processed_once_when_it_is_back(
    serve: ServiceStarter, private_broker: Callable[[], Broker]
) -> None:
    """500 POSTs, each answered within a second."""
    broker = private_broker()
    service = serve(redis_url=broker.url())
    service.set_stock("kept", ORDERS + 10)
    broker.stop()

    answers = service.post_all([draft("kept")] * ORDERS)

    ids = [accepted(answer) for answer in answers]
    assert max(answer.elapsed.total_seconds() for answer in answers) < SLOWEST
    assert service.http.get("/readyz").status_code == 200
    assert service.count(ids, status="pending") == ORDERS

    broker.start()
    service.come_to_rest(ids, timeout=90)
    assert service.count(ids, status="confirmed") == ORDERS
    assert service.on_hand("kept") == 10
    assert books.faults(service, ids) == []
    assert all(process.running for process in service.stack.processes())


def test_a_broker_that_comes_back_with_an_empty_store_costs_nothing(
    serve: ServiceStarter, private_broker: Callable[[], Broker]
) -> None:
    """Twice during load everything it held is gone: messages, leases, queues, while workers are at work.

    Of two relays and two beats one each soon has the lease of the new store.
    """
    broker = private_broker()
    service = serve(redis_url=broker.url(), roles={"web": 1, "relay": 2, "worker": 1, "beat": 2})
    service.set_stock("forgotten", 10_000)
    with Load(service, product="forgotten") as load:
        for _ in range(2):
            load.wait_for(50)
            service.in_hand(2)
            broker.kill()
            shutil.rmtree(broker.directory)
            load.wait_for(25)
            broker.start()
            eventually(lambda: service.broker.exists(*LEASES) == len(LEASES), LEASED)
        load.wait_for(50)

    assert {answer.status for answer in load.answers} == {201}
    ids = service.order_ids()
    assert set(load.order_ids()) < set(ids)
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert books.faults(service, ids) == []
    assert all(process.running for process in service.stack.processes())


def test_every_process_outlives_the_broker(
    serve: ServiceStarter, private_broker: Callable[[], Broker]
) -> None:
    """A worker with one task in hand and one hand free, too."""
    broker = private_broker()
    service = serve(redis_url=broker.url())
    ids = service.in_hand()
    broker.kill()
    ids.append(service.placed(draft()))
    broker.start()

    service.come_to_rest(ids)

    assert all(process.running for process in service.stack.processes())
    assert books.faults(service, ids) == []


def test_a_broker_that_goes_leaves_no_orders_in_the_temporary_folder(
    serve: ServiceStarter, private_broker: Callable[[], Broker], tmp_path: Path
) -> None:
    """Though the worker has messages that it has not begun: both of its processes are busy."""
    broker, temporary = private_broker(), tmp_path / "temporary"
    temporary.mkdir()
    service = serve(redis_url=broker.url(), settings={"TMPDIR": str(temporary), "STEP_DEADLINE": "5s"})
    ids = []
    for _ in range(6):
        ids.append(service.placed(draft(paymentMethod="sandbox_slow")))
        eventually(lambda: service.broker.llen("payments") == 0)

    broker.kill()

    worker = service.process("worker")
    eventually(lambda: "Connection to broker lost" in worker.output())
    broker.start()
    service.come_to_rest(ids, timeout=90)
    left = [path.read_text(errors="replace") for path in temporary.rglob("*") if path.is_file()]
    assert not any(order_id in text for order_id in ids for text in left)
