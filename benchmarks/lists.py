"""Pages of the list, first and deep, plain and filtered, among few orders and among many."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.documents import SPACING, a_parcel, a_product, a_reference, a_user, an_email, seed
from benchmarks.figures import DRIVER, Figure
from benchmarks.stage import SERVICE
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pymongo.database import Database

    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

    Call = Callable[[], object]

FEW = 1_000
WHAT = "GET /orders, {}"
AMONG_FEW = f"{SERVICE}, {FEW:,} orders"
PAGE = 25
WALKED_BY = 100
DEPTH = 0.9
FIRST = "first page"
ONE_FILTER = (
    FIRST,
    "deep page",
    "of one user",
    "of one status",
    "of one payment status",
    "of one product",
    "of one reference",
    "of a time",
    "by the last change",
    "changed in a time",
)
ONE_KEY = ("of one number", "of one email", "of one tracking number", "any number", "any email", "any text")
TWO_FILTERS = ("of one user and status", "of one product and status", "of one product and payment status")


def lists(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """The time of a page among many orders, beside the same among 1,000 and the bare find."""
    with contextlib.ExitStack() as ending:
        services = {}
        for count in (plan.orders, FEW):
            services[count] = ending.enter_context(stage.service("web", database=f"{SERVICE}-{count}"))
            seed(services[count].database, count)
            plan.say(f"lists: {count:,} orders stored")
        many, few = (ending.enter_context(_pages(services[count], count)) for count in (plan.orders, FEW))
        for kind, call in many.items():
            calls = {SERVICE: call, AMONG_FEW: few[kind]}
            if kind == FIRST:
                calls[DRIVER] = _bare(services[plan.orders])
            seen: dict[str, list[float]] = defaultdict(list)
            for _ in range(plan.rounds):
                for whose, took in _medians_ms(calls, plan.probes).items():
                    seen[whose].append(took)
            plan.say(f"lists: {kind}")
            for whose, medians in seen.items():
                yield Figure(WHAT.format(kind), "p50 ms", whose, tuple(medians))


def _filters(database: Database[dict[str, Any]], count: int, cursor: str) -> list[dict[str, str]]:
    """The queries of ONE_FILTER and TWO_FILTERS among that many seeded orders, in their order."""
    user, middle = {"userId": a_user(count)}, count // 2
    status, payment = {"status": "confirmed"}, {"paymentStatus": "captured"}
    product, reference = {"productId": a_product(middle)}, {"reference": a_reference(middle)}
    begin = next(database.orders.find({}, {"createdAt": 1}).sort("_id").skip(middle))["createdAt"]
    end = begin + 2 * PAGE * SPACING
    time = {"createdFrom": f"{begin.isoformat()}Z", "createdTo": f"{end.isoformat()}Z"}
    changed = {"updatedFrom": time["createdFrom"], "updatedTo": time["createdTo"]}
    one = [{}, {"cursor": cursor}, user, status, payment, product, reference, time]
    one += [{"sort": "-updatedAt"}, {**changed, "sort": "updatedAt"}]
    shipped = middle // 10 * 10 + 9
    number = database.orders.find_one({"reference": a_reference(middle)}, {"number": 1})["number"]
    email, parcel = an_email(middle), a_parcel(shipped)
    one += [{"number": number}, {"email": email}, {"trackingNumber": parcel}]
    one += [{"q": number}, {"q": email}, {"q": a_reference(middle)}]
    return [*one, {**user, **status}, {**product, **status}, {**product, **payment}]


@contextlib.contextmanager
def _pages(service: Contender, count: int) -> Iterator[dict[str, Call]]:
    """A call for each kind of page. Each must show orders."""
    with httpx.Client(base_url=service.url, timeout=60) as client:

        def page(query: Mapping[str, str | int]) -> dict[str, Any]:
            return client.get("/orders", params=query).raise_for_status().json()

        cursor = ""
        for _ in range(int(count * DEPTH) // WALKED_BY):
            after = {"cursor": cursor} if cursor else {}
            cursor = page({"limit": WALKED_BY, **after})["nextCursor"]
        queries = dict(
            zip(ONE_FILTER + ONE_KEY + TWO_FILTERS, _filters(service.database, count, cursor), strict=True)
        )
        for kind, query in queries.items():
            if not page(query)["orders"]:
                raise Failed(f"the page {kind} is empty")
        yield {kind: partial(page, {"limit": PAGE, **query}) for kind, query in queries.items()}


def _bare(service: Contender) -> Call:
    orders = service.database.orders
    return lambda: list(orders.find({"visible": True}, {"events": 0}).sort("_id", -1).limit(PAGE))


def _medians_ms(turns: Mapping[str, Call], requests: int) -> dict[str, float]:
    """The median time of each call, made in turns one by one, so that noise meets all alike."""
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(requests):
        for whose, call in turns.items():
            begin = time.perf_counter()
            call()
            took[whose].append((time.perf_counter() - begin) * 1000)
    return {whose: statistics.median(times) for whose, times in took.items()}
