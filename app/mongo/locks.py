"""How long MongoDB keeps the locks of a dead process, and a warning if that is long."""

import structlog
from pymongo.database import Database
from pymongo.errors import PyMongoError

from app.mongo.database import Document

log = structlog.get_logger()

# Seconds.
LONGEST = 10
REMEDY = "Start every mongod with --setParameter transactionLifetimeLimitSeconds=5."


def transaction_limit(database: Database[Document]) -> int | None:
    """For how many seconds MongoDB keeps the transaction of a dead process.

    None where it does not say: the user may not read parameters, or the server has no such limit.
    """
    try:
        found = database.client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)
    except PyMongoError as error:
        log.debug("the limit of transactions cannot be read", reason=type(error).__name__)
        return None
    limit: int = found["transactionLifetimeLimitSeconds"]
    return limit


def warn_of_lasting_locks(database: Database[Document]) -> None:
    """Logs what to do if a killed worker would hold up orders of its products for long."""
    limit = transaction_limit(database)
    if limit is not None and limit > LONGEST:
        log.warning("a killed worker would hold up orders", seconds=limit, remedy=REMEDY)
