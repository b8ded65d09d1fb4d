"""The whole service on this machine until Ctrl-C: the servers it needs, its four processes, a mailbox.

Not honcho: it ends all processes in one moment, the database before those that still write to it, and has no
readiness to wait for.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from base64 import b64encode
from contextlib import ExitStack
from itertools import chain
from secrets import token_bytes
from typing import TYPE_CHECKING, NoReturn

import redis
from pymongo.errors import PyMongoError

from app.storage.database import connect
from deploy.local.mailbox import Mailbox
from deploy.local.process import Failed
from deploy.local.servers import Broker, MongoServer
from deploy.local.stack import ROLES, ROOT, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.local.servers import Server

HOME = ROOT / ".local"
LOGS = HOME / "log"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFAULTS = {"AUTH": "off", "PORT": "3003", "LOG_LEVEL": "info"}
WATCH_EVERY = 0.3
FOR_THE_COMMAND_LINE = ("AUTH", "MONGO_URI", "REDIS_URL", "SMTP_URL", "PAYMENT_WEBHOOK_SECRET")

READY = """
The order service is ready.

  address   {url}
  docs      {url}/docs
  mailbox   {mailbox}
  logs      .local/log
  settings  .local/env, for the command line: set -a; . .local/env

A first order, to paste into another terminal:

  curl -i {url}/orders -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d '{{
    "userId": "user-1", "email": "user-1@example.com", "paymentMethod": "sandbox_ok",
    "products": [{{"productId": "coffee", "quantity": 2, "unitPrice": 4.50}}], "totalAmount": 9.00
  }}'

Ctrl-C ends it all; the data stays in .local.
"""


class Stopped(BaseException):
    """Somebody asked for the end."""


def run() -> NoReturn:
    """Run the service; whatever ends it, what was started ends in good order, and nothing interrupts that."""
    for log in LOGS.glob("*.log"):
        log.unlink()
    with ExitStack() as parts:
        try:
            _serve(parts)
        finally:
            _ignore_stops()


def _serve(parts: ExitStack) -> NoReturn:
    settings = {**DEFAULTS, **{name: value for name, value in os.environ.items() if value}}
    if settings["LOG_LEVEL"].lower() != "debug":
        settings["LOG_LEVEL"] = "info"  # by their log the processes are seen to be ready
    servers: list[Server] = []
    if "MONGO_URI" not in settings:
        _say("Starting MongoDB …")
        mongo = MongoServer(HOME / "mongod", log=LOGS / "mongod.log")
        servers.append(parts.enter_context(mongo))
        settings["MONGO_URI"] = mongo.uri("orders")
    if "REDIS_URL" not in settings:
        _say("Starting the broker …")
        broker = Broker(HOME / "valkey", log=LOGS / "valkey.log")
        servers.append(parts.enter_context(broker))
        settings["REDIS_URL"] = broker.url()
        _drop_leases(broker.url())
    mailbox = "by your SMTP_URL"
    if "SMTP_URL" not in settings:
        box = Mailbox(HOME / "mail").start()
        parts.callback(box.stop)
        settings["SMTP_URL"] = box.url
        mailbox = ".local/mail"

    settings.setdefault("PAYMENT_WEBHOOK_SECRET", f"whsec_{b64encode(token_bytes(24)).decode()}")

    stack = parts.enter_context(Stack(HOME, settings))
    _say("Migrating …")
    stack.migrate()
    if connect(settings["MONGO_URI"])["stock"].find_one() is None:
        stack.run("stock", "flask --app wsgi stock load deploy/local/stock.csv")
    _say("Starting web, relay, worker and beat …")
    for role in ROLES:
        stack.start(role)
    stack.wait_ready()
    _write_down({name: settings[name] for name in FOR_THE_COMMAND_LINE})
    _say(READY.format(url=stack.base_url, mailbox=mailbox))
    _watch(stack, servers)


def _write_down(settings: Mapping[str, str]) -> None:
    """Keep the settings for a shell, from which the command line then reaches this service."""
    place = HOME / "env"
    place.touch(mode=0o600)
    place.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items()))


def _drop_leases(redis_url: str) -> None:
    """Take the leases from a run that was killed; the folder's lock says that it is gone."""
    with redis.Redis.from_url(redis_url) as client:
        for lease in client.scan_iter("lease:*"):
            client.delete(lease)


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
    """Run; exit 0 when told to stop, 1 with one line when a part failed."""
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
