"""The compose file's helper beside the first mongod makes a replica set that suits the service."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.mongo.database import connect
from app.mongo.locks import transaction_limit
from deploy import replica_set
from deploy.local.process import Process
from deploy.local.servers import HOST, MongoServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import StackStarter

ROOT_PASSWORD = "root-secret"
PASSWORDS = {"orders": "orders-secret", "backup": "backup-secret"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Three mongods that know the same key, and at first nothing of each other."""
    tmp_path = tmp_path_factory.mktemp("members of a set")
    key = tmp_path / "key"
    key.write_text("a key that all members share")
    key.chmod(0o400)
    with contextlib.ExitStack() as ending:
        addresses = []
        for number in range(3):
            folder, port = tmp_path / f"mongod-{number}", free_port()
            folder.mkdir()
            # The packaged server's own command is that of a set of one.
            program = MongoServer(tmp_path / "unused").process.command[0]
            options = {"dbpath": folder, "port": port, "replSet": replica_set.NAME, "keyFile": key}
            options |= {"bind_ip": HOST, "wiredTigerCacheSizeGB": 0.25, "oplogSize": 64}
            command = [program, *(f"--{name}={value}" for name, value in options.items()), "--nounixsocket"]
            member = Process(f"mongod {number}", command, folder / "log")
            member.start()
            ending.callback(member.kill)
            addresses.append(f"{HOST}:{port}")
        yield addresses


def uri(members: list[str], user: str, password: str) -> str:
    return f"mongodb://{user}:{password}@{','.join(members)}/orders?replicaSet=orders&authSource=admin"


def test_the_service_works_as_its_own_user_on_three_members(
    members: list[str], redis_url: str, start_stack: StackStarter
) -> None:
    """Made twice, as a second start of everything does; then migrated, and an order confirmed."""
    for _ in range(2):
        replica_set.make(members, ROOT_PASSWORD, PASSWORDS)
    stack = start_stack(mongo_uri=uri(members, "orders", "orders-secret"), redis_url=redis_url)
    body = {"userId": "u", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    answer = httpx.post(f"{stack.base_url}/orders", json=body, headers={"Prefer": "wait=20"}, timeout=30)
    assert answer.json()["order"]["status"] == "confirmed"


def test_the_service_may_read_how_long_the_locks_of_a_dead_worker_last(members: list[str]) -> None:
    for _ in range(2):
        replica_set.make(members, ROOT_PASSWORD, PASSWORDS)
    with contextlib.closing(connect(uri(members, "orders", "orders-secret")).client) as client:
        assert transaction_limit(client.orders) == 60


def test_a_changed_password_holds_from_then_on(members: list[str]) -> None:
    replica_set.make(members, ROOT_PASSWORD, PASSWORDS)
    replica_set.make(members, ROOT_PASSWORD, {**PASSWORDS, "orders": "another"})
    with MongoClient[dict[str, Any]](uri(members, "orders", "another")) as client:
        client.orders.orders.find_one()
    with (
        MongoClient[dict[str, Any]](uri(members, "orders", "orders-secret")) as client,
        pytest.raises(OperationFailure, match="Authentication failed"),
    ):
        client.orders.orders.count_documents({})


def test_without_a_user_no_data_can_be_read(members: list[str]) -> None:
    replica_set.make(members, ROOT_PASSWORD, PASSWORDS)
    with (
        MongoClient[dict[str, Any]](members, replicaSet="orders") as client,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        client.orders.orders.find_one()


def test_the_user_for_backups_can_change_nothing(members: list[str]) -> None:
    """But reads the oplog, without which a dump is not of one moment."""
    replica_set.make(members, ROOT_PASSWORD, PASSWORDS)
    with MongoClient[dict[str, Any]](uri(members, "backup", "backup-secret")) as client:
        assert client.local["oplog.rs"].find_one()
        client.orders.orders.find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client.orders.orders.delete_many({})
