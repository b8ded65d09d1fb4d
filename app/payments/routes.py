"""The route for the events of payment providers. Their signature authenticates them."""

from http import HTTPStatus

from flask import Response, request

from app.http import examples
from app.http.answers import answer
from app.http.authentication import require_json_accepted
from app.http.json_body import read_bytes
from app.http.parsing import Blueprint
from app.http.problems import Problem
from app.http.request_context import services
from app.http.route_metadata import OPEN, declares
from app.http.schemas import Answer, flag
from app.payments.events import receive
from app.payments.model import BadSignature

_BODY = {"content": {"application/json": {"schema": {"type": "object"}, "example": examples.PAYMENT_EVENT}}}

blueprint = Blueprint("payment_events", __name__, description="Events from payment providers.")
blueprint.before_request(require_json_accepted)


class Received(Answer):
    """The event is stored."""

    received = flag("Always true.")


@blueprint.post("/payment-events/<provider>")
@blueprint.doc(requestBody=_BODY)
@blueprint.response(202, Received, example={"received": True})
@declares(OPEN, "bad_signature", "not_found")
def receive_payment_event(provider: str) -> Response:
    """Receive an event from the payment provider

    The event must have the provider's signature; the sandbox uses Standard Webhooks 1.0. It is stored
    once by the provider's id and processed after the answer.
    """
    try:
        receive(services().payments, provider, dict(request.headers), read_bytes(request))
    except BadSignature as error:
        raise Problem("bad_signature", "The signature is missing, invalid or too old.") from error
    return answer({"received": True}, HTTPStatus.ACCEPTED)
