"""A whole life of the service with every text that must not be published, and with every kind of failure."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.request
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import jwt
from aiosmtpd.smtp import AuthResult
from bson import ObjectId

from deploy.local.mailbox import HOST
from deploy.local.servers import Broker, MongoServer, free_port
from deploy.local.stack import ROLES, Stack
from tests.end_to_end.service import Service, draft, eventually
from tests.support.collector import Collector
from tests.support.payment_events import event, signed
from tests.support.postbox import Postbox, Server
from tests.support.receiver import Receiver, Reply
from tests.support.servers import migrate
from tests.support.tokens import CHECKED, claims

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = "orders:read orders:write orders:admin stock:write webhooks:write reconciliations:read"
KINDS = (
    "email", "name", "street", "metakey", "metadata", "reference", "tracking", "user", "idempotency",
    "jwtsecret", "password", "signing", "apikey", "badtoken", "query", "path", "field", "body", "method",
    "header", "line", "webhookurl", "refused", "kind", "currency", "payment",
)  # fmt: skip
_PAST = datetime(2024, 1, 1, tzinfo=UTC)


def _unique(kind: str) -> str:
    return f"{kind}{uuid.uuid4().hex}"


class Published(NamedTuple):
    """The logs and metrics by the name of the process, and the raw spans."""

    logs: dict[str, str]
    metrics: dict[str, str]
    spans: list[bytes]


class Life:
    """Runs it once; `secrets` are what it was given, by what each is."""

    def __init__(self, directory: Path) -> None:
        self.secrets = {kind: _unique(kind) for kind in KINDS}
        self._directory = directory
        self._ended = contextlib.ExitStack()

    def run(self) -> Published:
        """From the first order to the last failure."""
        self._start()
        self._refuse()
        ended = [self._orders(email) for email in self._emails()]
        self._payment_events(ended[0])
        self._spoil_documents(ended[0])
        self._lose_database()
        time.sleep(1)
        published = Published(self._logs(), self._whole_metrics(), self.collector.raw)
        self.service.stack.close()
        return published._replace(logs=self._logs())

    def _emails(self) -> list[str]:
        """One that is taken, one refused for good, one refused for now, each quoted by the mail server."""
        local = self.secrets["email"]
        self.postbox.replies[f"{local}@refused.example"] = f"550 5.1.1 <{local}@refused.example> unknown"
        self.postbox.replies[f"{local}@later.example"] = f"450 4.2.1 <{local}@later.example> busy"
        return [f"{local}@{host}.example" for host in ("taken", "refused", "later")]

    def _start(self) -> None:
        enter = self._ended.enter_context
        self.mongo = enter(MongoServer(self._directory / "mongod"))
        broker = enter(Broker(self._directory / "valkey"))
        self.collector = enter(Collector())
        self.receiver, self.gone = enter(Receiver()), enter(Receiver())
        self.receiver.replies.append(Reply(500))
        self.gone.reply = Reply(410)
        self.postbox = Postbox()
        smtp = Server(self.postbox, authenticator=self._lets_in, auth_require_tls=False)
        smtp.start()
        self._ended.callback(smtp.stop)
        secrets = self.secrets
        settings = {
            **CHECKED,
            **self.collector.settings,
            "JWT_SECRET": secrets["jwtsecret"],
            "MONGO_URI": self.mongo.uri("life"),
            "REDIS_URL": broker.url(),
            "SMTP_URL": f"smtp+plain://shop:{secrets['password']}@{HOST}:{smtp.port}",
            "PAYMENT_WEBHOOK_SECRET": f"whsec_{b64encode(secrets['signing'].encode()).decode()}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={secrets['apikey']}",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "STEP_DEADLINE": "2s",
        }
        stack = enter(Stack(self._directory / "stack", settings))
        migrate(stack.env)
        self.ports = {role: free_port() for role in ROLES}
        for role in ROLES:
            stack.start(role, METRICS_PORT=str(self.ports[role]))
        stack.wait_ready()
        self.service = enter(contextlib.closing(Service(stack)))
        bearer = jwt.encode(claims(sub=secrets["user"], scope=SCOPES), secrets["jwtsecret"], "HS256")
        self.secrets["bearer"] = bearer.rpartition(".")[2]
        self.service.http.headers["Authorization"] = f"Bearer {bearer}"

    def _lets_in(self, *given: Any) -> AuthResult:
        return AuthResult(success=given[-1].password.decode() == self.secrets["password"])

    def _refuse(self) -> None:
        """Requests that no client should send."""
        http, secrets = self.service.http, self.secrets
        http.get("/orders", headers={"Authorization": f"Bearer {secrets['badtoken']}"})
        http.get("/orders", params={"token": secrets["query"]})
        http.get(f"/{secrets['path']}/orders")
        http.post("/orders", json={"userId": secrets["user"], secrets["field"]: 1})
        http.post("/orders", content=b'{"a": ' + secrets["body"].encode())
        http.post("/orders", json=draft(paymentMethod=secrets["method"]))
        for head in (
            f"GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization Bearer {secrets['header']}\r\n\r\n",
            f"GET /orders?{secrets['line']} HTTP/nonsense\r\n\r\n",
        ):
            with socket.create_connection((HOST, self.service.stack.port), timeout=10) as raw:
                raw.sendall(head.encode())
                raw.recv(4096)
        for receiver in (self.receiver, self.gone):
            url = f"{receiver.url()}&key={secrets['webhookurl']}"
            made = http.post("/webhook-endpoints", json={"url": url}).json()
            self.secrets[f"whsec{receiver.port}"] = made["secret"].removeprefix("whsec_")
            rotated = http.post(f"/webhook-endpoints/{made['id']}/rotate-secret").json()
            self.secrets[f"whsec{receiver.port}b"] = rotated["secret"].removeprefix("whsec_")

    def _orders(self, email: str) -> str:
        """One order from its POST to its delivery."""
        secrets = self.secrets
        body = draft(
            email=email,
            userId=secrets["user"],
            metadata={secrets["metakey"]: secrets["metadata"]},
            reference=secrets["reference"],
            shippingAddress={
                "name": secrets["name"], "line1": secrets["street"], "city": "Berlin", "country": "DE",
            },
        )  # fmt: skip
        answer = self.service.post(body, Idempotency_Key=_unique(secrets["idempotency"]))
        order_id = str(answer.json()["order"]["id"])
        eventually(lambda: self.service.get(order_id)["status"] == "confirmed")
        shipped = {"status": "shipped", "tracking": {"number": secrets["tracking"]}}
        self.service.put(order_id, shipped)
        self.service.put(order_id, {"status": "delivered"})
        self.service.come_to_rest([order_id])
        return order_id

    def _payment_events(self, order_id: str) -> None:
        self.service.placed(draft(userId=self.secrets["user"], paymentMethod="sandbox_timeout_once"))
        secret = f"whsec_{b64encode(self.secrets['signing'].encode()).decode()}"
        for call in (
            signed(event(order_id), secret=secret),
            signed(event(None), secret=secret),
            signed(event("nobodys"), secret=secret),
            signed(event(order_id)),
        ):
            self.secrets.setdefault("signature", call.headers["webhook-signature"].removeprefix("v1,"))
            self.service.http.post("/payment-events/sandbox", content=call.body, headers=call.headers)

    def _spoil_documents(self, order_id: str) -> None:
        """Faults of ours, whose exceptions quote what was to be written or read."""
        database, secrets = self.service.database, self.secrets
        database.command("collMod", "orders", validator={"userId": {"$ne": secrets["refused"]}})
        failed = self.service.post(draft(userId=secrets["refused"], email=f"{secrets['email']}@a.example"))
        assert failed.status_code == 500, failed.text
        spoiled = str(self.service.post(draft(userId=secrets["user"])).json()["order"]["id"])
        eventually(lambda: self.service.get(spoiled)["status"] == "confirmed")
        self.service.come_to_rest([spoiled])
        # A log that leads nowhere, through an event of a type that nobody knows.
        database.command("collMod", "orders", validator={})
        kind = {"$set": {"events.1.type": secrets["kind"], "currency": secrets["currency"]}}
        database.orders.update_one({"_id": ObjectId(spoiled)}, kind)
        self.service.put(spoiled, {"status": "shipped"})
        self.service.http.get(f"/orders/{spoiled}", params={"version": 2})
        # A method of payment that the provider does not know, so that a step fails again and again.
        unpaid = {"status": "pending", "payment.status": "pending", "payment.method": secrets["payment"]}
        database.orders.update_one({"_id": ObjectId(order_id)}, {"$set": {**unpaid, "dueBy": _PAST}})
        eventually(lambda: "step failed" in self._logs()["worker"])

    def _lose_database(self) -> None:
        self.mongo.kill()
        body = draft(userId=self.secrets["user"], email=f"{self.secrets['email']}@b.example")
        self.service.post_all([body] * 3)
        self._metrics()
        self.mongo.start()
        eventually(lambda: self.service.http.get("/readyz").status_code == 200)
        self._orders(f"{self.secrets['email']}@taken.example")
        repeated = ("step_retries_total{", "steps_sent_again_total{", "task_failures_total{")
        eventually(lambda: all(name in self._metrics()["worker"] for name in repeated), timeout=60, pause=1)

    def _logs(self) -> dict[str, str]:
        return {
            role: "".join(one.log.read_text(errors="replace") for one in self.service.stack.processes([role]))
            for role in ROLES
        }

    def _whole_metrics(self) -> dict[str, str]:
        """The metrics, of a web worker that has noticed that the database is back."""
        ends = time.monotonic() + 60
        while 'orders{status="delivered"}' not in (metrics := self._metrics())["web"]:
            assert time.monotonic() < ends, "the state never came back"
            time.sleep(1)
        return metrics

    def _metrics(self) -> dict[str, str]:
        def get(port: int) -> str:
            with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=20) as answer:
                return str(answer.read().decode())

        return {role: get(port) for role, port in self.ports.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()
