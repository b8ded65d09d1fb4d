"""One child process with its log: its start, its state, and its certain end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEASH = [sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py"))]


class Failed(Exception):
    """A process or server could not be started, or ended by itself. The message is one line."""


class Process:
    """A command in its own process group, so that its children end with it.

    Start it from a long-lived thread: on Linux the kernel ends it when the thread that started it ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = env
        self.cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None
        self._logged_before = 0

    @property
    def pid(self) -> int:
        """The process id of the command itself. Raises Failed if it was never started."""
        if self._child is None:
            raise Failed(f"{self.name} was not started")
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the command runs or before its start."""
        return self._child.poll() if self._child else None

    @property
    def running(self) -> bool:
        """Whether the command was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Starts the command and appends its output to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        leash = [*LEASH, str(os.getpid())] if sys.platform == "linux" else []
        with self.log.open("ab") as output:
            self._logged_before = output.tell()
            self._child = subprocess.Popen(
                [*leash, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Sends SIGTERM to the command, which ends its own children."""
        if self.running:
            self.send(signal.SIGTERM)

    def stop(self, grace: float = 5.0) -> None:
        """Ends the command: SIGTERM, up to `grace` seconds, then SIGKILL for the rest of its group."""
        if self._child is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(grace)
        self.kill()

    def kill(self) -> None:
        """Ends the command and its children at once, as a power cut would."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def send(self, signum: int) -> None:
        """Sends a signal to the command alone, not to its children."""
        os.kill(self.pid, signum)

    def output(self) -> str:
        """The output since the last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._logged_before)
            return log.read().decode(errors="replace")

    def obituary(self) -> str:
        """One line about the end of the command, with the last line of its output."""
        if self.exit_code is not None and self.exit_code < 0:
            return f"{self.name} was ended by {signal.Signals(-self.exit_code).name} (log: {self.log})"
        lines = [line.strip() for line in self.output().splitlines()]
        last = next((line for line in reversed(lines) if line), "it logged nothing")
        return f"{self.name} ended with {self.exit_code}: {last[:300]} (log: {self.log})"
