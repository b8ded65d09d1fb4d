"""An event is accepted only from the payment provider, and only once."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.payment_events import SECRET, Call, event, post, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    Stored = Callable[[], list[dict[str, Any]]]

ORDER_ID = "66ffbd20a1b2c3d4e5f60718"
LARGEST = 256 * 1024


@pytest.fixture
def stored(api_database: Database[dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
    """The events that are stored."""
    return lambda: list(api_database["payment_events"].find())


def padded(size: int) -> bytes:
    """The body of an event, so many bytes long."""
    body = event(ORDER_ID)
    return body + b" " * (size - len(body))


def with_header(name: str, value: str | None) -> Call:
    """A call that is right but for one header."""
    call = signed(event(ORDER_ID))
    headers = {**call.headers, name: value}
    return call._replace(headers={key: text for key, text in headers.items() if text is not None})


def test_an_event_is_stored_and_answered_without_being_worked_on(client: FlaskClient, stored: Stored) -> None:
    answer = post(client, signed(event(ORDER_ID), "evt_1"))
    assert (answer.status_code, answer.get_json()) == (202, {"received": True})
    (found,) = stored()
    assert found.pop("receivedAt") == found.pop("dueBy")
    assert found == {
        "_id": "sandbox:evt_1",
        "type": "payment.captured",
        "orderId": ORDER_ID,
        "reference": f"sandbox_{ORDER_ID}",
        "status": "pending",
        "attempts": 0,
    }


def test_a_repeated_event_gets_the_same_answer_and_is_stored_once(
    client: FlaskClient, stored: Stored
) -> None:
    """Signed anew for each attempt, as providers do."""
    answers = [post(client, signed(event(ORDER_ID), "evt_1", age=timedelta(seconds=age))) for age in (0, 60)]
    assert [(answer.status_code, answer.data) for answer in answers] == [(202, b'{"received":true}')] * 2
    assert len(stored()) == 1


def test_the_signature_is_over_the_raw_body(client: FlaskClient) -> None:
    """Odd spacing and order are kept as they came; the same JSON written otherwise is another body."""
    body = b'{ "data":{"orderId" : "%s"},\n "type":"payment.captured" }' % ORDER_ID.encode()
    assert post(client, signed(body)).status_code == 202
    rewritten = json.dumps(json.loads(body)).encode()
    assert post(client, signed(body)._replace(body=rewritten)).status_code == 400


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: with_header("webhook-id", None), id="no id"),
        pytest.param(lambda: with_header("webhook-id", "evt_other"), id="another id"),
        pytest.param(lambda: with_header("webhook-timestamp", None), id="no time"),
        pytest.param(lambda: with_header("webhook-timestamp", "now"), id="no number as time"),
        pytest.param(lambda: with_header("webhook-timestamp", "inf"), id="endless time"),
        pytest.param(lambda: with_header("webhook-timestamp", "nan"), id="not a number as time"),
        pytest.param(lambda: with_header("webhook-signature", None), id="no signature"),
        pytest.param(lambda: with_header("webhook-signature", ""), id="empty signature"),
        pytest.param(lambda: with_header("webhook-signature", "v1"), id="cut signature"),
        pytest.param(lambda: with_header("webhook-signature", "v1,é"), id="no base64"),
        pytest.param(lambda: with_header("webhook-signature", "v1,AAAA v1a,AAAA v2,AAAA"), id="wrong ones"),
        pytest.param(lambda: signed(event(ORDER_ID), secret="whsec_Zm9yZ2Vk"), id="forged"),
        pytest.param(lambda: signed(event(ORDER_ID))._replace(body=event(ORDER_ID[::-1])), id="altered"),
        pytest.param(lambda: signed(event(ORDER_ID))._replace(body=b"\xff\xfe"), id="not UTF-8"),
        pytest.param(lambda: signed(event(ORDER_ID))._replace(body=b""), id="no body"),
        pytest.param(lambda: signed(event(ORDER_ID), age=timedelta(seconds=305)), id="old"),
        pytest.param(lambda: signed(event(ORDER_ID), age=timedelta(seconds=-310)), id="of the future"),
    ],
)
def test_an_event_without_the_providers_signature_is_refused_and_not_stored(
    call: Callable[[], Call], client: FlaskClient, stored: Stored
) -> None:
    answer = post(client, call())
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_signature")
    assert SECRET[6:] not in answer.text
    assert stored() == []


def test_an_event_of_nearly_five_minutes_ago_is_taken(client: FlaskClient) -> None:
    assert post(client, signed(event(ORDER_ID), age=timedelta(seconds=290))).status_code == 202


def test_without_a_secret_nothing_is_taken(make_app: Callable[..., Flask], stored: Stored) -> None:
    client = make_app(PAYMENT_WEBHOOK_SECRET="").test_client()
    answer = post(client, signed(event(ORDER_ID)))
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_signature")
    assert stored() == []


@pytest.mark.parametrize("provider", ["stripe", "SANDBOX", "nobody", "%00"])
def test_another_provider_is_404(client: FlaskClient, stored: Stored, provider: str) -> None:
    answer = post(client, signed(event(ORDER_ID)), provider)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert stored() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b'"payment.captured"',
        b'{"type": 1}',
        b'{"type": "\\ud800"}',
        b"[" * 100_000,
        b'{"type": "payment.captured", "data": {"orderId": "\\udfff"}}',
    ],
    ids=lambda body: body[:20].decode(),
)
def test_a_signed_body_that_is_no_event_is_refused_and_not_stored(
    body: bytes, client: FlaskClient, stored: Stored
) -> None:
    answer = post(client, signed(body))
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert stored() == []


def test_a_body_of_a_quarter_mebibyte_is_taken_and_no_larger_one(client: FlaskClient, stored: Stored) -> None:
    assert post(client, signed(padded(LARGEST))).status_code == 202
    refused = post(client, signed(padded(LARGEST + 1)))
    assert (refused.status_code, refused.get_json()["code"]) == (413, "content_too_large")
    assert len(stored()) == 1


def test_a_body_that_is_not_said_to_be_json_is_refused(client: FlaskClient) -> None:
    assert post(client, with_header("Content-Type", "text/plain")).status_code == 415
    assert post(client, with_header("Content-Type", "application/json; charset=utf-8")).status_code == 202


def test_an_event_of_an_unknown_type_is_kept(client: FlaskClient, stored: Stored) -> None:
    assert post(client, signed(event(None, "cat.fed"))).status_code == 202
    (found,) = stored()
    assert (found["type"], found["status"]) == ("cat.fed", "pending")
    assert "orderId" not in found


def test_only_the_ids_and_the_type_of_a_body_are_kept(client: FlaskClient, stored: Stored) -> None:
    body = json.loads(event(ORDER_ID))
    body["data"] |= {"email": "ann@example.org", "name": "Ann"}
    post(client, signed(json.dumps(body).encode()))
    assert "nn" not in str(stored())


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode()),
    texts=st.lists(
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40), min_size=3, max_size=3
    ),
)
def test_junk_is_refused_and_never_a_fault_of_ours(
    client: FlaskClient, body: bytes, texts: list[str]
) -> None:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = {"Content-Type": "application/json", **dict(zip(names, texts, strict=True))}
    assert post(client, Call(headers, body)).status_code == 400


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    value=st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.dictionaries(st.sampled_from(("type", "data", "orderId")), inner, max_size=3),
        max_leaves=6,
    )
)
def test_a_signed_body_of_any_shape_is_taken_or_refused(client: FlaskClient, value: Any) -> None:
    assert post(client, signed(json.dumps(value).encode())).status_code in (202, 422)


def test_the_secret_may_stand_without_its_prefix(make_app: Callable[..., Flask]) -> None:
    bare = base64.b64encode(b"another secret, as long as it must be").decode()
    client = make_app(PAYMENT_WEBHOOK_SECRET=bare).test_client()
    assert post(client, signed(event(ORDER_ID), secret=f"whsec_{bare}")).status_code == 202
