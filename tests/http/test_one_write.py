"""The worker sends the same bytes as gunicorn's own response, and the head together with the body."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi
from hypothesis import given
from hypothesis import strategies as st

from deploy.answers import MOST_COPIED, OneWrite

CONFIG = Config()


class Sent(list[bytes]):
    """A socket that keeps each write."""

    def sendall(self, data: bytes) -> None:
        """Keeps the write."""
        self.append(bytes(data))


def sent(kind: type[Any], status: str, parts: list[bytes], method: str, length: int | None) -> Sent:
    """The writes of an answer with these parts and this Content-Length."""
    writes = Sent()
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    response = kind(request, writes, CONFIG)
    headers = [("Content-Type", "application/json")]
    response.start_response(
        status, headers + ([("Content-Length", str(length))] if length is not None else [])
    )
    for part in parts:
        response.write(part)
    response.close()
    return writes


@pytest.fixture(autouse=True, scope="module")
def _one_second() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(util, "http_date", lambda *_: "Fri, 04 Oct 2024 10:00:00 GMT")
        yield


@given(
    status=st.sampled_from(("200 OK", "201 CREATED", "204 NO CONTENT", "304 NOT MODIFIED", "500 ERROR")),
    parts=st.lists(st.one_of(st.binary(max_size=20), st.just(bytes(MOST_COPIED + 1))), max_size=4),
    method=st.sampled_from(("GET", "HEAD", "POST")),
    length=st.one_of(st.none(), st.integers(0, 60)),
)
def test_the_bytes_are_those_of_gunicorn(**answer: Any) -> None:
    assert b"".join(sent(OneWrite, **answer)) == b"".join(sent(wsgi.Response, **answer))


def test_the_head_and_the_body_are_one_write() -> None:
    (write,) = sent(OneWrite, "200 OK", [b"{}"], "GET", 2)
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert write.endswith(b"\r\n\r\n{}")


def test_an_answer_without_a_body_is_one_write() -> None:
    assert len(sent(OneWrite, "304 NOT MODIFIED", [], "GET", None)) == 1
