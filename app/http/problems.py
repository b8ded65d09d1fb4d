"""Every answer of 400 and above is a problem (RFC 9457): from a rule, from the framework or from a bug.

`PROBLEMS` lists all codes. Codes are stable, and so are the `type`s made from them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from app import errors
from app.clock import to_text as moment_text
from app.errors import Fault
from app.http.answers import answer
from app.money import to_text

TYPE = "urn:problem:order-service:"
RETRY_AFTER_SECONDS = 2
MOST_FAULTS = 100
NO_PATH = "Nothing has this path. The API description (openapi.json) lists all paths."
# Bounds the size of a problem, which repeats parts of the request.
_MOST_FAULT_BYTES = 16 * 1024
_LONGEST_POINTER = 256
_LONGEST_INSTANCE = 1000

log = structlog.get_logger(__name__)


class Kind(NamedTuple):
    """The status and title that all problems with one code share."""

    status: int
    title: str


PROBLEMS = {
    "malformed_json": Kind(400, "The body is not valid JSON"),
    "bad_request": Kind(400, "The request is malformed"),
    "bad_cursor": Kind(400, "Invalid cursor"),
    "bad_header": Kind(400, "Invalid header"),
    "bad_signature": Kind(400, "Invalid signature"),
    "idempotency_key_required": Kind(400, "Idempotency-Key is required"),
    "unauthorized": Kind(401, "A valid token is required"),
    "forbidden": Kind(403, "The token lacks the scope"),
    "not_found": Kind(404, "Not found"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "not_acceptable": Kind(406, "The response is only available as JSON"),
    "request_timeout": Kind(408, "The request took too long to arrive"),
    "illegal_transition": Kind(409, "The order's status forbids the change"),
    "order_in_transit": Kind(409, "The order is in transit"),
    "partly_shipped": Kind(409, "The order is shipped in part"),
    "return_open": Kind(409, "The order has an open return"),
    "nothing_open": Kind(409, "The pieces are not open"),
    "pieces_returned": Kind(409, "Pieces of the shipment are in a return"),
    "too_many_shipments": Kind(409, "The order has too many shipments"),
    "already_shipped": Kind(409, "The order is already shipped"),
    "on_hold": Kind(409, "The order is on hold"),
    "nothing_to_hold": Kind(409, "The order is shipped or has ended"),
    "too_many_holds": Kind(409, "The order has too many holds"),
    "too_many_notes": Kind(409, "The order has too many notes"),
    "nothing_returnable": Kind(409, "So many pieces cannot come back"),
    "not_delivered": Kind(409, "The pieces are not delivered"),
    "too_late": Kind(409, "The time for the return is over"),
    "too_many_returns": Kind(409, "The order has too many returns"),
    "too_many_cancellations": Kind(409, "The order has too many part cancellations"),
    "insufficient_stock": Kind(409, "Insufficient stock"),
    "not_refundable": Kind(409, "The order has no captured payment"),
    "refund_too_large": Kind(409, "The refund is too large"),
    "nothing_to_refund": Kind(409, "The refund comes to nothing"),
    "refund_not_failed": Kind(409, "The refund has not failed"),
    "too_many_refunds": Kind(409, "The order has too many refunds"),
    "too_many_retries": Kind(409, "The refund has too many retries"),
    "history_full": Kind(409, "The order has too many events"),
    "too_many_endpoints": Kind(409, "Too many webhook endpoints"),
    "endpoint_disabled": Kind(409, "The webhook endpoint is disabled"),
    "clock_is_moving": Kind(409, "The time is being moved"),
    "stale_version": Kind(412, "The version is not current"),
    "content_too_large": Kind(413, "The body is too large"),
    "uri_too_long": Kind(414, "URI Too Long"),
    "unsupported_media_type": Kind(415, "Unsupported media type"),
    "invalid_input": Kind(422, "Invalid input"),
    "mistyped_number": Kind(422, "The number of the order is mistyped"),
    "idempotency_key_reused": Kind(422, "The idempotency key was used with a different body"),
    "quote_required": Kind(422, "A quote is required"),
    "quote_invalid": Kind(422, "The quote is not valid"),
    "quote_expired": Kind(422, "The quote has expired"),
    "quote_used": Kind(422, "The quote was used for another order"),
    "quote_differs": Kind(422, "The order differs from its quote"),
    "if_match_required": Kind(428, "If-Match is required"),
    "too_many_requests": Kind(429, "Too many requests"),
    "too_many_test_events": Kind(429, "Too many test events"),
    "request_header_fields_too_large": Kind(431, "Request Header Fields Too Large"),
    "internal_error": Kind(500, "Internal error"),
    "order_unreadable": Kind(500, "The order cannot be read"),
    "issuer_unavailable": Kind(503, "Signatures cannot be verified at the moment"),
    "database_unavailable": Kind(503, "The database cannot be reached"),
    "stock_busy": Kind(503, "The stock is locked by another change"),
    "unavailable": Kind(503, "The service is busy"),
    "not_ready": Kind(503, "The service is not ready"),
}

CODES_OF_ERRORS: dict[type[errors.OrderServiceError], str] = {
    errors.InvalidInput: "invalid_input",
    errors.MistypedNumber: "mistyped_number",
    errors.QuoteRequired: "quote_required",
    errors.QuoteInvalid: "quote_invalid",
    errors.QuoteExpired: "quote_expired",
    errors.QuoteUsed: "quote_used",
    errors.QuoteDiffers: "quote_differs",
    errors.NotSignedIn: "unauthorized",
    errors.NotAllowed: "forbidden",
    errors.IssuerUnavailable: "issuer_unavailable",
    errors.NotFound: "not_found",
    errors.IllegalTransition: "illegal_transition",
    errors.OrderInTransit: "order_in_transit",
    errors.NothingOpen: "nothing_open",
    errors.PartlyShipped: "partly_shipped",
    errors.ReturnOpen: "return_open",
    errors.NothingOpen: "nothing_open",
    errors.PiecesReturned: "pieces_returned",
    errors.TooManyShipments: "too_many_shipments",
    errors.AlreadyShipped: "already_shipped",
    errors.OnHold: "on_hold",
    errors.NothingToHold: "nothing_to_hold",
    errors.TooManyHolds: "too_many_holds",
    errors.TooManyNotes: "too_many_notes",
    errors.NothingReturnable: "nothing_returnable",
    errors.NotDelivered: "not_delivered",
    errors.TooLate: "too_late",
    errors.TooManyReturns: "too_many_returns",
    errors.TooManyCancellations: "too_many_cancellations",
    errors.StaleVersion: "stale_version",
    errors.IdempotencyKeyReused: "idempotency_key_reused",
    errors.InsufficientStock: "insufficient_stock",
    errors.NotRefundable: "not_refundable",
    errors.RefundTooLarge: "refund_too_large",
    errors.NothingToRefund: "nothing_to_refund",
    errors.RefundNotFailed: "refund_not_failed",
    errors.TooManyRefunds: "too_many_refunds",
    errors.TooManyRetries: "too_many_retries",
    errors.HistoryFull: "history_full",
    errors.TooManyEndpoints: "too_many_endpoints",
    errors.TooManyTestEvents: "too_many_test_events",
    errors.EndpointDisabled: "endpoint_disabled",
    errors.ClockIsMoving: "clock_is_moving",
    errors.OrderUnreadable: "order_unreadable",
    errors.DatabaseUnavailable: "database_unavailable",
    errors.StockBusy: "stock_busy",
}
# The further members of the problems for some errors.
_MEMBERS: dict[type[errors.OrderServiceError], Callable[[Any], dict[str, Any]]] = {
    errors.IllegalTransition: lambda error: {"allowed": error.allowed},
    errors.PartlyShipped: lambda _: {"allowed": ["shipped"]},
    errors.NothingOpen: lambda error: {"open": error.left},
    errors.OnHold: lambda error: {"holds": [_with_texts(hold) for hold in error.holds]},
    errors.NothingReturnable: lambda error: {"returnable": error.returnable},
    errors.NotDelivered: lambda error: {"returnable": error.returnable},
    errors.TooLate: lambda error: {"returnable": error.returnable},
    errors.InsufficientStock: lambda error: {"onHand": error.on_hand},
    errors.RefundTooLarge: lambda error: {"refundable": orjson.Fragment(to_text(error.left, error.currency))},
}
# The problems for errors that the framework raises; `bad_request` for all others.
_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "content_too_large", 500: "internal_error"}


class Problem(Exception):
    """A refusal by the HTTP layer itself, with its code."""

    def __init__(self, code: str, detail: str, *faults: Fault, **extensions: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.faults = faults
        self.extensions = extensions


def problem(
    code: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """A problem as a response; `extensions` are its further members."""
    kind = PROBLEMS[code]
    body = {
        "type": TYPE + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": quote((request.script_root + request.path)[:_LONGEST_INSTANCE]),
        "code": code,
        "requestId": g.request_id,
        **extensions,
    }
    if faults:
        shown = list(_shown(faults))
        body["errors"] = shown
        if omitted := len(faults) - len(shown):
            body["omittedErrors"] = omitted
    if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS), **(headers or {})}
    return answer(body, kind.status, headers, media_type="application/problem+json")


def _shown(faults: Sequence[Fault]) -> Iterator[dict[str, str]]:
    """The first faults, up to the limits on number and size."""
    room = _MOST_FAULT_BYTES
    for fault in faults[:MOST_FAULTS]:
        pointer = fault.pointer
        if len(pointer) > _LONGEST_POINTER:
            pointer = f"{pointer[:_LONGEST_POINTER]}…"
        room -= len(orjson.dumps(pointer)) + len(fault.detail)
        if room < 0:
            return
        yield {"pointer": pointer, "detail": fault.detail}


def init_app(app: Flask) -> None:
    """Registers a handler for every kind of exception."""
    app.register_error_handler(Problem, _own)
    app.register_error_handler(errors.OrderServiceError, _expected)
    app.register_error_handler(HTTPException, _of_framework)
    app.register_error_handler(Exception, _unexpected)


def _own(refusal: Problem) -> Response:
    return problem(refusal.code, str(refusal), faults=refusal.faults, **refusal.extensions)


def _expected(error: errors.OrderServiceError) -> Response:
    code = CODES_OF_ERRORS[type(error)]
    match error:
        case errors.InvalidInput(faults=faults):
            return problem(code, _number_of(faults), faults=faults)
        case errors.NotSignedIn(fault=fault):
            error_info = f', error="invalid_token", error_description="{fault}"' if fault else ""
            return problem(code, str(error), headers=_challenge(error_info))
        case errors.NotAllowed(scope=scope):
            error_info = f', error="insufficient_scope", scope="{scope}"'
            return problem(code, str(error), headers=_challenge(error_info))
        case errors.TooManyTestEvents(wait=wait):
            return problem(code, str(error), headers={"Retry-After": str(wait)})
        case errors.StockBusy():
            log.warning("stock busy")
        case errors.DatabaseUnavailable():
            log.warning("database unavailable", exc_info=error)
    members = _MEMBERS.get(type(error), lambda _: {})(error)
    return problem(code, str(error), **members)


def _with_texts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record; a time becomes text."""
    return {
        name: moment_text(value) if isinstance(value, datetime) else value for name, value in record.items()
    }


def _number_of(faults: Sequence[Fault]) -> str:
    return f"The input has {len(faults)} {'error' if len(faults) == 1 else 'errors'}. See errors."


def _challenge(error_info: str) -> dict[str, str]:
    """The challenge of RFC 6750. It has no error if the request had no token."""
    return {"WWW-Authenticate": f'Bearer realm="orders"{error_info}'}


def _of_framework(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]
    code = _OF_STATUS.get(status, "bad_request")
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    match error:
        case NotFound():
            detail = NO_PATH
        case MethodNotAllowed():
            detail = f"This path allows only these methods: {headers['Allow']}."
        case _:
            detail = f"{PROBLEMS[code].title}."
    return problem(code, detail, headers=headers)


def _unexpected(error: Exception) -> Response:
    log.error("unhandled exception", exc_info=error)
    return problem("internal_error", "The service had an internal error. It has been logged.")
