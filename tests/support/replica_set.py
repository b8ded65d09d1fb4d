"""A replica set of three on one machine, whose primary a test kills, freezes and cuts off from the others."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any, Self

from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from deploy.local.servers import REPLICA_SET, Mongod, direct
from tests.support.roads import Roads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRIMARY, SECONDARY = 1, 2
# How soon the others miss a primary and elect another; by default ten seconds.
SETTINGS = {"electionTimeoutMillis": 4_000, "heartbeatIntervalMillis": 1_000, "heartbeatTimeoutSecs": 2}
# How soon a secondary stops waiting for a primary that says nothing any more, and follows the new one. Until
# it does, the new one has no majority: by default that can take half a minute.
PARAMETERS = {"oplogNetworkTimeoutBufferSeconds": 1, "oplogFetcherSteadyStateMaxFetcherRestarts": 0}


class Member(Mongod):
    """One mongod of the set."""

    cache_gigabytes = 0.25

    def _command(self) -> list[str]:
        parameters = [f"--setParameter={name}={value}" for name, value in PARAMETERS.items()]
        return [*super()._command(), *parameters]

    def status(self) -> dict[str, Any]:
        """The member's view of the set; empty if it does not answer."""
        with contextlib.suppress(PyMongoError), direct(self.address) as client:
            return dict(client.admin.command("replSetGetStatus"))
        return {}


class ReplicaSet:
    """Three members that reach each other, and are reached, only over roads that can be closed."""

    def __init__(self, directory: Path) -> None:
        self.members = [Member(directory / f"mongod-{number}") for number in range(3)]
        self.roads = Roads(self.members)

    def uri(self, database: str) -> str:
        """The MONGO_URI of one database of the set."""
        addresses = ",".join(map(self.roads.address, self.members))
        return f"mongodb://{addresses}/{database}?replicaSet={REPLICA_SET}"

    def primary(self) -> Member:
        """The member that was elected last, when it knows that it was."""
        return self._await(self._elected)

    def wait_whole(self) -> None:
        """Return when one member is the primary and both others have just had a write from it.

        A secondary that has only just begun to follow waits a minute for the first answer of a primary that
        is cut off. Until then the next primary has no majority. So call this directly before the fault.
        """
        self._await(self._is_whole)

    def kill(self, member: Member) -> None:
        """As a power cut would."""
        member.kill()

    def freeze(self, member: Member) -> None:
        """It stops in the middle of what it does, its connections open."""
        member.process.send(signal.SIGSTOP)

    def cut_off(self, member: Member) -> None:
        """Nobody reaches it, and it reaches nobody."""
        self.roads.close(member, to_clients=True)

    def part(self, member: Member) -> None:
        """It and the other members lose each other; clients reach all of them."""
        self.roads.close(member, to_clients=False)

    @contextlib.contextmanager
    def lagging(self) -> Iterator[None]:
        """The secondaries are there and write nothing, as on a disk that is full; then they go on."""
        primary = self.primary()
        with contextlib.ExitStack() as unlocking:
            for member in self.members:
                if member is not primary:
                    client = unlocking.enter_context(direct(member.address))
                    client.admin.command("fsync", lock=True)
                    unlocking.callback(client.admin.command, "fsyncUnlock")
            yield

    def repair(self, member: Member) -> None:
        """Undoes every fault of the member."""
        self.roads.open()
        if member.process.running:
            member.process.send(signal.SIGCONT)
        else:
            member.start()

    def _elected(self) -> Member | None:
        known = [(member, member.status()) for member in self.members if member.process.running]
        primaries = [(status["term"], member) for member, status in known if status.get("myState") == PRIMARY]
        return max(primaries, key=lambda found: found[0])[1] if primaries else None

    def _is_whole(self) -> bool:
        known = [member.status() for member in self.members]
        states = [status.get("myState") for status in known]
        if sorted(states, key=str) != [PRIMARY, SECONDARY, SECONDARY]:
            return False
        seen = sorted(member["state"] for member in known[states.index(PRIMARY)]["members"])
        return seen == [PRIMARY, SECONDARY, SECONDARY] and self._is_followed(states.index(PRIMARY))

    def _is_followed(self, primary: int) -> bool:
        everywhere = WriteConcern(w=len(self.members), wtimeout=2_000)
        with contextlib.suppress(PyMongoError), direct(self.members[primary].address) as client:
            client.replica_set.get_collection("followed", write_concern=everywhere).insert_one({})
            return True
        return False

    def _await(self, condition: Callable[[], Any], timeout: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, [member.status() for member in self.members]
            time.sleep(0.1)
        return value

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            started.enter_context(self.roads)
            for member in self.members:
                started.enter_context(member)
            hosts = [
                {"_id": number, "host": self.roads.address(member)}
                for number, member in enumerate(self.members)
            ]
            with direct(self.members[0].address) as client:
                config = {"_id": REPLICA_SET, "members": hosts, "settings": SETTINGS}
                client.admin.command("replSetInitiate", config)
            self.wait_whole()
            self._ending = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.process.running:
                member.process.send(signal.SIGCONT)
        self._ending.close()
