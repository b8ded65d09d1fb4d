"""The security headers of answers: browsers guess no types, frame nothing and store nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient


@pytest.mark.parametrize(
    "path", ["/orders", "/orders/none", "/nowhere", "/healthz", "/metrics", "/docs", "/docs/swagger-ui.css"]
)
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path, buffered=True).headers
    assert headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert headers.getlist("Referrer-Policy") == ["no-referrer"]
    (policy,) = headers.getlist("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("frame-ancestors 'none'")


def test_refusals_have_them_too(client: FlaskClient) -> None:
    for answer in (
        client.post("/orders", data="{"),
        client.delete("/orders"),
        client.put("/orders/x", json={}),
    ):
        assert answer.status_code >= 400
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_an_order_may_be_kept_and_asked_for_anew_and_nothing_else_may(
    client: FlaskClient, post_order: Callable[..., dict[str, Any]]
) -> None:
    path = f"/orders/{post_order()['id']}"
    shown = client.get(path)
    assert shown.headers["Cache-Control"] == "private, no-cache"
    again = client.get(path, headers={"If-None-Match": shown.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "private, no-cache")
    for listing in ("/orders", f"{path}/events", "/stock", "/events"):
        assert client.get(listing).headers["Cache-Control"] == "no-store"
    assert client.post("/orders", json=SAMPLE).headers["Cache-Control"] == "private, no-cache"


def test_the_page_of_all_calls_runs_its_own_scripts_and_no_others(client: FlaskClient) -> None:
    pages = [client.get("/docs") for _ in range(2)]
    nonces = []
    for page in pages:
        policy = page.headers["Content-Security-Policy"]
        (nonce,) = re.findall(r"script-src 'self' 'nonce-([\w-]{20,})';", policy)
        nonces.append(nonce)
        assert "http" not in policy
        scripts = re.findall(r"<script([^>]*)>", page.text)
        assert scripts
        for attributes in scripts:
            assert 'src="/docs/' in attributes or f'nonce="{nonce}"' in attributes
        assert not re.findall(r"\son\w+=|javascript:", page.text)
    assert nonces[0] != nonces[1]
