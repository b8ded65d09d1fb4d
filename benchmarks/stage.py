"""One mongod and one broker for all contenders, and on them the service or one of its rivals.

A contender starts anew for each of its turns, on an empty database, and ends with it. So no contender runs,
holds memory or leaves work behind while another one is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from pymongo import MongoClient

from benchmarks import fairness, progress
from deploy.local.process import Failed, Process
from deploy.local.servers import HOST, Broker, MongoServer, free_port
from deploy.local.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.database import Database

RIVALS = Path(__file__).parent / "rivals"
SERVICE = "service"
PROCESSES = 2
READY_WITHIN = 30
# mongod then counts the write concerns that clients ask for.
COUNTED = {"reportOpWriteConcernCountersInServerStatus": 1}


@dataclass(frozen=True)
class Contender:
    """One of those compared: its address, its database, the main process of each of its parts."""

    name: str
    url: str
    database: Database[dict[str, Any]]
    pids: dict[str, int]
    progress: progress.Progress
    broker_url: str

    def cpu_seconds(self) -> float:
        """The processor time that all of its processes have used so far."""
        return sum(cpu_seconds(pid) for main in self.pids.values() for pid in (main, *children(main)))

    def children(self) -> dict[str, int]:
        """How many processes each part runs beside its main one."""
        return {part: len(children(pid)) for part, pid in self.pids.items()}

    def orders(self) -> int:
        """How many orders it has stored, at no cost for the database."""
        return self.database.orders.estimated_document_count()

    def failed_jobs(self) -> int:
        """How many jobs of BullMQ have failed for good."""
        with redis.Redis.from_url(self.broker_url) as broker:
            return sum(int(broker.zcard(key)) for key in broker.scan_iter("bull:*:failed"))


@dataclass(frozen=True)
class Stage:
    """The servers, and a folder for logs and scratch files."""

    folder: Path
    mongo: MongoServer
    broker: Broker
    client: MongoClient[dict[str, Any]]
    broker_urls: Iterator[str]

    def cpu_seconds(self, one: Contender) -> float:
        """The processor time that this contender and both servers have used so far."""
        return one.cpu_seconds() + cpu_seconds(self.mongo.pid) + cpu_seconds(self.broker.pid)

    def writes(self) -> fairness.Writes:
        """How many writes of each kind came with which write concern so far."""
        return self.client.admin.command("serverStatus")["opWriteConcernCounters"]

    def settle(self) -> None:
        """Flush all earlier writes, so that they cost nothing in the next measurement."""
        self.client.admin.command("fsync")

    @contextlib.contextmanager
    def service(
        self, *roles: str, database: str = SERVICE, settings: Mapping[str, str] | None = None
    ) -> Iterator[Contender]:
        """The service on an empty database, with these processes of its Procfile and these settings."""
        with self._servers(database) as servers:
            yield from self._service(roles, database, {**servers, **(settings or {})})

    def _service(self, roles: tuple[str, ...], database: str, own: Mapping[str, str]) -> Iterator[Contender]:
        env = {
            "AUTH": "off",
            "WEB_CONCURRENCY": f"{PROCESSES}",
            "WORKER_CONCURRENCY": f"{PROCESSES}",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            **own,
        }
        with Stack(self.folder / database, env) as stack:
            stack.migrate()
            pids = {role: stack.start(role).pid for role in roles}
            stack.wait_ready(roles)
            yield Contender(
                SERVICE, stack.base_url, self.client[database], pids, progress.SERVICE, env["REDIS_URL"]
            )

    @contextlib.contextmanager
    def rival(self, *scripts: str) -> Iterator[Contender]:
        """A rival on an empty database; the first of its scripts answers HTTP and gives it its name."""
        name = scripts[0]
        with self._servers(name) as servers:
            yield from self._rival(name, scripts, servers)

    def _rival(self, name: str, scripts: tuple[str, ...], servers: Mapping[str, str]) -> Iterator[Contender]:
        port = free_port()
        url = f"http://{HOST}:{port}"
        own = {"PORT": f"{port}", "PROCESSES": f"{PROCESSES}", "NODE_ENV": "production"}
        env = {**os.environ, **servers, **own}
        with contextlib.ExitStack() as ending:
            processes = {}
            for script in scripts:
                command = ["node", str(RIVALS / f"{script}.js")]
                processes[script] = Process(script, command, self.folder / f"{script}.log", env=env)
                processes[script].start()
                ending.callback(processes[script].stop)
            _await_answer(f"{url}/orders/{'0' * 24}", processes)
            pids = {script: process.pid for script, process in processes.items()}
            yield Contender(name, url, self.client[name], pids, progress.BULLMQ, servers["REDIS_URL"])

    @contextlib.contextmanager
    def _servers(self, name: str) -> Iterator[dict[str, str]]:
        """An empty database and an unused database of the broker, both emptied afterwards."""
        broker_url = next(self.broker_urls)
        self.client.drop_database(name)
        yield {"MONGO_URI": self.mongo.uri(name), "REDIS_URL": broker_url}
        self.client.drop_database(name)
        with redis.Redis.from_url(broker_url) as broker:
            broker.flushdb()


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Fresh servers in that folder; everything started on the stage ends with it, and only the logs stay."""
    shutil.rmtree(folder, ignore_errors=True)
    with (
        MongoServer(folder / "mongod", log=folder / "mongod.log", parameters=COUNTED) as mongo,
        Broker(folder / "broker", log=folder / "broker.log") as broker,
        MongoClient[dict[str, Any]](mongo.uri("admin"), w="majority", journal=True) as client,
    ):
        yield Stage(
            folder, mongo, broker, client, (broker.url(number) for number in range(1, broker.databases))
        )
    shutil.rmtree(folder / "mongod")
    shutil.rmtree(folder / "broker")


def install_rivals() -> None:
    """Install what the rivals need, as locked, unless it is there; Failed without Node.js."""
    if shutil.which("npm") is None:
        raise Failed(
            "Node.js is missing, which the rivals need: install version 20, or leave them out with --alone"
        )
    if fairness.not_as_locked(RIVALS):
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        ended = subprocess.run(command, cwd=RIVALS, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise Failed(f"npm ci failed: {ended.stderr.strip()}")
    fairness.refuse("the rivals", fairness.not_as_locked(RIVALS))


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """The processor time that a process and its ended children have used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def _await_answer(url: str, processes: Mapping[str, Process]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        for process in processes.values():
            if not process.running:
                raise Failed(process.obituary())
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=5)
            return
        time.sleep(0.1)
    raise Failed(f"{url} did not answer within {READY_WITHIN} s")
