"""The tasks are thin: named by the tables, routed by their names, called with plain JSON."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kombu.entity import Queue

from app.broker import QUEUES
from app.orders import steps, sweeping
from app.orders.events import EVENTS
from tasks.schedule import EVERY, SCHEDULE
from tasks.steps import own_steps, send_all

if TYPE_CHECKING:
    from celery import Celery


SERVICES = SimpleNamespace(orders="the orders", notifications="the notifications")


@pytest.fixture
def published(celery: Celery, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """The messages that would go to the broker: names and arguments, checked against the signatures."""
    sent: list[tuple[str, tuple[Any, ...]]] = []

    def send_task(name: str, args: tuple[Any, ...] = (), **_: Any) -> None:
        inspect.signature(celery.tasks[name].run).bind(*args)
        assert json.loads(json.dumps(args)) == list(args)
        sent.append((name, args))

    monkeypatch.setattr(celery, "send_task", send_task)
    return sent


def own(celery: Celery) -> set[str]:
    """The names of our own tasks."""
    return {name for name in celery.tasks if not name.startswith("celery.")}


def test_every_step_that_an_event_sets_in_motion_has_its_task(celery: Celery) -> None:
    assert steps.set_in_motion(EVENTS) == {step.name for step in steps.STEPS}
    assert steps.set_in_motion(EVENTS) <= own(celery)


def test_every_task_is_a_step_a_delivery_or_on_the_schedule(celery: Celery) -> None:
    assert own(celery) - EVERY.keys() - steps.set_in_motion(EVENTS) == {
        "notifications.deliver",
        "notifications.send_webhooks",
        "payments.take_in_events",
    }


def test_the_schedule_names_tasks_that_exist_and_need_no_arguments(
    celery: Celery,
) -> None:
    assert SCHEDULE
    for name, entry in SCHEDULE.items():
        assert entry["task"] == name
        inspect.signature(celery.tasks[name].run).bind()
        assert isinstance(entry["schedule"], timedelta)


def test_every_task_uses_the_queue_in_its_name_and_every_queue_is_one_of_four(celery: Celery) -> None:
    assert sorted(QUEUES) == ["maintenance", "notifications", "payments", "stock"]
    assert {queue.name for queue in celery.conf.task_queues} == set(QUEUES)
    for name in own(celery):
        route = celery.amqp.router.route({}, name)
        assert route["queue"].name == name.partition(".")[0]
        assert route["queue"].name in QUEUES


def test_a_task_is_acknowledged_when_it_is_taken_and_its_result_is_not_kept(celery: Celery) -> None:
    for name in own(celery):
        task = celery.tasks[name]
        assert not task.acks_late
        assert task.ignore_result


def test_many_ids_are_sent_in_messages_of_a_batch_each(published: list[Any]) -> None:
    ids = [f"{number:024x}" for number in range(sweeping.BATCH * 2 + 1)]
    send_all({steps.AUTHORIZE.name: ids, steps.DECREMENT.name: [], steps.ANNOUNCE.name: ids[:1]})
    sizes = [(name, len(args[0])) for name, args in published]
    assert sizes == [
        (steps.AUTHORIZE.name, sweeping.BATCH),
        (steps.AUTHORIZE.name, sweeping.BATCH),
        (steps.AUTHORIZE.name, 1),
        (steps.ANNOUNCE.name, 1),
    ]
    assert [one for name, (batch,) in published if name == steps.AUTHORIZE.name for one in batch] == ids


@pytest.mark.parametrize("step", steps.STEPS, ids=lambda step: step.name)
def test_the_task_of_a_step_performs_that_step_and_no_other(
    step: steps.Step, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    performed = []
    monkeypatch.setattr("tasks.steps.services", lambda: SERVICES)
    monkeypatch.setattr("tasks.steps.perform", lambda *call: performed.append(call))
    celery.tasks[step.name](["a", "b"])
    assert performed == [("the orders", step, ["a", "b"], list(steps.STEPS), send_all)]


@pytest.mark.parametrize("queue", ["payments", "stock", "notifications", "maintenance"])
def test_a_worker_of_one_queue_does_the_steps_of_that_queue_alone(
    queue: str, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery.amqp, "queues", celery.amqp.Queues([Queue(name) for name in QUEUES]))
    assert own_steps() == list(steps.STEPS)
    celery.amqp.queues.select([queue])
    assert own_steps() == [step for step in steps.STEPS if step.name.startswith(f"{queue}.")]


def test_announcing_publishes_deliveries_by_notification_and_by_endpoint(
    celery: Celery, published: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(_: Any, step: steps.Step, ids: list[str], own: Any, send: Any) -> None:
        send(
            {"notifications.deliver": [f"{one}:1:mail" for one in ids], "notifications.send_webhooks": ["e"]}
        )

    monkeypatch.setattr("tasks.steps.services", lambda: SERVICES)
    monkeypatch.setattr("tasks.steps.perform", perform)
    celery.tasks[steps.ANNOUNCE.name](["a", "b"])
    assert published == [
        ("notifications.deliver", (["a:1:mail", "b:1:mail"],)),
        ("notifications.send_webhooks", (["e"],)),
    ]
