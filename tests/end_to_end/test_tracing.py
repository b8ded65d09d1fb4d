"""Traces of the whole service, as a collector gets them: one for one order, POST to last delivery."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.mailbox import Mailbox
from tests.end_to_end.service import draft, eventually
from tests.support.collector import Collector
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

SERVER, CONSUMER = 2, 5
PARENT = "00f067aa0ba902b7"
JOURNEY = {
    "POST /orders",
    "payments.authorize",
    "stock.decrement",
    "payments.capture",
    "notifications.announce",
    "mail",
    "webhook",
}


@pytest.fixture
def trace() -> str:
    """A trace of the test's own."""
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where all spans go."""
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    """Where the mails arrive."""
    box = Mailbox(tmp_path_factory.mktemp("mail")).start()
    yield box
    box.stop()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """An endpoint of webhooks."""
    with Receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def traced(serve_all: ServiceStarter, collector: Collector, mailbox: Mailbox, receiver: Receiver) -> Service:
    """A service that sends its traces, with mail and one webhook endpoint."""
    settings = {**collector.settings, "SMTP_URL": mailbox.url, "WEBHOOK_ALLOW_PRIVATE": "true"}
    service = serve_all(settings=settings)
    assert service.http.post("/webhook-endpoints", json={"url": receiver.url()}).status_code == 201
    return service


def lines(service: Service, role: str) -> list[dict[str, Any]]:
    """The log lines of the process of a role that have the service's form."""
    (process,) = service.stack.processes([role])
    return [json.loads(line) for line in process.output().splitlines() if line.startswith('{"')]


def test_an_order_is_one_trace_from_its_post_to_mail_and_webhook(
    traced: Service, collector: Collector, receiver: Receiver, trace: str
) -> None:
    sent = f"00-{trace}-{PARENT}-01"
    order_id = traced.post(draft(email="customer@example.org"), traceparent=sent).json()["order"]["id"]
    eventually(lambda: {span.name for span in collector.of_trace(trace)} >= JOURNEY)
    spans = collector.of_trace(trace)
    (post,) = [span for span in spans if span.kind == SERVER]
    assert (post.name, post.parent_id) == ("POST /orders", PARENT)
    assert post.attributes == {
        "http.request.method": "POST",
        "http.route": "/orders",
        "http.response.status_code": 201,
    }
    assert {span.parent_id for span in spans if span is not post} == {post.span_id}
    assert {span.attributes["order.id"] for span in spans if span is not post} == {order_id}
    assert len({span.process for span in spans}) >= 2
    assert {span.service for span in spans} == {"order-service"}

    def webhooks() -> bool:
        """Whether the webhooks of both events name the spans in which they were sent."""
        sent_in = {span.span_id for span in collector.of_trace(trace) if span.name == "webhook"}
        named = [hook.headers["traceparent"].split("-")[1:3] for hook in receiver.hooks]
        ours = [span for named_trace, span in named if named_trace == trace]
        return len(ours) == 2 and sent_in.issuperset(ours)

    eventually(webhooks)


def test_a_task_and_the_orders_that_it_worked_on_name_each_other(
    traced: Service, collector: Collector, trace: str
) -> None:
    order_id = traced.post(draft(), traceparent=f"00-{trace}-{PARENT}-01").json()["order"]["id"]
    eventually(lambda: "payments.capture" in {span.name for span in collector.of_trace(trace)})

    def authorization() -> Any:
        """The span of the task and that of the order's step, each with its links."""
        found = [span for span in collector.spans if span.name == "payments.authorize" and span.links]
        tasks = [span for span in found if span.kind == CONSUMER and trace in span.links]
        steps = [span for span in found if span.attributes.get("order.id") == order_id]
        return [(tasks, steps)] if tasks and steps else None

    (((task,), (step,)),) = eventually(authorization)
    assert step.kind != CONSUMER
    assert ({*task.links}, step.links) == ({trace}, [task.trace_id])
    published = eventually(
        lambda: [one for one in collector.of_trace(task.trace_id) if one.name == "publish payments.authorize"]
    )
    assert [one.span_id for one in published] == [task.parent_id]
    assert published[0].process != task.process


def test_request_order_and_trace_are_in_the_lines_of_every_process(traced: Service, trace: str) -> None:
    sent = f"00-{trace}-{PARENT}-01"
    posted = traced.post(draft(email="customer@example.org"), traceparent=sent, X_Request_ID="request-1")
    order_id = posted.json()["order"]["id"]
    wanted = {"order_id": order_id, "request_id": "request-1", "trace_id": trace}

    def wanted_lines(role: str, event: str) -> list[dict[str, Any]]:
        return [
            line for line in lines(traced, role) if wanted.items() <= line.items() and line["event"] == event
        ]

    (request,) = eventually(lambda: wanted_lines("web", "request"))
    assert (request["method"], request["route"], request["status"]) == ("POST", "/orders", 201)
    for event in ("notification sent", "webhook sent"):
        eventually(lambda event=event: wanted_lines("worker", event))
    (relayed,) = [
        line
        for line in lines(traced, "relay")
        if line["event"] == "published" and line["task"] == "payments.authorize" and order_id in line["ids"]
    ]
    done = [line for line in lines(traced, "worker") if line.get("task_id") == relayed["task_id"]]
    assert {"task done"} <= {line["event"] for line in done}
    assert {line["task"] for line in done} == {"payments.authorize"}
    assert all("trace_id" in line for line in done)


def test_a_trace_that_the_client_does_not_sample_is_sampled_nowhere(
    traced: Service, collector: Collector, trace: str
) -> None:
    order_id = traced.post(draft(), traceparent=f"00-{trace}-{PARENT}-00").json()["order"]["id"]
    traced.come_to_rest([order_id])
    other = traced.post(draft(), traceparent=f"00-{trace[::-1]}-{PARENT}-01").json()["order"]["id"]
    eventually(lambda: "payments.capture" in {span.name for span in collector.of_trace(trace[::-1])})
    assert collector.of_trace(trace) == []
    assert order_id != other
