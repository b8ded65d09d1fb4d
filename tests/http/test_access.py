"""Access to every route by its scope, the refusals of calls without a valid token, and their texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from app.http.access import SCOPES, WIDER
from tests.support.tokens import CHECKED, KEYS, SECRET, SETTINGS, Issuer, bearer, claims, jwk, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

BASIC = 'Bearer realm="orders"'
INVALID = f'{BASIC}, error="invalid_token", error_description="The token is not valid."'
ALL = " ".join(SCOPES)
OWN = {**SAMPLE, "userId": "ann"}


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    return shared_app(**SETTINGS)


def routes(app: Flask) -> Iterator[tuple[str, str, str | None]]:
    """Every method and path with the scope that it needs; no thing there has the id."""
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield method, re.sub("<[^>]*>", "0" * 24, rule.rule), view.declared.scope


def counts(api_database: Database[dict[str, Any]]) -> dict[str, int]:
    return {name: api_database[name].count_documents({}) for name in api_database.list_collection_names()}


def refused(answer: TestResponse, status: int, code: str, challenge: str) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (status, code), answer.text
    assert answer.headers.getlist("WWW-Authenticate") == [challenge]


def test_no_route_that_needs_a_scope_is_open(
    app: Flask, client: FlaskClient, api_database: Database[dict[str, Any]]
) -> None:
    """Without a token 401, with one for everything else 403; and nothing is done."""
    before, seen = counts(api_database), 0
    for method, path, scope in routes(app):
        if scope is None:
            assert client.open(path, method=method).status_code not in (401, 403), path
            continue
        seen += 1
        refused(client.open(path, method=method), 401, "unauthorized", BASIC)
        refused(client.open(path, method=method, headers=bearer("a.b.c")), 401, "unauthorized", INVALID)
        others = " ".join(other for other in SCOPES if other not in (scope, WIDER.get(scope or "")))
        answer = client.open(path, method=method, headers=bearer(token(scope=others)))
        refused(answer, 403, "forbidden", f'{BASIC}, error="insufficient_scope", scope="{scope}"')
        answer = client.open(path, method=method, headers=bearer(token(scope=scope)), json={})
        assert answer.status_code not in (401, 403), (path, answer.text)
    assert seen > 20
    assert counts(api_database) == before


def test_a_route_without_a_declaration_is_404(make_app: Callable[..., Flask]) -> None:
    app = make_app(**SETTINGS)
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    client = app.test_client()
    assert client.get("/forgotten", headers=bearer(token(scope=ALL))).status_code == 404


def test_an_unknown_path_needs_no_token(client: FlaskClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.patch("/orders").status_code == 405


def test_the_admin_reads_and_writes(client: FlaskClient) -> None:
    headers = bearer(token("boss", "orders:admin"))
    assert client.get("/orders", headers=headers).status_code == 200
    assert client.post("/orders", json=SAMPLE, headers=headers).status_code == 201


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " Bearer", "Bearer "])
def test_the_scheme_may_be_spelled_in_any_case(client: FlaskClient, scheme: str) -> None:
    assert client.get("/orders", headers={"Authorization": f"{scheme} {token()} "}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, BASIC),
        ({"Authorization": ""}, BASIC),
        ({"Authorization": token()}, BASIC),
        ({"Authorization": "Basic YW5uOmFubg=="}, BASIC),
        ({"Authorization": f"Basic x, Bearer {token()}"}, BASIC),
        ({"Authorization": f"Token {token()}"}, BASIC),
        ({"Authorization": "Bearer"}, INVALID),
        ({"Authorization": f"Bearer {token()} {token()}"}, INVALID),
        ({"Authorization": f"Bearer {token()}, Bearer {token()}"}, INVALID),
        ([("Authorization", f"Bearer {token()}"), ("Authorization", f"Bearer {token()}")], INVALID),
        ({"Authorization": f'Bearer "{token()}"'}, INVALID),
        ({"Authorization": f"Bearer {token()[:-9]}"}, INVALID),
        ({"Authorization": f"Bearer {token(padding='x' * 9000)}"}, INVALID),
        ({"Authorization": "Bearer é"}, INVALID),
        ({"Proxy-Authorization": f"Bearer {token()}"}, BASIC),
        ({"Cookie": f"access_token={token()}"}, BASIC),
    ],
)
def test_nothing_but_one_good_token_signs_in(client: FlaskClient, headers: Any, challenge: str) -> None:
    answer = client.get("/orders", headers=headers, query_string={})
    refused(answer, 401, "unauthorized", challenge)
    assert "iss" not in answer.text
    assert "Signature" not in answer.text


def test_a_token_in_the_url_does_not_authenticate(client: FlaskClient) -> None:
    for name in ("access_token", "token", "authorization"):
        refused(client.get("/orders", query_string={name: token()}), 401, "unauthorized", BASIC)


def test_an_expired_token_says_so(client: FlaskClient) -> None:
    said = f'{BASIC}, error="invalid_token", error_description="The token has expired."'
    refused(client.get("/orders", headers=bearer(token(exp=1))), 401, "unauthorized", said)


def test_a_body_is_not_looked_at_before_the_token_is(client: FlaskClient) -> None:
    for body in (b"{", b" " * 300_000):
        answer = client.post("/orders", data=body, content_type="application/json")
        refused(answer, 401, "unauthorized", BASIC)


def test_an_events_actor_is_the_caller(client: FlaskClient) -> None:
    order = client.post("/orders", json=OWN, headers=bearer(token())).get_json()["order"]
    location = f"/orders/{order['id']}"
    assert client.put(location, json={"status": "cancelled"}, headers=bearer(token("boss", ALL))).status_code
    events = client.get(f"{location}/events", headers=bearer(token())).get_json()["events"]
    assert [event["actor"] for event in events] == ["ann", "boss", "boss"]


@pytest.mark.parametrize("status", ["shipped", "delivered"])
def test_customers_do_not_ship(client: FlaskClient, settle: Callable[[str], None], status: str) -> None:
    order_id = client.post("/orders", json=OWN, headers=bearer(token())).get_json()["order"]["id"]
    settle(order_id)
    answer = client.put(f"/orders/{order_id}", json={"status": status}, headers=bearer(token()))
    refused(answer, 403, "forbidden", f'{BASIC}, error="insufficient_scope", scope="orders:admin"')
    for shop_says in ("shipped", "delivered"):
        answer = client.put(
            f"/orders/{order_id}", json={"status": shop_says}, headers=bearer(token("boss", "orders:admin"))
        )
        assert answer.status_code == 200
    # Nor by asking for what is so already.
    answer = client.put(f"/orders/{order_id}", json={"status": "delivered"}, headers=bearer(token()))
    assert answer.status_code == 403


def test_metrics_are_at_their_port_alone_where_they_have_one(make_app: Callable[..., Flask]) -> None:
    client = make_app(METRICS_PORT="9464").test_client()
    inside = {"base_url": "http://localhost:9464"}
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Host": "localhost:9464"}).status_code == 404
    assert client.get("/metrics", headers={"X-Forwarded-Port": "9464"}).status_code == 404
    assert client.get("/metrics", **inside).status_code == 200
    assert client.get("/orders", **inside).status_code == 404
    assert client.get("/orders").status_code == 200


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_issuers_keys_are_looked_up_by_their_names(
    make_app: Callable[..., Flask], algorithm: str
) -> None:
    with Issuer(*(jwk(other, other) for other in KEYS)) as issuer:
        client = make_app(**CHECKED, JWT_JWKS_URL=issuer.url).test_client()

        def status(kid: str | None, signed_with: str = algorithm) -> int:
            headers = {"kid": kid} if kid else {}
            made = jwt.encode(claims(), KEYS[signed_with], signed_with, headers=headers)
            return client.get("/orders", headers=bearer(made)).status_code

        assert status(algorithm) == 200
        others = set(KEYS) - {algorithm}
        assert {status(kid) for kid in (*others, "foreign", None, "../../etc/passwd")} == {401}
        assert client.get("/orders", headers=bearer(token())).status_code == 401
        with_kid = jwt.encode(claims(), SECRET, "HS256", headers={"kid": algorithm})
        assert client.get("/orders", headers=bearer(with_kid)).status_code == 401
        assert issuer.fetches == 1


def test_while_no_keys_can_be_fetched_no_token_is_refused_as_invalid(
    make_app: Callable[..., Flask],
) -> None:
    with Issuer() as issuer:
        client = make_app(**CHECKED, JWT_JWKS_URL=issuer.url).test_client()
        made = jwt.encode(claims(), KEYS["ES256"], "ES256", headers={"kid": "one"})
        answer = client.get("/orders", headers=bearer(made))
        assert (answer.status_code, answer.get_json()["code"]) == (503, "issuer_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200
        refused(client.get("/orders"), 401, "unauthorized", BASIC)


def test_a_token_made_at_the_terminal_has_its_scopes(app: Flask, client: FlaskClient) -> None:
    made = app.test_cli_runner().invoke(args=["token", "--sub", "ann", "--scope", "orders:read stock:write"])
    headers = bearer(made.stdout.strip())
    assert client.get("/orders", headers=headers).status_code == 200
    assert client.get("/stock", headers=headers).status_code == 200
    assert client.post("/orders", json=OWN, headers=headers).status_code == 403
    assert (
        jwt.decode(made.stdout.strip(), options={"verify_signature": False})["exp"] > claims()["iat"] + 3590
    )


def test_a_service_that_asks_for_no_token_makes_one_and_says_so(make_app: Callable[..., Flask]) -> None:
    app = make_app(**{**SETTINGS, "AUTH": "off"})
    made = app.test_cli_runner().invoke(args=["token", "--sub", "ann", "--scope", "orders:read"])
    assert made.exit_code == 0
    assert (
        jwt.decode(made.stdout.strip(), SECRET, ["HS256"], audience=SETTINGS["JWT_AUDIENCE"])["sub"] == "ann"
    )
    assert made.stderr == "AUTH is off: the service accepts every call, with or without a token.\n"


def test_the_refusal_names_the_missing_scope_and_nothing_else(make_app: Callable[..., Flask]) -> None:
    made = make_app(AUTH="off", JWT_SECRET=SECRET).test_cli_runner()
    refused = made.invoke(args=["token", "--sub", "ann", "--scope", "orders:read"])
    assert refused.stderr == "Error: A token needs settings that are missing: JWT_ISSUER, JWT_AUDIENCE.\n"


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--sub", "ann", "--scope", "orders:reed"], SETTINGS),
        (["--sub", "", "--scope", "orders:read"], SETTINGS),
        (["--sub", "ann", "--scope", "orders:read", "--expires", "never"], SETTINGS),
        (["--scope", "orders:read"], SETTINGS),
        (["--sub", "ann", "--scope", "orders:read"], {"AUTH": "off"}),
        (["--sub", "ann", "--scope", "orders:read"], {"AUTH": "off", "JWT_SECRET": SECRET}),
        (["--sub", "ann", "--scope", "orders:read"], {**CHECKED, "JWT_JWKS_URL": "https://issuer.example"}),
    ],
)
def test_no_token_is_made_that_would_not_be_one(
    make_app: Callable[..., Flask], arguments: list[str], environ: dict[str, str]
) -> None:
    result = make_app(**environ).test_cli_runner().invoke(args=["token", *arguments])
    assert result.exit_code != 0
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.stderr
