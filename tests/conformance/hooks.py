"""Explains to schemathesis why a request that fits its schema may still be refused.

Each is a fact that no schema can state. Everything else that fits must be taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

if TYPE_CHECKING:
    from schemathesis import Case, HookContext, Response
    from schemathesis.core.failures import Failure

# By the problem's code.
FACTS = {
    "bad_cursor": "a cursor is opaque, and good where it came from alone",
    "bad_signature": "what is signed cannot be made up",
    "mistyped_number": "the last sign of a number is a check",
    "idempotency_key_reused": "what the key was used for before",
    "quote_invalid": "what is signed cannot be made up",
    "stale_version": "the version that the order has by now",
}
# By what the problem says of a field.
FACTS_OF_FIELDS = {
    "must be a payment method of the provider": "the provider's tokens are its own",
    "must resolve to public addresses only": "what a name resolves to",
    r"must have at most \d decimals in [A-Z]{3}": "depends on the currency, which may be the default",
    r"must equal the sum of the lines( and adjustments)? \(.*\)": "a sum",
    r"must be at (least|most) 0 for a [a-z]+": "depends on the kind",
    r"is on several lines \([\d, ]+\), so give the line instead": "what the order holds",
    "must not be true, because another refund returns the shipping": "what was refunded",
    "must not be given together with line": "one of two",
    "is only allowed with the kind tax": "depends on the kind",
    r"must be a line of the order, from 1 to \d+": "how many lines the order has",
    "must not be named twice": "an entry for each line",
    "must not be given, because all of these lines have a unitPrice": "what the order's products cost",
    r"must not bring the share of line \d+ below 0": "a sum",
    "must be a URL that webhooks can be sent to": "a port or an address of IPv6 that cannot be",
    "must be a product of the order": "what the order holds",
    "must not be the code of another hold": "what the other holds are",
    "must be in the future": "what time it is",
    "must be above zero": "the form of a length of time allows zero",
    r"must be at most \d+d": "a length of time has several units",
    r"must be at most \d+, which is left of the line": "what the order holds",
    r"must not be given twice( with the same condition)?": "one of two",
    "must not be given, because .*": "what the order's products cost",
    r"is required because .*": "what the order's products cost",
}
_OF_FIELDS = re.compile("|".join(FACTS_OF_FIELDS))


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether it is a failure: not where what fits its schema was refused for one of the facts."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    match problem["code"]:
        case "invalid_input":
            return not all(_OF_FIELDS.fullmatch(fault["detail"]) for fault in problem["errors"])
        case "bad_header":
            return _fits(case)
    return problem["code"] not in FACTS


def _fits(case: Case) -> bool:
    """Whether the headers have their forms: the coverage phase has 0 for one that it finds no text for."""
    forms = {header.name: header.definition["schema"].get("pattern", "") for header in case.operation.headers}
    return all(re.search(forms.get(name, ""), str(sent)) for name, sent in case.headers.items())
