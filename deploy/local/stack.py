"""The processes of the service, started from the Procfile against given servers, for runs and tests."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy.local.process import Failed, Process
from deploy.local.servers import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("web", "relay", "worker", "beat")
STOPPING_ORDER = (("web",), ("relay", "beat", "worker"))
LEASED = ("relay", "beat")
# The variables that single processes read in addition to the settings.
OF_PROCESSES = (
    "BIND_ADDRESS",
    "WEB_CONCURRENCY",
    "KEEPALIVE",
    "REQUEST_TIMEOUT",
    "SEND_TIMEOUT",
    "GRACEFUL_TIMEOUT",
    "PROMETHEUS_MULTIPROC_DIR",
    "WORKER_NAME",
    "WORKER_CONCURRENCY",
    "BEAT_SCHEDULE",
)
READY_LINES = {"relay": "relay works", "worker": "ready.", "beat": "beat works"}


def procfile() -> dict[str, str]:
    """The command of each role."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


class Stack:
    """Any number of web, relay, worker and beat processes, each with its own log."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.port = int(settings.get("PORT") or free_port())
        self.env = {
            **os.environ,
            "BIND_ADDRESS": HOST,
            "GRACEFUL_TIMEOUT": "3",
            "BEAT_SCHEDULE": str(directory / "beat-schedule"),
            "PYTHONUNBUFFERED": "1",
            **settings,
            "PORT": str(self.port),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        self._processes: dict[str, list[Process]] = defaultdict(list)

    @property
    def base_url(self) -> str:
        """The URL of the web process, with the prefix of the API's paths."""
        prefix = self.env.get("API_PREFIX", "").strip("/")
        return f"http://{HOST}:{self.port}{f'/{prefix}' if prefix else ''}"

    def run(self, name: str, command: str, timeout: float = 60.0) -> None:
        """Runs a command of the service to its end. Raises Failed if the command fails."""
        process = self._process(name, command, {})
        process.start()
        deadline = time.monotonic() + timeout
        try:
            while process.running:
                if time.monotonic() > deadline:
                    raise Failed(f"{name} did not end within {timeout:.0f} s (log: {process.log})")
                time.sleep(0.02)
        finally:
            process.kill()
        if process.exit_code:
            raise Failed(process.obituary())

    def migrate(self) -> None:
        """Migrates the database, as a release does."""
        self.run("release", procfile()["release"])

    def start(self, role: str, **settings: str) -> Process:
        """Starts one more process of a role, with additional settings. The process may not be ready yet."""
        number = len(self._processes[role]) + 1
        name = role if number == 1 else f"{role}-{number}"
        own = {"WORKER_NAME": name, "PROMETHEUS_MULTIPROC_DIR": str(self.directory / "metrics" / name)}
        process = self._process(name, procfile()[role], {**own, **settings})
        self._processes[role].append(process)
        process.start()
        return process

    def pids(self, role: str) -> list[int]:
        """The process ids of the running processes of a role, oldest first."""
        return [process.pid for process in self._processes[role] if process.running]

    def kill(self, role: str, signum: int = signal.SIGKILL) -> None:
        """Sends a signal to every process of a role. SIGKILL also ends their children."""
        for process in self._processes[role]:
            if process.running and signum == signal.SIGKILL:
                process.kill()
            elif process.running:
                process.send(signum)

    def stop(self, *roles: str, grace: float = 5.0) -> None:
        """Ends every process of these roles in good order, or by SIGKILL after `grace` seconds."""
        deadline = time.monotonic() + grace
        for process in self.processes(roles):
            process.ask_to_stop()
        for process in self.processes(roles):
            process.stop(max(0.0, deadline - time.monotonic()))

    def close(self, grace: float = 5.0) -> None:
        """Ends everything within about `grace` seconds: first web, then the processes that work on orders."""
        deadline = time.monotonic() + grace
        for roles in STOPPING_ORDER:
            self.stop(*roles, grace=max(0.5, deadline - time.monotonic()))

    def processes(self, roles: Iterable[str] = ROLES) -> list[Process]:
        """Every process started in these roles, including ended ones."""
        return [process for role in roles for process in self._processes[role]]

    def wait_ready(self, roles: Iterable[str] = ROLES, timeout: float = 60.0) -> None:
        """Waits until every started process of these roles is ready. Raises Failed if one ends or is late."""
        deadline = time.monotonic() + timeout
        for process in self.processes(roles):
            while not self._ready(process):
                if not process.running:
                    raise Failed(process.obituary())
                if time.monotonic() > deadline:
                    raise Failed(f"{process.name} is not ready after {timeout:.0f} s (log: {process.log})")
                time.sleep(0.05)

    def _ready(self, process: Process) -> bool:
        role = process.name.partition("-")[0]
        if role == "web":
            return self._web_ready()
        # Of several relays or beats, the first one works and the others stand by.
        able = [each for each in self._processes[role] if each.running] if role in LEASED else [process]
        return any(READY_LINES[role] in each.output() for each in able)

    def _process(self, name: str, command: str, settings: Mapping[str, str]) -> Process:
        shell = ["/bin/sh", "-c", f"exec {command}"]
        log = self.directory / "log" / f"{name}.log"
        return Process(name, shell, log, env={**self.env, **settings}, cwd=ROOT)

    def _web_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
