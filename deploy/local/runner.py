"""Runs the whole service on this machine until Ctrl-C: its servers, its four processes, a mailbox.

This is not honcho, since honcho ends the database together with the processes that still write to it, and
cannot wait until a process is ready.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from base64 import b64encode
from contextlib import ExitStack, suppress
from itertools import chain
from secrets import token_bytes, token_urlsafe
from typing import TYPE_CHECKING, NoReturn

from pymongo.errors import PyMongoError

from app.broker import Broker as BrokerState
from app.config import TABLE
from app.mongo.database import connect
from app.waiting import REMINDER, without_credentials
from deploy.local.mailbox import Mailbox
from deploy.local.process import Failed
from deploy.local.servers import Broker, MongoServer
from deploy.local.stack import OF_PROCESSES, ROLES, ROOT, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.local.servers import Server

HOME = ROOT / ".local"
LOGS = HOME / "log"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Receivers of webhooks run on the same machine here.
DEFAULTS = {
    "AUTH": "off",
    "PORT": "3003",
    "LOG_LEVEL": "info",
    "PAYMENT_PROVIDER": "sandbox",
    "PRICES": "client",
    "WEBHOOK_ALLOW_PRIVATE": "true",
}
# Without another issuer, the commands `token` and `quote` issue the tokens and the quotes.
OWN_ISSUERS = {
    "JWT": {"JWT_ISSUER": "local", "JWT_AUDIENCE": "order-service"},
    "QUOTE": {"QUOTE_ISSUER": "local", "QUOTE_AUDIENCE": "order-prices"},
}
OTHER_ISSUERS = ("JWKS_URL", "PUBLIC_KEY")
WATCH_EVERY = 0.3
# The seconds for which the locks of a killed worker last.
PARAMETERS = {"transactionLifetimeLimitSeconds": 5}
KEPT_RUNS = 5

READY = """
The order service is ready.

  address   {url}
  docs      {url}/docs
  mailbox   {mailbox}
  logs      .local/log, with those of the last runs in previous-1 (the latest) to previous-{kept}
  settings  .local/env, for the command line: set -a; . .local/env

A first order, to paste into another terminal:
{token}
  curl -i {url}/orders{authorization} -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d '{{
    "userId": "user-1", "email": "user-1@example.com", "paymentMethod": "sandbox_ok",
    "products": [{{"productId": "coffee", "quantity": 2, "unitPrice": 4.50}}], "totalAmount": 9.00
  }}'

Ctrl-C ends it all; the data stays in .local.
"""
# Shell commands that create a token and send it.
MINT = """
  set -a; . .local/env; set +a
  TOKEN=$(.venv/bin/flask --app wsgi token --sub user-1 --scope 'orders:read orders:write')"""
AUTHORIZATION = ' -H "Authorization: Bearer $TOKEN"'


class Stopped(BaseException):
    """A signal asks the runner to stop."""


def run() -> NoReturn:
    """Runs the service. At the end, everything stops in good order, and no signal interrupts that."""
    put_logs_by(LOGS)
    with ExitStack() as parts:
        try:
            _serve(parts)
        finally:
            _ignore_stops()


def _serve(parts: ExitStack) -> NoReturn:
    settings = {**DEFAULTS, **{name: value for name, value in os.environ.items() if value}}
    if settings["LOG_LEVEL"].lower() != "debug":
        settings["LOG_LEVEL"] = "info"  # the log shows when the processes are ready
    servers: list[Server] = []
    if "MONGO_URI" not in settings:
        _say("Starting MongoDB …")
        mongo = MongoServer(HOME / "mongod", log=LOGS / "mongod.log", parameters=PARAMETERS)
        servers.append(parts.enter_context(mongo))
        settings["MONGO_URI"] = mongo.uri("orders")
    if "REDIS_URL" not in settings:
        _say("Starting the broker …")
        broker = Broker(HOME / "valkey", log=LOGS / "valkey.log")
        servers.append(parts.enter_context(broker))
        settings["REDIS_URL"] = broker.url()
    mailbox = "by your SMTP_URL"
    if "SMTP_URL" not in settings:
        box = Mailbox(HOME / "mail").start()
        parts.callback(box.stop)
        settings["SMTP_URL"] = box.url
        mailbox = ".local/mail"

    if settings["PAYMENT_PROVIDER"].lower() == "sandbox":
        settings.setdefault("TEST_CLOCK", "true")
    settings.setdefault("PERSONAL_INDEX_KEY", "the key of a local run, which anyone can read")
    settings.setdefault("PAYMENT_WEBHOOK_SECRET", f"whsec_{b64encode(token_bytes(24)).decode()}")
    for prefix, own in OWN_ISSUERS.items():
        if not any(f"{prefix}_{name}" in settings for name in OTHER_ISSUERS):
            settings = {**own, f"{prefix}_SECRET": token_urlsafe(32), **settings}

    stack = parts.enter_context(Stack(HOME, settings))
    _say("Migrating …")
    stack.migrate()
    _await_broker(settings["REDIS_URL"])
    if connect(settings["MONGO_URI"])["stock"].find_one() is None:
        stack.run("stock", "flask --app wsgi stock load deploy/local/stock.csv")
    _say("Starting web, relay, worker and beat …")
    for role in ROLES:
        stack.start(role)
    stack.wait_ready()
    _write_down(stack.env)
    _say(_welcome(stack, mailbox))
    _watch(stack, servers)


def _welcome(stack: Stack, mailbox: str) -> str:
    """The welcome text for a new user, with a token only if the command line can create one."""
    needs_token = stack.env["AUTH"].lower() == "jwt" and "JWT_SECRET" in stack.env
    return READY.format(
        url=stack.base_url,
        mailbox=mailbox,
        kept=KEPT_RUNS,
        token=MINT if needs_token else "",
        authorization=AUTHORIZATION if needs_token else "",
    )


def put_logs_by(folder: Path) -> None:
    """Keeps the logs of the last runs, each in its own folder."""
    logs = list(folder.glob("*.log"))
    if not logs:
        return
    shutil.rmtree(folder / f"previous-{KEPT_RUNS}", ignore_errors=True)
    for number in reversed(range(1, KEPT_RUNS)):
        with suppress(FileNotFoundError):
            (folder / f"previous-{number}").rename(folder / f"previous-{number + 1}")
    latest = folder / "previous-1"
    latest.mkdir()
    for log in logs:
        log.rename(latest / log.name)


def _write_down(environment: Mapping[str, str]) -> None:
    """Writes all settings to a file for a shell, so that the command line can reach this service.

    A setting that is unset has its default.
    """
    given = {name: value for name, value in environment.items() if value}
    values = {name.upper(): row.default for name, row in TABLE.items() if row.default} | given
    of_tracing = (name for name in environment if name.startswith("OTEL_"))
    names = [*map(str.upper, TABLE), *OF_PROCESSES, *of_tracing]
    lines = [f"{name}={shlex.quote(values[name])}\n" for name in names if name in values]
    # The settings include secrets, so the file is private before the first byte is written.
    handle = os.open(HOME / "env", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, 0o600)
        file.write("".join(lines))


def _await_broker(url: str) -> None:
    """Returns when the broker answers. Until then, prints at once and regularly that it waits."""
    broker, said_at = BrokerState(url), time.monotonic() - 2 * REMINDER
    while not broker.answers():
        if time.monotonic() - said_at > REMINDER:
            said_at = time.monotonic()
            _say(f"Waiting for the broker, REDIS_URL={without_credentials(url)} …")
        time.sleep(WATCH_EVERY)


def _watch(stack: Stack, servers: Sequence[Server]) -> NoReturn:
    while True:
        time.sleep(WATCH_EVERY)
        for process in chain(stack.processes(), (server.process for server in servers)):
            if not process.running:
                raise Failed(process.obituary())


def _say(text: str) -> None:
    print(text, flush=True)


def _ignore_stops() -> None:
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)


def _stop(signum: int, frame: object) -> NoReturn:
    _ignore_stops()
    _say("\nStopping …")
    raise Stopped


def main() -> None:
    """Runs the service. Exits with 0 after a signal, and with 1 and one line after a failure."""
    for each in STOPS:
        signal.signal(each, _stop)
    try:
        run()
    except Stopped:
        _say("Stopped.")
    except (Failed, PyMongoError) as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
