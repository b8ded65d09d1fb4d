"""Uses a copy of the service whose orders have two more fields, and prints what it sees as JSON.

The fields are `giftNote`, which an event can change, and `gateCode`, which is personal.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bson import ObjectId
from pymongo.errors import WriteError

from app import create_app
from app.config import Settings
from app.feed.service import catch_up
from app.mongo.database import connect
from app.orders.model import Change, advance, digest_of
from app.services import services_over

ORDER = {
    "userId": "eve",
    "products": [{"productId": "pear", "quantity": 2}],
    "totalAmount": 12.50,
    "giftNote": "For Eve",
    "gateCode": "4711",
}


class Program:
    """The web application, its commands and its database, over one order."""

    def __init__(self) -> None:
        settings = Settings.from_env()
        self.database = connect(settings.mongo_uri)
        self.services = services_over(self.database, settings)
        app = create_app(settings, self.services)
        self.client = app.test_client()
        self.runner = app.test_cli_runner()

    def run(self) -> dict[str, Any]:
        """Uses the fields in every part of the service, and returns the results."""
        upgraded = self.command("db", "upgrade")
        assert upgraded.endswith("The database is up to date.\n"), upgraded
        seen: dict[str, Any] = {"described": self.get("/openapi.json")["components"]["schemas"]}
        seen["refused"] = [self.post(giftNote="x" * 21), self.post(gateCode="x" * 9), self.post(giftNote=4)]
        placed = self.client.post("/orders", json=ORDER)
        assert placed.status_code == 201, placed.text
        self.order_id = placed.get_json()["order"]["id"]
        seen["placed"] = placed.get_json()["order"]
        seen["shown"] = self.shown()
        seen["stored"] = self.stored("giftNote", "personal")
        seen["logged"] = self.document()["events"][0]["data"]
        seen["digest"] = digest_of(self.document()["personal"])
        seen["wrong types"] = [self.write(giftNote=4), self.write(**{"personal.gateCode": 4})]
        seen["changed"] = [self.change("Happy birthday"), self.change("Too late")]
        seen["printed"] = self.command("orders", "show", self.order_id)
        seen["found in order"] = self.command("reconcile", "orders")
        self.alter(giftNote="Forged", **{"personal.gateCode": "0815"})
        seen["found altered"] = self.command("reconcile", "orders")
        self.alter(giftNote="Happy birthday", **{"personal.gateCode": "4711"})
        seen["erasure"] = self.command("erase-customer", "--help")
        self.command("erase-customer", "eve", "--yes")
        seen["shown erased"] = self.shown()
        seen["stored erased"] = self.stored("personal")
        seen["verified erased"] = self.get(f"/orders/{self.order_id}/events/verify")
        return seen

    def get(self, path: str) -> Any:
        """The answer."""
        return self.client.get(path).get_json()

    def post(self, **fields: Any) -> list[Any]:
        """The status and the problem of an order with these fields."""
        answer = self.client.post("/orders", json={**ORDER, **fields})
        return [answer.status_code, answer.get_json()]

    def command(self, *args: str) -> str:
        """The output of the command."""
        return self.runner.invoke(args=args).output

    def document(self) -> Any:
        """The order as it is stored."""
        return self.database["orders"].find_one({"_id": ObjectId(self.order_id)})

    def stored(self, *names: str) -> dict[str, Any]:
        """These fields of the document."""
        return {name: value for name, value in self.document().items() if name in names}

    def shown(self) -> dict[str, Any]:
        """The order by every road on which a client reads it."""
        assert catch_up(self.services.feed, lambda: False)
        return {
            "order": self.get(f"/orders/{self.order_id}"),
            "first version": self.get(f"/orders/{self.order_id}?version=1"),
            "list": self.get("/orders")["orders"][0],
            "first event": self.get(f"/orders/{self.order_id}/events")["events"][0]["data"],
            "feed": self.get("/events")["events"][-1]["data"]["order"],
        }

    def write(self, **fields: Any) -> bool:
        """Whether the database takes these values."""
        try:
            self.database["orders"].update_one({"_id": ObjectId(self.order_id)}, {"$set": fields})
        except WriteError:
            return False
        return True

    def alter(self, **fields: Any) -> None:
        """Changes the document behind the service's back."""
        assert self.write(**fields)

    def change(self, note: str) -> list[Any]:
        """Whether a change made of the order's first version is written, and the note in the document."""
        orders = self.services.orders
        order = orders.store.with_tail(self.order_id)
        assert order
        if not hasattr(self, "first"):
            self.first = order
        event = Change("order.confirmed", {"giftNote": note})
        after = advance(self.first, self.services.clock(), "system", [event])
        written = orders.store.append(self.first, after, orders.due_by())
        return [written, self.document()["giftNote"]]


if __name__ == "__main__":
    json.dump(Program().run(), sys.stdout, default=str)
