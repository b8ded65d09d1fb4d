"""The scopes of webhooks: which callers get the orders of all customers, and which only ids, in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.webhooks.delivery import deliver_next
from app.webhooks.sender import WebhookSender
from tests.support.announcing import announce
from tests.support.doubles import with_parts
from tests.support.receiver import Receiver
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient

    from app.services import Services

BASE = "/webhook-endpoints"
URL = "https://1.1.1.1/orders"
NARROW, OTHER = bearer(token("narrow", "webhooks:ids")), bearer(token("other", "webhooks:ids"))
WIDE = bearer(token("wide", "webhooks:write"))


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    return shared_app(**SETTINGS, WEBHOOK_ALLOW_PRIVATE="true")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes every webhook."""
    with Receiver() as taking:
        yield taking


def made(client: FlaskClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = client.post(BASE, json={"url": URL, **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def delivered(
    app_services: Services, client: FlaskClient, receiver: Receiver, endpoint: dict[str, Any]
) -> dict[str, Any]:
    """The webhook that the endpoint gets about a customer's new order."""
    body = {**SAMPLE, "userId": "ann", "email": "ann@x.example", "reference": "a secret of Ann"}
    order_id = client.post("/orders", json=body, headers=bearer(token())).get_json()["order"]["id"]
    announce(app_services.notifications, [order_id])
    sending = with_parts(app_services, webhooks=WebhookSender(allow_private=True))
    assert deliver_next(sending.webhooks, endpoint["id"])
    return receiver.hooks[-1].verified(endpoint["secret"])["data"]


@pytest.mark.parametrize(
    ("headers", "fields", "payload"),
    [
        (WIDE, {}, "full"),
        (WIDE, {"payload": "ids"}, "ids"),
        (NARROW, {}, "ids"),
        (NARROW, {"payload": "ids"}, "ids"),
    ],
)
def test_an_endpoint_gets_only_data_that_its_creator_may_read(
    client: FlaskClient,
    app_services: Services,
    receiver: Receiver,
    headers: dict[str, str],
    fields: dict[str, str],
    payload: str,
) -> None:
    endpoint = made(client, headers, url=receiver.url(), **fields)
    assert endpoint["payload"] == payload
    data = delivered(app_services, client, receiver, endpoint)
    if payload == "full":
        assert data["order"]["email"] == "ann@x.example"
    else:
        assert data.keys() == {"orderId", "sequence"}
        assert client.get(f"/orders/{data['orderId']}", headers=bearer(token())).status_code == 200


def test_more_than_ids_needs_the_wider_scope(client: FlaskClient) -> None:
    answer = client.post(BASE, json={"url": URL, "payload": "full"}, headers=NARROW)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert 'scope="webhooks:write"' in answer.headers["WWW-Authenticate"]
    answer = client.post(BASE, json={"url": URL, "payload": "some"}, headers=WIDE)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/payload")
    assert client.get(BASE, headers=WIDE).get_json() == {"endpoints": []}


@pytest.mark.parametrize("changer", [NARROW, WIDE])
def test_no_change_makes_an_endpoint_get_more_than_ids(
    client: FlaskClient, app_services: Services, receiver: Receiver, changer: dict[str, str]
) -> None:
    """Its maker knows the secret and may move the URL, so not even the wider scope can."""
    endpoint = made(client, NARROW)
    path = f"{BASE}/{endpoint['id']}"
    refused = client.patch(path, json={"payload": "full"}, headers=changer)
    assert (refused.status_code, refused.get_json()["errors"][0]["pointer"]) == (422, "/payload")
    wanted = {"url": receiver.url(), "events": ["*"], "enabled": True}
    assert client.patch(path, json=wanted, headers=changer).get_json()["payload"] == "ids"
    endpoint["secret"] = client.post(f"{path}/rotate-secret", headers=changer).get_json()["secret"]
    assert delivered(app_services, client, receiver, endpoint).keys() == {"orderId", "sequence"}


def test_with_the_narrow_scope_the_endpoints_of_others_are_not_there(client: FlaskClient) -> None:
    """Nor those in full that the caller made when it had the wider scope."""
    own = made(client, NARROW)
    once_wider = made(client, bearer(token("narrow", "webhooks:write")))
    others = [once_wider, made(client, OTHER), made(client, WIDE), made(client, WIDE, payload="ids")]
    calls = (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("POST", "/test"),
             ("GET", "/deliveries"), ("GET", "/deliveries/x"), ("POST", "/deliveries/x/replay"))  # fmt: skip
    for endpoint in others:
        for method, below in calls:
            path = f"{BASE}/{endpoint['id']}{below}"
            body = {"json": {"url": "https://8.8.8.8/"}} if method == "PATCH" else {}
            answer = client.open(path, method=method, headers=NARROW, **body)
            assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), (method, below)
    listed = [found["id"] for found in client.get(BASE, headers=NARROW).get_json()["endpoints"]]
    assert listed == [own["id"]]
    everything = client.get(BASE, headers=WIDE).get_json()["endpoints"]
    assert {found["id"] for found in everything} == {own["id"], *(other["id"] for other in others)}
    assert {found["url"] for found in everything} == {URL}


def test_with_the_narrow_scope_ones_own_endpoint_can_be_used_in_full(client: FlaskClient) -> None:
    path = f"{BASE}/{made(client, NARROW)['id']}"
    assert client.get(path, headers=NARROW).status_code == 200
    sent = client.post(f"{path}/test", headers=NARROW)
    assert sent.status_code == 202
    listed = client.get(f"{path}/deliveries", headers=NARROW).get_json()["deliveries"]
    assert [found["id"] for found in listed] == [sent.get_json()["id"]]
    assert client.post(f"{path}/deliveries/{listed[0]['id']}/replay", headers=NARROW).status_code == 202
    assert client.delete(path, headers=NARROW).status_code == 204


def test_an_endpoint_from_before_the_scopes_goes_on_in_full(
    client: FlaskClient, app_services: Services, receiver: Receiver
) -> None:
    endpoint = made(client, WIDE, url=receiver.url())
    app_services.webhooks.endpoints._collection.update_one({}, {"$unset": {"payload": "", "owner": ""}})
    assert client.get(f"{BASE}/{endpoint['id']}", headers=WIDE).get_json()["payload"] == "full"
    assert "order" in delivered(app_services, client, receiver, endpoint)
