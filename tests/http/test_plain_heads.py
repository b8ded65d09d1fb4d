"""A request's head means the same, whether gunicorn's code reads it or the worker's faster one."""

from __future__ import annotations

import runpy
from itertools import pairwise
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.answers import OneWrite
from deploy.heads import Environments, Request

CLIENT, SERVER = ("192.0.2.7", 40123), ("127.0.0.1", 3003)
SETTINGS = runpy.run_path("deploy/gunicorn.conf.py")
CONFIG = Config()
for _name in (
    "limit_request_line",
    "limit_request_fields",
    "limit_request_field_size",
    "secure_scheme_headers",
    "forwarder_headers",
    "forwarded_allow_ips",
):
    CONFIG.set(_name, SETTINGS[_name])
ENVIRONMENTS = Environments(CONFIG)

PLAIN = (
    b"POST /orders?a=%20b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\nX-Any: \xe4 \r\n\r\n{}GET"
)

names = st.one_of(
    st.sampled_from(
        (
            *("Host", "host", "Content-Length", "Content-Type", "content-type", "Transfer-Encoding"),
            *("Connection", "Expect", "X-Any", "X_Any", "Script_Name", "Accept", "Upgrade", "Keep-Alive", ""),
        )
    ),
    st.text("aZ9-_!~^ \t\x00\xdf:", max_size=4),
)
values = st.one_of(
    st.sampled_from(
        (
            *("2", "0", "-1", "1_0", "0x1", "\xb2", "chunked", "gzip, chunked", "identity", "close"),
            *("keep-alive", "Close", "100-continue", "a, b", " b\t", "", "a" * 8_180, "a" * 8_190),
        )
    ),
    st.text("ab \t\r\n\x00\x7f\xff\x80:", max_size=6),
)
targets = st.one_of(
    st.sampled_from(
        (
            *("/", "/orders", "/orders?limit=2", "/a%2Fb?c#d", "//host/a", "/a//b", "*", "", "a:80"),
            *("http://shop.example/a?b", "/?", "/#", "/??a", "/[a", "/a;b?c;d", "/a b", f"/{'a' * 8_180}"),
        )
    ),
    st.text("/a?#%:[]@;\xe4 \x7f.", max_size=8),
)
lines = st.builds(
    "{} {} {}".format,
    st.sampled_from(("GET", "POST", "HEAD", "CONNECT", "get", "GE", "OPTIONS", "A1B")),
    targets,
    st.sampled_from(("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "http/1.1", "")),
)
fields = st.lists(
    st.builds("{}{}{}".format, names, st.sampled_from((":", ": ", " :", "")), values), max_size=5
)
# Most of these are plain, and the others differ in one thing.
nearly_plain = st.builds(
    lambda method, target, fields, body: (
        b"%s%s"
        % (
            "\r\n".join((f"{method} {target} HTTP/1.1", *map(": ".join, fields), "", "")).encode("latin-1"),
            body,
        )
    ),
    st.sampled_from(("GET", "POST", "DELETE", "OPTIONS", "CONNECT", "M-SEARCH")),
    st.builds(
        "/{}{}".format, st.text("a/.:;%20@[=", max_size=8), st.sampled_from(("", "?", "?a=b&c", "?/?", "#d"))
    ),
    st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from(("Host", "Content-Type", "Content-Length", "Connection", "Accept", "X_Any")),
                st.text("aZ9-!~^", min_size=1, max_size=4),
            ),
            st.one_of(
                st.sampled_from(("1", "2", "close", "keep-alive", "", " a\t", "application/json")),
                st.text("a ,\t\xff\x80:", max_size=5),
            ),
        ),
        max_size=5,
        unique_by=lambda field: field[0],
    ),
    st.sampled_from((b"", b"{}", b"{}GET / HTTP/1.1\r\n\r\n")),
)
anything = st.builds(
    lambda start, line, fields, end, body: start + end.join((line, *fields, "", "")).encode("latin-1") + body,
    st.sampled_from((b"", b"\r\n", b"\n", b" ")),
    lines,
    fields,
    st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r\n ")),
    st.sampled_from((b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")),
)

cuts = st.one_of(st.just([]), st.lists(st.integers(1, 200), max_size=3))


def understood(kind: type[Any], data: bytes, cuts: list[int]) -> Any:
    """What this class reads from the bytes, which arrive in pieces: the request, or the error."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    unreader = IterUnreader([data[start:end] for start, end in pairwise(edges)])
    try:
        request = kind(CONFIG, unreader, CLIENT, 1)
    except Exception as error:
        return type(error), str(error)
    environ: Any = ENVIRONMENTS.of(request, None, CLIENT, SERVER) if kind is Request else None
    if environ is None:
        request._expected_100_continue, expected = False, request._expected_100_continue
        environ = wsgi.create(request, None, CLIENT, SERVER, CONFIG, response_class=OneWrite)[1]
        environ["wsgi.multithread"] = True
        request._expected_100_continue = expected
    for own in ("wsgi.errors", "wsgi.input", "wsgi.early_hints"):
        environ.pop(own, None)
    facts = {
        name: getattr(request, name)
        for name in (
            *("method", "uri", "path", "query", "fragment", "version", "headers", "trailers", "scheme"),
            *("must_close", "_expected_100_continue", "proxy_protocol_info", "peer_addr", "remote_addr"),
        )
    }
    closes = [request.should_close()]
    try:
        body = request.body.read()
    except Exception as error:
        body = type(error), str(error)
    request.force_close()
    return facts, environ, [*closes, request.should_close()], body, unreader.read()


@given(st.one_of(nearly_plain, anything), cuts)
@example(PLAIN, [])
@example(PLAIN, [40])
@example(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 65 + b"\r\n", [])
@example(b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % number for number in range(64)) + b"\r\n", [])
@example(b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % number for number in range(65)) + b"\r\n", [])
@example(b"", [])
def test_a_head_means_the_same_as_to_gunicorn(data: bytes, cuts: list[int]) -> None:
    assert understood(Request, data, cuts) == understood(message.Request, data, cuts)


@given(st.binary(max_size=60), st.integers(0, len(PLAIN)), st.integers(0, len(PLAIN)))
def test_a_damaged_head_means_the_same_as_to_gunicorn(junk: bytes, start: int, end: int) -> None:
    data = PLAIN[:start] + junk + PLAIN[end:]
    assert understood(Request, data, []) == understood(message.Request, data, [])


@pytest.mark.parametrize("data", [PLAIN, b"GET /orders/1 HTTP/1.1\r\nHost: shop\r\n\r\n"])
def test_a_plain_head_takes_the_fast_way(data: bytes) -> None:
    assert Request(CONFIG, IterUnreader([data]), CLIENT, 1).fields is not None
