"""A reconciliation of many orders: how long, in how much memory, and what POST loses meanwhile."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.books import seed_books
from benchmarks.figures import Figure
from benchmarks.stage import SERVICE
from deploy.local.process import Failed
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage

WHAT = "POST /orders while orders are reconciled, 16 connections"
ALONE_WHAT = "a reconciliation"
ALONE = f"{SERVICE}, not reconciling"
CONNECTIONS = 16
LOOK_EVERY = 0.05
COMMAND = (sys.executable, "-m", "flask", "--app", "wsgi", "reconcile")


def reconcile(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """A reconciliation alone; then turns of POST with one under way beside it and without."""
    with stage.service("web", database=f"{SERVICE}-books") as service:
        seed_books(service.database, plan.books)
        plan.say(f"reconcile: {plan.books:,} orders stored")
        what = ALONE_WHAT
        alone = _Reconciliation(stage, service)
        seconds = alone.finish()
        plan.say(f"reconcile: {seconds:.1f} s")
        yield Figure(what, "s", SERVICE, (seconds,))
        yield Figure(what, "peak MiB", SERVICE, (alone.peak,))
        rates: dict[str, list[float]] = {ALONE: [], SERVICE: []}
        runs = itertools.count()
        load.post_orders(service.url, f"reconcile-{next(runs)}", CONNECTIONS, plan.warm_up)
        beside = _Reconciliation(stage, service)
        for _ in range(2 * plan.rounds):
            for whose, taken in rates.items():
                if whose == ALONE:
                    beside.freeze()
                else:
                    beside = beside.thaw()
                run = f"reconcile-{next(runs)}"
                taken.append(load.post_orders(service.url, run, CONNECTIONS, plan.seconds).rate)
        beside.kill()
        for whose, taken in rates.items():
            yield Figure(WHAT, "per s", whose, tuple(taken))


class _Reconciliation:
    """The command, running."""

    def __init__(self, stage: Stage, service: Contender) -> None:
        self._begun = stage, service
        self._began = time.perf_counter()
        self.peak = 0.0
        self._process = subprocess.Popen(
            COMMAND,
            cwd=ROOT,
            env={**os.environ, "AUTH": "off", "MONGO_URI": stage.mongo.uri(service.database.name)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> float:
        """Wait for its end, which must be a clean one; how long it took."""
        while self._process.poll() is None:
            self.peak = max(self.peak, _peak_mib(self._process.pid))
            time.sleep(LOOK_EVERY)
        seconds = time.perf_counter() - self._began
        said = self._process.communicate()[0]
        if self._process.returncode:
            raise Failed(f"The reconciliation found something: {said[-2_000:]}")
        return seconds

    def freeze(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> _Reconciliation:
        """Let it go on; another one where it had ended."""
        if self._process.poll() is not None:
            return _Reconciliation(*self._begun)
        self._process.send_signal(signal.SIGCONT)
        return self

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0.0
