"""Stripe for the tests, as a server: localstripe, what it lacks of the real one, and faults on demand.

Run as `python -m tests.support.stripe_double PORT`. Added to localstripe are idempotency keys, the refusals
that keep money from moving twice, listings by time and the fields that we read. `POST /_config/faults` makes
the next calls fail in the way it says; `GET /_config/calls` lists the calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web
from localstripe import resources
from localstripe.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CANCELABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")
EXPECTED = {"confirm": ("requires_confirmation",), "capture": ("requires_capture",), "cancel": CANCELABLE}
NOT_BEGUN = (401, 403, 409, 429)

# By key, the digest of its request and the first answer to it, which is None while it is being made.
kept: dict[str, tuple[str, tuple[int, bytes] | None]] = {}
faults: list[dict[str, Any]] = []
calls: Counter[str] = Counter()


def error(status: int, **fields: str) -> web.Response:
    """An error in the form of Stripe's."""
    return web.json_response({"error": {"type": "invalid_request_error", **fields}}, status=status)


@web.middleware
async def break_connections(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The caller never hears of what was done, where the fault says so."""
    answer = await handler(request)
    if "reset" in request:
        assert request.transport
        request.transport.abort()
    return answer


@web.middleware
async def keep_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The same key gets its first answer again, a fault too, unless the work on that one never began."""
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None:
        return await handler(request)
    digest = hashlib.sha256(request.path.encode() + await request.read()).hexdigest()
    if key in kept:
        first, known = kept[key]
        if first != digest:
            return error(400, type="idempotency_error", message="The key was used for another request.")
        if known is None:
            return error(409, code="idempotency_key_in_use", message="The same request is under way.")
        replay = web.Response(status=known[0], body=known[1], content_type="application/json")
        replay.headers["Idempotent-Replayed"] = "true"
        return replay
    kept[key] = (digest, None)
    answer: Any = await handler(request)
    if answer.status in NOT_BEGUN:
        del kept[key]
    else:
        kept[key] = (digest, (answer.status, bytes(answer.body)))
    return answer


@web.middleware
async def count_and_fail(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A fault's `path` is a pattern; it waits for `delay` seconds, does the work if there is no `status` or
    with `after`, answers `status` with `body`, and with `reset` the answer is lost on its way."""
    if request.path.startswith("/_config/"):
        return await handler(request)
    calls[re.sub(r"/(pi|pm|re)_\w+", r"/\1", f"{request.method} {request.path}")] += 1
    fault = next((fault for fault in faults if re.fullmatch(fault["path"], request.path)), None)
    if fault is None or fault.get("method", "POST") != request.method:
        return await handler(request)
    fault["times"] -= 1
    if not fault["times"]:
        faults.remove(fault)
    await asyncio.sleep(fault.get("delay", 0))
    answer = await handler(request) if "status" not in fault or fault.get("after") else None
    if fault.get("reset"):
        request["reset"] = True
    if answer is None or "status" in fault:
        return web.json_response(fault.get("body", {"error": {"type": "api_error"}}), status=fault["status"])
    return answer


@web.middleware
async def speak_like_stripe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives localstripe's refusals the types and codes of Stripe's."""
    try:
        return await handler(request)
    except UserError as refusal:
        if refusal.code == 402:
            refusal.body["error"]["type"] = "card_error"
        elif refusal.code == 404:
            refusal.body["error"]["code"] = "resource_missing"
        raise


async def add_fault(request: web.Request) -> web.Response:
    """Takes a fault of so many `times`, or once."""
    faults.append({"times": 1, **await request.json()})
    return web.Response()


async def forget_faults(_: web.Request) -> web.Response:
    """Nothing fails any more."""
    faults.clear()
    return web.Response()


async def tell_calls(_: web.Request) -> web.Response:
    """How often each call was made."""
    return web.json_response(calls)


def guarded(expected: tuple[str, ...], work: Any, id: str, **data: Any) -> Any:  # noqa: A002 - localstripe's name
    """The work on an intent, refused in a status that it does not expect."""
    present = resources.PaymentIntent._api_retrieve(id).status
    if present not in expected:
        raise UserError(400, f"The intent is {present}.", {"code": "payment_intent_unexpected_state"})
    return work(id, **data)


def captured(id: str, amount_to_capture: Any = None) -> Any:  # noqa: A002 - localstripe's name
    """As localstripe does it, which refunds the rest as Stripe does. The intent says how much was taken."""
    intent = resources.PaymentIntent._api_capture(id, amount_to_capture)
    if amount_to_capture is not None:
        intent._taken = int(amount_to_capture)
    return intent


def intents_since(url: str, limit: Any = None, starting_after: Any = None, created: Any = None) -> Any:
    """Newest first."""
    listed: Any = resources.List(url, limit=limit, starting_after=starting_after)
    intents = [found for key, found in resources.store.items() if key.startswith("payment_intent:")]
    begin = int((created or {}).get("gte", 0))
    listed._list = [intent for intent in reversed(intents) if intent.created >= begin]
    return listed


def refund_within_limits(**data: Any) -> Any:
    """No more than is left of what was captured."""
    intent = resources.PaymentIntent._api_retrieve(data["payment_intent"])
    if intent.status != "succeeded":
        raise UserError(400, "It was never captured.", {"code": "charge_not_refundable"})
    charge = intent.latest_charge
    if int(data["amount"]) > charge.amount - charge.amount_refunded:
        raise UserError(400, "Refund amount is greater than unrefunded amount.")
    return resources.Refund(**data)


def application() -> web.Application:
    """localstripe's own application, with its calls and its middlewares completed."""
    resources.Store.dump_to_disk = lambda _: None
    intent = resources.PaymentIntent
    intent.amount_received = property(
        lambda self: getattr(self, "_taken", self.amount) if self.status == "succeeded" else 0
    )
    intent._api_list_all = intents_since
    resources.Refund._api_create = refund_within_limits
    for place, (method, url, work) in enumerate(resources.extra_apis):
        name = url.removeprefix("/v1/payment_intents/{id}/")
        if name in EXPECTED:
            doing = captured if name == "capture" else work
            resources.extra_apis[place] = (method, url, partial(guarded, EXPECTED[name], doing))
    from localstripe import server  # noqa: PLC0415 - it takes the calls as they are when it is imported

    app: web.Application = server.app
    app.middlewares[:0] = [break_connections, keep_answers, count_and_fail]
    app.middlewares.append(speak_like_stripe)
    app.router.add_post("/_config/faults", add_fault)
    app.router.add_delete("/_config/faults", forget_faults)
    app.router.add_get("/_config/calls", tell_calls)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None)
