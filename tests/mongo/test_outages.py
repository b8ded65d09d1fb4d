"""How long a caller waits for a database that is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from app.errors import DatabaseUnavailable
from app.mongo import database

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer

SECONDS = 2.0


@pytest.mark.slow
def test_a_transaction_gives_up_in_time(
    private_mongo: Callable[[], MongoServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to the driver it would begin anew for two minutes."""
    monkeypatch.setattr(database, "_TRANSACTION", SECONDS)
    server = private_mongo()
    orders = database.connect(server.uri("orders"))
    database.transact(orders, lambda session: orders.rows.insert_one({}, session=session))
    server.kill()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        database.transact(orders, lambda session: orders.rows.insert_one({}, session=session))
    assert time.monotonic() - began < 2 * SECONDS
    server.start()
    database.transact(orders, lambda session: orders.rows.insert_one({}, session=session))
    assert orders.rows.count_documents({}) == 2
    orders.client.close()
