"""Requests that are too slow or too large end in time, and other clients are served meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import StackStarter

SETTINGS = {"BODY_TIMEOUT": "1s", "REQUEST_TIMEOUT": "3", "KEEPALIVE": "2"}
LINE = b"POST /orders HTTP/1.1\r\nHost: orders\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def web(start_shared_stack: StackStarter) -> httpx.URL:
    return httpx.URL(start_shared_stack(roles={"web": 1}, settings=SETTINGS).base_url)


def connected(web: httpx.URL) -> socket.socket:
    return socket.create_connection((web.host, web.port or 80), timeout=15)


def drip(client: socket.socket, drops: Iterator[bytes]) -> bytes:
    """The answer to a client that sends a byte every tenth of a second until its connection closes."""
    client.settimeout(0.1)
    answer = b""
    for drop in drops:
        try:
            client.sendall(drop)
            while more := client.recv(65536):
                answer += more
            break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return answer


def all_of(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def read_problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    assert problem["requestId"].encode() in head
    return problem["status"], problem["code"]


def test_a_body_that_comes_in_drops_is_refused_and_the_connection_closed(web: httpx.URL) -> None:
    for stated in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        drops = itertools.repeat(b" " if stated.startswith(b"C") else b"1\r\n \r\n")
        with connected(web) as client:
            client.sendall(LINE + stated)
            began = time.monotonic()
            assert read_problem(drip(client, drops)) == (408, "request_timeout")
        assert 0.9 < time.monotonic() - began < 4


def test_a_head_that_comes_in_drops_is_not_waited_for(web: httpx.URL) -> None:
    with connected(web) as client:
        client.sendall(LINE)
        began = time.monotonic()
        assert drip(client, (b"X-%d: y\r\n" % number for number in itertools.count())) == b""
    assert 1.5 < time.monotonic() - began < 5


def test_a_client_that_sends_nothing_loses_its_connection(web: httpx.URL) -> None:
    with connected(web) as client:
        began = time.monotonic()
        assert client.recv(1) == b""
    assert 1.5 < time.monotonic() - began < 5


def test_an_answer_that_is_not_read_is_not_kept_for_ever(web: httpx.URL) -> None:
    """The page of all calls is too large for the buffers in between once it is asked for often enough."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: orders\r\n\r\n"
    with connected(web) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(ask * 400)
        began = time.monotonic()
        gone = select.poll()
        gone.register(client, select.POLLHUP | select.POLLERR)
        assert gone.poll(8000)
    assert time.monotonic() - began > 2


def test_others_are_served_while_many_are_slow(web: httpx.URL) -> None:
    with contextlib.ExitStack() as connections:
        slow = [connections.enter_context(connected(web)) for _ in range(200)]
        for client in slow:
            client.sendall(LINE + b"Content-Length: 1000\r\n\r\n{")
        answer = httpx.post(f"{web}/orders", json=SAMPLE)
        assert answer.status_code == 201
        assert answer.elapsed.total_seconds() < 2
        for client in slow:
            assert read_problem(all_of(client)) == (408, "request_timeout")


def test_malformed_http_is_refused_with_a_problem(web: httpx.URL) -> None:
    refused = {
        b"GET /orders?userId=" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n": (414, "uri_too_long"),
        b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n": (431, "request_header_fields_too_large"),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 65 + b"\r\n": (431, "request_header_fields_too_large"),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": (400, "bad_request"),
        b"nonsense\r\n\r\n": (400, "bad_request"),
        LINE + b"Transfer-Encoding: gzip\r\n\r\n": (400, "bad_request"),
        LINE + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n": (400, "bad_request"),
        LINE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}": (400, "bad_request"),
    }
    for sent, answered in refused.items():
        with connected(web) as client:
            client.sendall(sent)
            answer = all_of(client)
            assert read_problem(answer) == answered, sent[:80]
            if answered[0] in (414, 431):
                assert b"at most 8190 bytes" in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 1000\r\n\r\n" + json.dumps(SAMPLE).encode(),
        b"Content-Length: 1000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
        % (len(json.dumps(SAMPLE)), json.dumps(SAMPLE).encode()),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s"
        % (len(json.dumps(SAMPLE)), json.dumps(SAMPLE).encode()),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n"
        % (len(json.dumps(SAMPLE)), json.dumps(SAMPLE).encode()),
        b"Transfer-Encoding: chunked\r\n\r\nfff\r\n" + json.dumps(SAMPLE).encode(),
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_body_that_ends_early_is_refused_and_nothing_is_done(web: httpx.URL, sent: bytes) -> None:
    before = httpx.get(f"{web}/orders").json()["orders"]
    with connected(web) as client:
        client.sendall(LINE + sent)
        client.shutdown(socket.SHUT_WR)
        assert read_problem(all_of(client)) == (400, "bad_request")
    assert httpx.get(f"{web}/orders").json()["orders"] == before
