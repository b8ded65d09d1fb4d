"""While the database is away the service says so; what it had accepted is there when the database is back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end import books
from tests.end_to_end.service import Load, at_once, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import MongoServer
    from tests.end_to_end.conftest import ServiceStarter


@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_every_order_accepted_outlives_the_database_and_is_processed(
    serve: ServiceStarter, private_mongo: Callable[[], MongoServer], way: str
) -> None:
    """Meanwhile 503 with `Retry-After`; then all recovers by itself, and a retry makes no second order."""
    mongo = private_mongo()
    service = serve(mongo_uri=mongo.uri("orders"))
    service.set_stock("stored", 10_000)
    with Load(service, clients=8, product="stored") as load:
        load.wait_for(50)
        (mongo.kill if way == "killed" else mongo.stop)()
        load.wait_for(8, status=503)
        seen = load.of(201)[0].content["order"]["id"]
        asked = at_once(
            [partial(service.http.get, path) for path in (f"/orders/{seen}", "/readyz", "/healthz")]
        )
        assert [answer.status_code for answer in asked] == [503, 503, 200]
        mongo.start()
        load.wait_for(50)
        eventually(lambda: service.http.get("/readyz").status_code == 200)

    assert {answer.status for answer in load.answers} == {201, 503}
    for refused in load.of(503):
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.content["code"] == "database_unavailable"
        assert refused.content["status"] == 503
    ids = load.order_ids() + load.place_again(load.of(503))
    assert len(set(ids)) == len(load.answers)
    assert sorted(ids) == sorted(service.order_ids())
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert service.on_hand("stored") == 10_000 - len(ids)
    assert books.faults(service, ids) == []
