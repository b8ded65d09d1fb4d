"""What the benchmarks play on: one mongod and one broker for all, and on them the service and its rivals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pymongo import MongoClient

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


@dataclass(frozen=True)
class Contender:
    """One of those compared: its address, its database, the main process of each of its parts."""

    name: str
    url: str
    database: Database[dict[str, Any]]
    pids: dict[str, int]
    token: str = ""

    def cpu_seconds(self) -> float:
        """The processor time that all of its processes have used so far."""
        return sum(cpu_seconds(pid) for main in self.pids.values() for pid in (main, *children(main)))

    def freeze(self, *parts: str) -> None:
        """Stop these parts where they are, all their processes, as if time stood still for them."""
        self._signal(signal.SIGSTOP, parts)

    def thaw(self, *parts: str) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT, parts)

    def _signal(self, signum: int, parts: tuple[str, ...]) -> None:
        for part in parts:
            os.killpg(self.pids[part], signum)


@dataclass(frozen=True)
class Stage:
    """The servers, and a folder for logs and scratch files."""

    folder: Path
    mongo: MongoServer
    broker: Broker
    client: MongoClient[dict[str, Any]]
    broker_urls: Iterator[str]

    def cpu_seconds(self) -> float:
        """The processor time that both servers have used so far."""
        return cpu_seconds(self.mongo.pid) + cpu_seconds(self.broker.pid)

    @contextlib.contextmanager
    def service(
        self, *roles: str, database: str = SERVICE, settings: Mapping[str, str] | None = None
    ) -> Iterator[Contender]:
        """The service on an empty database, with these processes of its Procfile and these settings."""
        env = {
            **self._servers(database),
            "AUTH": "off",
            "WEB_CONCURRENCY": f"{PROCESSES}",
            "WORKER_CONCURRENCY": f"{PROCESSES}",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            **(settings or {}),
        }
        with Stack(self.folder / database, env) as stack:
            stack.migrate()
            pids = {role: stack.start(role).pid for role in roles}
            stack.wait_ready(roles)
            yield Contender(SERVICE, stack.base_url, self.client[database], pids)

    @contextlib.contextmanager
    def rival(self, name: str, *scripts: str) -> Iterator[Contender]:
        """A rival on an empty database; the first of its scripts answers HTTP."""
        port = free_port()
        url = f"http://{HOST}:{port}"
        own = {"PORT": f"{port}", "PROCESSES": f"{PROCESSES}", "NODE_ENV": "production"}
        env = {**os.environ, **self._servers(name), **own}
        with contextlib.ExitStack() as ending:
            processes = {}
            for script in scripts:
                command = ["node", str(RIVALS / f"{script}.js")]
                processes[script] = Process(script, command, self.folder / f"{script}.log", env=env)
                processes[script].start()
                ending.callback(processes[script].stop)
            _await_answer(f"{url}/orders/{'0' * 24}", processes)
            pids = {script: process.pid for script, process in processes.items()}
            yield Contender(name, url, self.client[name], pids)

    def _servers(self, name: str) -> dict[str, str]:
        self.client.drop_database(name)
        return {"MONGO_URI": self.mongo.uri(name), "REDIS_URL": next(self.broker_urls)}


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Fresh servers in that folder; everything started on the stage ends with it, and only the logs stay."""
    shutil.rmtree(folder, ignore_errors=True)
    with (
        MongoServer(folder / "mongod", log=folder / "mongod.log") as mongo,
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
    lock, installed = RIVALS / "package-lock.json", RIVALS / "node_modules/.package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    ended = subprocess.run(
        ["npm", "install", "--no-save", "--no-audit", "--no-fund"],
        cwd=RIVALS,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise Failed(f"npm ci failed: {ended.stderr.strip()}")


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
