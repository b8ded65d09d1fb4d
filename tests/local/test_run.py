"""`make run`, as a newcomer meets it: it starts, takes the order it prints, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.process import Process
from deploy.local.runner import KEPT_RUNS, put_logs_by
from deploy.local.servers import free_port
from tests.end_to_end.service import eventually
from tests.support.newcomer import Newcomer
from tests.support.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.servers import Broker

LOCALLY = ("-m", "deploy.local")
READER = ("--sub", "user-1", "--scope", "orders:read")


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    """A user who starts the service. The folder is not pytest's own, which only one user can read."""
    with tempfile.TemporaryDirectory(prefix="a newcomer ") as place:
        yield Newcomer(Path(place))


@pytest.fixture
def folder(newcomer: Newcomer) -> Path:
    """The folder with what is run, and a .local of its own."""
    return newcomer.folder


@pytest.fixture
def start(newcomer: Newcomer) -> Iterator[Callable[..., Process]]:
    """Starts the runner of that folder, by `make run` or as that does."""
    with contextlib.ExitStack() as ending:

        def begin(*command: str, **settings: str) -> Process:
            env = newcomer.environment(PORT=str(free_port()), **settings)
            whole = newcomer.command(*(command or (str(newcomer.bin / "python"), *LOCALLY)))
            process = Process("runner", whole, newcomer.home / "console.log", env=env, cwd=newcomer.folder)
            process.start()
            ending.callback(eventually, lambda: not left_of(newcomer.folder))
            ending.callback(process.stop, 10)
            return process

        yield begin


@pytest.fixture
def runner(start: Callable[..., Process]) -> Process:
    """The runner, started."""
    return start()


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


def shell(newcomer: Newcomer, command: str) -> subprocess.CompletedProcess[str]:
    """The result of a command in a newcomer's shell, with the settings from `.local/env`."""
    prepared = f'set -a; . .local/env; PATH="$PWD/.venv/bin:$PATH"; set +a; {command}'
    return subprocess.run(
        newcomer.command("/bin/sh", "-c", prepared),
        cwd=newcomer.folder,
        env=newcomer.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_settings_that_are_written_down_are_those_of_the_running_service(
    newcomer: Newcomer, start: Callable[..., Process]
) -> None:
    """All settings, with any characters in them, readable by a shell and by no other user.

    Where tokens are required, the command line makes them by these settings, as the printed order does.
    """
    given = {
        "MAIL_FROM": "The \"Shop\" & 'Sons' <shop@example.org>",
        "STOCK_POLICY": "strict",
        "KEEPALIVE": "9",
        "AUTH": "jwt",
    }
    python = str(newcomer.bin / "python")
    runner = start("make", "run", f"PYTHON={python}", ORDER_EXPIRY="", API_PREFIX="/api", **given)
    eventually(lambda: ready(runner), timeout=60)
    assert newcomer.folder.joinpath(".local", "env").stat().st_mode & 0o777 == 0o600

    own = {
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "TEST_CLOCK": "true",
        "GRACEFUL_TIMEOUT": "3",
        "ORDER_EXPIRY": "15m",
    }
    names = (*given, *own, "PORT", "API_PREFIX", "BEAT_SCHEDULE")
    shown = shell(newcomer, "env -0").stdout.split("\0")
    written = dict(line.split("=", 1) for line in shown if line.partition("=")[0] in names)
    schedule = newcomer.folder / ".local" / "beat-schedule"
    own |= {"BEAT_SCHEDULE": str(schedule), "API_PREFIX": "/api", "PORT": written["PORT"]}
    assert written == {**given, **own}
    address = re.findall(r"address +(\S+)", runner.output())[0]
    assert address == f"http://127.0.0.1:{written['PORT']}/api"
    assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
    assert httpx.get(f"{address}/test/clock", trust_env=False).status_code == 401

    status = shell(newcomer, "flask --app wsgi db status")
    assert (status.returncode, status.stderr) == (0, "")
    assert "pending" not in status.stdout

    assert httpx.get(f"{address}/orders", trust_env=False).status_code == 401
    made = shell(newcomer, f"flask --app wsgi token {shlex.join(READER)}")
    assert (made.returncode, made.stderr) == (0, "")
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx.get(f"{address}/orders", headers=bearer, trust_env=False).status_code == 200

    minted, _, printed = re.findall(r"(?s)(TOKEN=.*?\))(.*?)(curl .*?\}')\n", runner.output())[0]
    token = shell(newcomer, f'{minted}; echo "$TOKEN"').stdout.strip()
    assert as_curl(printed.replace("$TOKEN", token)).status_code == 201


def test_the_order_that_is_printed_reaches_mail_and_webhook_and_sigterm_ends_all(
    runner: Process, newcomer: Newcomer
) -> None:
    """Webhooks go to this machine, and the command line makes a token though none is needed."""
    eventually(lambda: ready(runner), timeout=60)
    printed = re.search(r"curl .*?\}'$", runner.output(), re.DOTALL | re.MULTILINE)
    assert printed
    address = printed[0].split()[2].removesuffix("/orders")
    with Receiver() as receiver:
        hook = {"url": receiver.url(), "events": ["order.confirmed"]}
        assert httpx.post(f"{address}/webhook-endpoints", json=hook, trust_env=False).status_code == 201
        answer = as_curl(printed[0])
        assert answer.status_code == 201
        assert answer.json()["order"]["status"] == "confirmed"
        eventually(lambda: list((newcomer.folder / ".local" / "mail").glob("*confirmed.eml")))
        eventually(lambda: receiver.hooks)
    made = shell(newcomer, f"flask --app wsgi token {shlex.join(READER)}")
    assert (made.returncode, made.stdout.count(".")) == (0, 2)
    assert made.stderr == "AUTH is off: the service accepts every call, with or without a token.\n"

    runner.ask_to_stop()
    eventually(lambda: not runner.running, timeout=10)
    assert runner.exit_code == 0
    assert not left_of(newcomer.folder)


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


def checked(newcomer: Newcomer, **settings: str) -> subprocess.CompletedProcess[str]:
    """The result of a `make run` that must refuse."""
    return subprocess.run(
        newcomer.command(str(newcomer.bin / "python"), *LOCALLY),
        cwd=newcomer.folder,
        env=newcomer.environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_broker_of_one_s_own_that_is_away_is_waited_for_and_named(
    start: Callable[..., Process], private_broker: Callable[[], Broker]
) -> None:
    """By its address, without the password."""
    broker = private_broker()
    broker.stop()
    runner = start(REDIS_URL=broker.url().replace("://", "://:secret@"))
    eventually(lambda: f"Waiting for the broker, REDIS_URL={broker.url()} " in runner.output(), timeout=60)
    assert "secret" not in runner.output()
    assert runner.running


def test_the_logs_of_a_run_are_kept_by_the_next_one(newcomer: Newcomer) -> None:
    """Also by one that comes to nothing."""
    logs = newcomer.folder / ".local" / "log"
    logs.mkdir(parents=True)
    logs.joinpath("web.log").write_text("the run before")
    newcomer.own(newcomer.folder)
    nowhere = {"MONGO_URI": "mongodb://127.0.0.1:1/orders", "REDIS_URL": "redis://127.0.0.1:1/0"}
    refused = checked(newcomer, PORT=str(free_port()), AUTH="neither", **nowhere)
    assert "AUTH must be jwt, or off" in refused.stderr
    assert logs.joinpath("previous-1", "web.log").read_text() == "the run before"
    assert not logs.joinpath("web.log").exists()


def test_the_logs_of_no_more_than_the_last_runs_are_kept(tmp_path: Path) -> None:
    """The latest has the least number; a run that logged nothing counts for nothing."""
    for number in range(KEPT_RUNS + 2):
        tmp_path.joinpath("web.log").write_text(f"run {number}")
        put_logs_by(tmp_path)
        put_logs_by(tmp_path)
    kept = {folder.name: folder.joinpath("web.log").read_text() for folder in tmp_path.iterdir()}
    assert kept == {
        f"previous-{number}": f"run {KEPT_RUNS + 2 - number}" for number in range(1, KEPT_RUNS + 1)
    }


def test_a_second_run_in_the_same_folder_says_so(newcomer: Newcomer) -> None:
    lock = newcomer.folder / ".local" / "lock"
    lock.parent.mkdir()
    lock.touch()
    newcomer.own(newcomer.folder)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        refusal = checked(newcomer)
    assert refusal.returncode == 1
    assert refusal.stderr == "The service already runs from this folder, as process 4711\n"


def test_a_folder_of_somebody_else_is_one_line(newcomer: Newcomer) -> None:
    newcomer.folder.chmod(0o555)
    refusal = checked(newcomer)
    assert refusal.returncode == 1
    local = newcomer.folder / ".local"
    assert refusal.stderr == f"{local} cannot be used (Permission denied): does it belong to another user?\n"


def test_a_port_in_use_is_one_line(newcomer: Newcomer, broker_server: Broker) -> None:
    port = str(broker_server.port)
    refusal = checked(newcomer, PORT=port)
    assert refusal.returncode == 1
    assert refusal.stderr.startswith(f"Port {port} cannot be used (Address already in use)")
    assert refusal.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_an_invalid_port_is_reported_in_one_line(newcomer: Newcomer, port: str) -> None:
    refusal = checked(newcomer, PORT=port)
    assert refusal.returncode == 1
    assert refusal.stderr == f"PORT must be a number from 1 to 65535, and is {port!r}\n"
