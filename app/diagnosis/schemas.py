"""The requests and answers of diagnoses."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import fields

from app.diagnosis.commands import COMMANDS
from app.diagnosis.model import STATES, STEPS, STUCK, WAITING_FOR
from app.diagnosis.service import MOST_NOTICES
from app.http.fields import Choice
from app.http.schemas import ORDER_ID, Answer, PageQuery, listed, moment, nested, next_cursor, text, whole
from app.orders.events import EVENTS
from app.orders.schemas import Hold
from app.orders.step_errors import CODES

DIAGNOSIS: dict[str, Any] = {
    "state": "waiting",
    "waitingFor": "provider",
    "step": "authorize",
    "since": "2024-10-04T10:00:00.000Z",
    "dueBy": "2024-10-04T10:00:09.200Z",
    "attempts": 3,
    "lastError": {"code": "provider_unavailable", "at": "2024-10-04T10:00:05.100Z"},
    "next": {"what": "authorize", "at": "2024-10-04T10:00:09.200Z"},
    "otherwise": {"what": "order.cancelled", "at": "2024-10-04T10:15:00.000Z"},
    "holds": [],
    "notifications": [{"channel": "mail", "state": "sent"}],
}
DIAGNOSES = {"diagnoses": [{"orderId": "66ffbd20a1b2c3d4e5f60718", **DIAGNOSIS}]}
WITH_COMMANDS = {
    **DIAGNOSIS,
    "may": [{"command": "cancel", "sets": ["order.cancelled", "stock.released", "payment.voided"]}],
}


class DiagnosesQuery(PageQuery):
    """The parameters of a page of diagnoses."""

    state = Choice(STATES, load_default=STUCK, doc="The state of the orders to list.")


class LastErrorOut(Answer):
    """The reason why the last attempt at a step failed."""

    code = text("The reason as a code.", enum=list(CODES))
    at = moment("The time of the attempt.")


class ExpectedOut(Answer):
    """Something that happens at a time unless something else happens first."""

    what = text("The step that is tried, or the type of the event.")
    at = moment("The time.")


class NoticeOut(Answer):
    """The state of one notification or webhook of the order."""

    channel = text("The channel: `mail`, `log` or `webhook`.")
    state = text("Whether it is delivered.", enum=["pending", "sent", "delivered", "failed", "withheld"])
    nextAttempt = moment("The time of the next attempt, while it is pending.", required=False)


class PossibleOut(Answer):
    """A command that would succeed now and change the order."""

    command = text("The command.", enum=list(COMMANDS))
    sets = listed(
        fields.String(metadata={"enum": list(EVENTS)}),
        "The types of the command's events, and of those that follow if the provider does as asked.",
    )


class DiagnosisOut(Answer):
    """What an order waits for. Customers get `state`, `waitingFor` and `otherwise` only."""

    state = text("Whether the order goes on by itself.", enum=list(STATES))
    waitingFor = text("Who or what has to act next.", enum=list(WAITING_FOR))
    step = text("The step that decides; absent if none is owed.", required=False, enum=list(STEPS))
    since = moment("The time from which on the order owes this step.", required=False)
    dueBy = moment(
        "The time by which the background work should be done or is tried again, if any is owed.",
        required=False,
    )
    attempts = whole("The attempts since the order changed last.", required=False, minimum=0)
    lastError = nested(LastErrorOut, "Why the last of them failed.", required=False)
    next = nested(ExpectedOut, "The next attempt at a step, if one is planned.", required=False)
    otherwise = nested(
        ExpectedOut, "What happens if nothing else does; absent if nothing is planned.", required=False
    )
    holds = listed(
        fields.Nested(Hold),
        "The holds of the order, oldest first, also if they do not decide.",
        required=False,
    )
    may = listed(fields.Nested(PossibleOut), "The commands that would change the order now.", required=False)
    notifications = listed(
        fields.Nested(NoticeOut),
        f"The notifications and webhooks of the order, up to {MOST_NOTICES}, unfinished ones first.",
        required=False,
    )


class OrderDiagnosisOut(DiagnosisOut):
    """The diagnosis of one of several orders."""

    orderId = text("The id of the order.", pattern=ORDER_ID)


class DiagnosesOut(Answer):
    """A page of diagnoses, the oldest order first."""

    diagnoses = listed(fields.Nested(OrderDiagnosisOut), "The diagnoses of the page, the oldest order first.")
    nextCursor = next_cursor()
