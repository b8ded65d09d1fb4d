"""Makes a replica set of mongods that were just started, and its users: once, and again without harm.

To run beside the first member: as long as a mongod has no user it trusts only those on its own machine. The
passwords are those of the environment; one that has changed there is changed in the database.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, NotPrimaryError, OperationFailure

NAME = "orders"
# A primary that is gone is missed after four seconds, not ten, so that writes go on within fifteen.
SETTINGS = {"electionTimeoutMillis": 4_000, "heartbeatIntervalMillis": 1_000, "heartbeatTimeoutSecs": 2}
ROOT = "root"
# Reads the limits that the service warns of.
PARAMETERS = "readParameters"
# The service reads, writes and follows its own database, and its migrations change the form of it.
USERS = {
    "orders": (
        "MONGO_PASSWORD",
        [
            {"role": "readWrite", "db": "orders"},
            {"role": "dbAdmin", "db": "orders"},
            {"role": PARAMETERS, "db": "admin"},
        ],
    ),
    "backup": ("MONGO_BACKUP_PASSWORD", [{"role": "backup", "db": "admin"}]),
}

PATIENCE = 120.0
# AlreadyInitialized, Unauthorized, and that the user exists.
_DONE_BEFORE = (23, 13, 51003)


def main() -> None:
    """Of MONGO_MEMBERS, `host:port` with commas, the first is this machine; exit 1 when it cannot be made."""
    members = os.environ["MONGO_MEMBERS"].split(",")
    password = os.environ["MONGO_ROOT_PASSWORD"]
    passwords = {user: os.environ[name] for user, (name, _) in USERS.items()}
    try:
        make(members, password, passwords)
    except (ConnectionFailure, OperationFailure) as error:
        sys.exit(f"The replica set could not be made: {error}")


def make(members: list[str], root_password: str, passwords: Mapping[str, str]) -> None:
    """Leaves behind a replica set of these members that has a primary, and the users with these passwords."""
    port = int(members[0].rpartition(":")[2])
    with MongoClient[dict[str, Any]]("127.0.0.1", port, directConnection=True) as beside:
        _insist(lambda: _initiate(beside, members))
        _insist(lambda: _begin_with_root(beside, root_password))
    with MongoClient[dict[str, Any]](
        members, replicaSet=NAME, username=ROOT, password=root_password, w="majority", journal=True
    ) as client:
        known = client.admin.command("rolesInfo", PARAMETERS)["roles"]
        reads = [{"resource": {"cluster": True}, "actions": ["getParameter"]}]
        change = "updateRole" if known else "createRole"
        client.admin.command(change, PARAMETERS, privileges=reads, roles=[])
        for user, (_, roles) in USERS.items():
            known = client.admin.command("usersInfo", user)["users"]
            change = "updateUser" if known else "createUser"
            client.admin.command(change, user, pwd=passwords[user], roles=roles)


def _insist(work: Callable[[], object]) -> None:
    """Tries until it is done: the other members may not be up yet, and the first not elected."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            work()
        except (OperationFailure, NotPrimaryError) as error:
            # Once there is a user, those without a name are refused.
            if isinstance(error, OperationFailure) and error.code in _DONE_BEFORE:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _initiate(beside: MongoClient[dict[str, Any]], members: list[str]) -> None:
    # The first is to become the primary, since only there, and from beside it, the first user can be made.
    wanted = [
        {"_id": number, "host": host, "priority": 1 if number else 2} for number, host in enumerate(members)
    ]
    beside.admin.command("replSetInitiate", {"_id": NAME, "members": wanted, "settings": SETTINGS})


def _begin_with_root(beside: MongoClient[dict[str, Any]], password: str) -> None:
    beside.admin.command("createUser", ROOT, pwd=password, roles=["root"])


if __name__ == "__main__":
    main()
