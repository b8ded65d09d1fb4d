"""Clients that hold connections, answers or waits open take nothing from others: a real web process."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.end_to_end.service import eventually
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.stack import Stack
    from tests.support.servers import StackStarter

# Of these connections, half are kept free of ordinary requests.
FEW = {"GUNICORN_CMD_ARGS": "--worker-connections 20"}
LARGE = {
    "userId": "user-id",
    "products": [
        {"productId": f"{number:03}" + "\N{GRINNING FACE}" * 124, "quantity": 1} for number in range(200)
    ],
    "totalAmount": 200,
}
PAGE = b"GET /orders?limit=9 HTTP/1.1\r\nHost: orders\r\n\r\n"


class Clients:
    """Raw connections to a web process, all closed with the test."""

    def __init__(self, stack: Stack, opened: contextlib.ExitStack) -> None:
        self._url = httpx.URL(stack.base_url)
        self._opened = opened

    def connect(self, sent: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
        """A connection from a loopback address, with small buffers, over which something is sent."""
        client = self._opened.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((address, 0))
        client.connect((self._url.host, self._url.port or 80))
        client.settimeout(30)
        client.sendall(sent)
        return client


@pytest.fixture
def hold() -> Iterator[Callable[[Stack], Clients]]:
    """Opens connections to a stack's web process."""
    with contextlib.ExitStack() as opened:
        yield lambda stack: Clients(stack, opened)


def posts(prefer: str) -> bytes:
    body = json.dumps(SAMPLE).encode()
    head = f"POST /orders HTTP/1.1\r\nHost: orders\r\nContent-Type: application/json\r\nPrefer: {prefer}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def head_of(client: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read and (more := client.recv(4096)):
        read += more
    return read.partition(b"\r\n\r\n")[0]


def is_closed(client: socket.socket) -> bool:
    gone = select.poll()
    gone.register(client, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
    return bool(gone.poll(0))


def probe(stack: Stack, path: str = "/healthz") -> None:
    """Asks over a connection of its own, with less patience than the web process has with idle clients."""
    assert httpx.get(f"{stack.base_url}{path}", timeout=20).status_code == 200


def memory(stack: Stack) -> float:
    """The MiB that web's processes have for themselves or share."""
    (arbiter,) = stack.pids("web")
    workers = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in [arbiter, *workers]]
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in rollups) / 1024


def test_probes_are_answered_while_idle_connections_fill_a_worker(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    stack = start_stack(roles={"web": 1}, settings=FEW)
    clients = hold(stack)
    held = [clients.connect(b"GET / HTTP/1.1\r\n" if number % 2 else b"") for number in range(60)]
    probe(stack)
    probe(stack, "/readyz")
    assert httpx.post(f"{stack.base_url}/orders", json=SAMPLE, timeout=20).status_code == 201
    # Those that waited longest went first.
    assert is_closed(held[0])
    assert not is_closed(held[-1])


def test_a_request_in_hand_is_not_closed_for_new_connections(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    stack = start_stack(roles={"web": 1}, settings=FEW)
    clients = hold(stack)
    waiting = [clients.connect(posts("wait=2")) for _ in range(5)]
    for _ in range(60):
        clients.connect()
    for client in waiting:
        assert b" 201 " in head_of(client)


def test_too_many_requests_at_once_are_refused_and_probes_are_not(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    stack = start_stack(roles={"web": 1}, settings=FEW)
    clients = hold(stack)
    for _ in range(10):
        clients.connect(posts("wait=30"))
    refused = eventually(
        lambda: (answer := httpx.get(f"{stack.base_url}/orders")).status_code == 503 and answer
    )
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["code"] == "unavailable"
    probe(stack)
    probe(stack, "/readyz")


def test_a_body_that_does_not_come_gives_way_to_other_requests(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    stack = start_stack(roles={"web": 1}, settings=FEW)
    clients = hold(stack)
    head = posts("wait=1").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    slow = [clients.connect(head) for _ in range(10)]
    answered = eventually(lambda: httpx.get(f"{stack.base_url}/orders").status_code == 200)
    assert answered
    assert any(is_closed(client) for client in slow)


def test_probes_are_answered_whatever_thousands_of_connections_do(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    """With the settings as they are delivered."""
    stack = start_stack(roles={"web": 1}, settings={"WEB_CONCURRENCY": "2"})
    clients = hold(stack)
    for number in range(80):
        clients.connect(posts("wait=30"), f"127.0.0.{2 + number % 4}")
    for number in range(2200):
        clients.connect(b"POST /orders HTTP/1.1\r\nHost: o" if number % 2 else b"")
    for _ in range(20):
        probe(stack)
    probe(stack, "/readyz")
    assert httpx.post(f"{stack.base_url}/orders", json=SAMPLE, timeout=20).status_code == 201


def test_a_caller_that_has_too_many_waiting_is_answered_at_once(
    start_stack: StackStarter, hold: Callable[[Stack], Clients]
) -> None:
    settings = {"WAITS_PER_CALLER": "3"}
    stack = start_stack(roles={"web": 1}, settings=settings)
    clients = hold(stack)
    waiting = [clients.connect(posts("wait=10")) for _ in range(3)]
    eventually(lambda: httpx.get(f"{stack.base_url}/orders").json()["orders"][2:])
    beyond = head_of(clients.connect(posts("wait=30")))
    assert b" 201 " in beyond
    assert b"preference-applied" not in beyond.lower()
    assert not any(select.select(waiting, [], [], 0))
    other = head_of(clients.connect(posts("wait=1"), "127.0.0.2"))
    assert b"preference-applied: wait=1" in other.lower()
    for client in waiting:
        assert b"preference-applied: wait=10" in head_of(client).lower()
    assert b"preference-applied: wait=1" in head_of(clients.connect(posts("wait=1"))).lower()


@pytest.fixture
def laden(start_stack: StackStarter) -> Callable[..., Stack]:
    """Starts web over orders of which a page is about a MiB."""

    def start(**settings: str) -> Stack:
        stack = start_stack(roles={"web": 1}, settings=settings)
        with ThreadPoolExecutor(3) as several:
            url = f"{stack.base_url}/orders"
            for answer in several.map(lambda _: httpx.post(url, json=LARGE, timeout=30), range(9)):
                assert answer.status_code == 201
        return stack

    return start


def test_an_answer_of_which_nothing_is_read_is_given_up_soon(
    laden: Callable[..., Stack], hold: Callable[[Stack], Clients]
) -> None:
    stack = laden(SEND_TIMEOUT="1")
    client = hold(stack).connect(PAGE)
    eventually(lambda: is_closed(client), timeout=20)


def test_an_answer_that_is_read_slowly_comes_whole(
    laden: Callable[..., Stack], hold: Callable[[Stack], Clients]
) -> None:
    stack = laden(SEND_TIMEOUT="2")
    client = hold(stack).connect(PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    read = bytearray()
    began = time.monotonic()
    while more := client.recv(40_000):
        read += more
        if time.monotonic() - began < 5:
            time.sleep(0.2)  # what makes the client slow
    assert len(json.loads(read.partition(b"\r\n\r\n")[2])["orders"]) > 1


def test_a_caller_that_reads_no_answers_is_refused_further_ones(
    laden: Callable[..., Stack], hold: Callable[[Stack], Clients]
) -> None:
    stack = laden()
    clients = hold(stack)
    unread = [clients.connect(PAGE) for _ in range(8)]
    refused = eventually(
        lambda: (
            (answer := httpx.get(f"{stack.base_url}/orders?limit=9", timeout=30)).status_code == 429
            and answer
        )
    )
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["Retry-After"]) > 0
    # What is small is not refused, nor is anyone else.
    assert httpx.get(f"{stack.base_url}/stock").status_code == 200
    assert b" 200 " in head_of(clients.connect(PAGE, "127.0.0.2"))
    for client in unread:
        client.close()
    eventually(lambda: httpx.get(f"{stack.base_url}/orders?limit=9", timeout=30).status_code == 200)


def test_unread_answers_of_many_callers_take_little_memory(
    laden: Callable[..., Stack], hold: Callable[[Stack], Clients]
) -> None:
    stack = laden()
    clients = hold(stack)
    before = memory(stack)
    unread = [clients.connect(PAGE, f"127.0.0.{2 + number % 60}") for number in range(180)]
    eventually(lambda: sum(map(is_closed, unread)) > 90, timeout=60)
    assert memory(stack) - before < 60
    probe(stack)
    answer = httpx.get(f"{stack.base_url}/orders?limit=9", timeout=30)
    assert answer.status_code == 200
