"""Makes a replica set of new mongods, and its users. Running it again is harmless.

Run it on the machine of the first member: a mongod without users trusts only its own machine. The passwords
come from the environment; to change one, change it there and run this again.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, NotPrimaryError, OperationFailure

NAME = "orders"
# The members notice a lost primary after four seconds, not ten, so that writes continue within fifteen.
SETTINGS = {"electionTimeoutMillis": 4_000, "heartbeatIntervalMillis": 1_000, "heartbeatTimeoutSecs": 2}
ROOT = "root"
# A role that may read the limits that the service warns of.
PARAMETERS = "readParameters"
# The service reads, writes and follows its own database, and its migrations change the schema.
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
# The error codes AlreadyInitialized and Unauthorized, and the one for an existing user.
_DONE_BEFORE = (23, 13, 51003)


def main() -> None:
    """Makes the set of MONGO_MEMBERS (`host:port`, comma-separated, this host first); exit 1 on failure."""
    members = os.environ["MONGO_MEMBERS"].split(",")
    password = os.environ["MONGO_ROOT_PASSWORD"]
    passwords = {user: os.environ[name] for user, (name, _) in USERS.items()}
    try:
        make(members, password, passwords)
    except (ConnectionFailure, OperationFailure) as error:
        sys.exit(f"The replica set could not be made: {error}")


def make(members: list[str], root_password: str, passwords: Mapping[str, str]) -> None:
    """Makes a replica set of these members, waits for its primary, and sets users and passwords."""
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
    """Repeats `work` until it succeeds: the other members may not run yet, or the first not be elected."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            work()
        except (OperationFailure, NotPrimaryError) as error:
            # Once a user exists, mongod refuses anonymous clients.
            if isinstance(error, OperationFailure) and error.code in _DONE_BEFORE:
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _initiate(beside: MongoClient[dict[str, Any]], members: list[str]) -> None:
    # The first member must become the primary: only there, from the same machine, can the first user be made.
    wanted = [
        {"_id": number, "host": host, "priority": 1 if number else 2} for number, host in enumerate(members)
    ]
    beside.admin.command("replSetInitiate", {"_id": NAME, "members": wanted, "settings": SETTINGS})


def _begin_with_root(beside: MongoClient[dict[str, Any]], password: str) -> None:
    beside.admin.command("createUser", ROOT, pwd=password, roles=["root"])


if __name__ == "__main__":
    main()
