"""The reasons why a step of an order failed, as codes. They are stored and shown, so they hold no message."""

from datetime import datetime
from typing import TypedDict

from app.errors import HistoryFull, IllegalTransition, OrderUnreadable

CODES = {
    "provider_unavailable": "The payment provider does not answer, or does not know the outcome yet.",
    "stock_busy": "Another transaction has locked the stock.",
    "stock_mismatch": "The ledger has other movements of the order than its lines need.",
    "history_full": "The order has too many events.",
    "order_damaged": "The stored order is damaged.",
    "database_refused": "The database refuses the change.",
    "refund_failed": "The payment provider refused a refund.",
    "internal_error": "The service has a fault; the log has the details.",
}

_DAMAGE = (OrderUnreadable, IllegalTransition, LookupError, TypeError, ValueError, AttributeError)


class StepError(TypedDict):
    """The last failure of an order's step: the step's name, the code, and the time."""

    step: str
    code: str
    at: datetime


class StepFault(Exception):
    """An error of a step that has a code of its own."""

    code = "internal_error"


def code_of(error: Exception) -> str:
    """The code for an exception of a step. The driver's errors are not known here."""
    match error:
        case StepFault():
            return error.code
        case HistoryFull():
            return "history_full"
        case _ if isinstance(error, _DAMAGE):
            return "order_damaged"
    return "internal_error"
