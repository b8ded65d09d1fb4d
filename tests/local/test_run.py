"""`make run`, as a newcomer meets it: it starts, takes the order it prints, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.process import Process
from deploy.local.servers import free_port
from deploy.local.stack import ROOT
from tests.end_to_end.service import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.servers import Broker

SHIPPED = ("app", "deploy", "migrations", "tasks", "Procfile", "wsgi.py")
GIVEN = ("AUTH", "LOG_LEVEL", "MONGO_URI", "REDIS_URL", "SMTP_URL", "API_PREFIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what is run, with a .local of its own."""
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    return tmp_path


@pytest.fixture
def runner(folder: Path) -> Iterator[Process]:
    """The runner of that folder, started."""
    env = {name: value for name, value in os.environ.items() if name not in GIVEN} | {
        "PORT": str(free_port())
    }
    command = [sys.executable, "-m", "deploy.local.runner"]
    process = Process("runner", command, folder / "console.log", env=env, cwd=folder)
    process.start()
    yield process
    process.stop(10)
    eventually(lambda: not left_of(folder))


def left_of(folder: Path) -> dict[int, str]:
    """The commands that run in that folder, by process id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.joinpath("cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = process.joinpath("cmdline").read_text().replace("\0", " ")
    return found


def as_curl(command: str) -> httpx.Response:
    """The answer to a printed curl command, on a machine that may have no curl."""
    _, _, url, *options = shlex.split(command)
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    body = next(value for option, value in pairs if option == "-d")
    return httpx.post(url, headers=headers, content=body, timeout=30, trust_env=False)


def ready(runner: Process) -> bool:
    """Whether it has said all it says to its user."""
    assert runner.running, runner.output()
    return "Ctrl-C ends it all" in runner.output()


def test_the_settings_that_are_written_down_reach_the_running_service(runner: Process, folder: Path) -> None:
    eventually(lambda: ready(runner), timeout=60)
    bin_folder = Path(sys.executable).parent
    shown = subprocess.run(
        ["/bin/sh", "-c", f"set -a; . .local/env; exec {bin_folder}/flask --app wsgi db status"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "pending" not in shown.stdout


def test_the_order_that_is_printed_is_confirmed_and_mailed_and_sigterm_ends_everything(
    runner: Process, folder: Path
) -> None:
    eventually(lambda: ready(runner), timeout=60)
    printed = re.search(r"curl .*?\}'$", runner.output(), re.DOTALL | re.MULTILINE)
    assert printed
    answer = as_curl(printed[0])
    assert answer.status_code == 201
    assert answer.json()["order"]["status"] == "confirmed"
    eventually(lambda: list((folder / ".local" / "mail").glob("*confirmed.eml")))

    runner.ask_to_stop()
    eventually(lambda: not runner.running, timeout=10)
    assert runner.exit_code == 0
    assert not left_of(folder)


def test_a_part_that_dies_ends_the_run_with_one_line_that_names_it(runner: Process, folder: Path) -> None:
    eventually(lambda: ready(runner), timeout=60)
    before = runner.output()
    relay = next(pid for pid, command in left_of(folder).items() if "tasks.relay" in command)
    os.kill(relay, signal.SIGKILL)
    eventually(lambda: not runner.running, timeout=10)
    assert runner.exit_code == 1
    said = runner.output().removeprefix(before).strip()
    assert said.startswith("relay was ended by SIGKILL")
    assert "\n" not in said
    assert not left_of(folder)


def test_a_runner_killed_outright_takes_everything_along(runner: Process, folder: Path) -> None:
    eventually(lambda: ready(runner), timeout=60)
    runner.send(signal.SIGKILL)
    eventually(lambda: not left_of(folder), timeout=15)


def checked(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `make run` comes to where it must refuse."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.local"],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_second_run_in_the_same_folder_says_so(folder: Path) -> None:
    lock = folder / ".local" / "lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        refusal = checked(folder)
    assert refusal.returncode == 1
    assert refusal.stderr == "The service already runs from this folder, as process 4711\n"


def test_a_port_in_use_is_one_line(folder: Path, broker_server: Broker) -> None:
    port = str(broker_server.port)
    refusal = checked(folder, PORT=port)
    assert refusal.returncode == 1
    assert refusal.stderr.startswith(f"Port {port} cannot be used (Address already in use)")
    assert refusal.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_one_line(folder: Path, port: str) -> None:
    refusal = checked(folder, PORT=port)
    assert refusal.returncode == 1
    assert refusal.stderr == f"PORT must be a number from 1 to 65535, and is {port!r}\n"
