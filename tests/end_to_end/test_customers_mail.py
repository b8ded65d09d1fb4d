"""The customer hears of what matters, once each, in a mail box of a real mail server."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    from email.message import EmailMessage

    from deploy.local.mailbox import Mailbox
    from tests.end_to_end.service import Service


def test_the_customer_gets_each_mail_once(service: Service, post_office: Mailbox) -> None:
    """Confirmed, shipped and delivered for one order; confirmed and cancelled for another."""
    service.set_stock("lamp", 2)
    tracking = {"carrier": "DHL", "number": "JD014600003", "url": "https://example.org/JD014600003"}
    sent = service.confirmed(draft("lamp", reference="A-1", email="ada@example.org"))
    ended = service.confirmed(draft("lamp", reference="B-2", email="bob@example.org"))
    short = service.placed(draft("lamp", reference="C-3", email="cat@example.org"))
    eventually(lambda: service.get(short)["status"] == "cancelled")

    assert service.put(sent["id"], {"status": "shipped", "tracking": tracking}).status_code == 200
    assert service.put(sent["id"], {"status": "delivered"}).status_code == 200
    assert service.put(ended["id"], {"status": "cancelled", "reason": "too dark"}).status_code == 200

    expected = [
        ("ada@example.org", f"Order {sent['number']} has been delivered"),
        ("ada@example.org", f"Order {sent['number']} is confirmed"),
        ("ada@example.org", f"Order {sent['number']} is on its way"),
        ("bob@example.org", f"Order {ended['number']} has been cancelled"),
        ("bob@example.org", f"Order {ended['number']} is confirmed"),
        ("cat@example.org", f"Order {service.get(short)['number']} has been cancelled"),
    ]
    ids = [sent["id"], ended["id"], short]
    service.come_to_rest(ids)
    announced = {"orderId": {"$in": ids}, "status": "pending"}
    eventually(lambda: not service.database.notifications.count_documents(announced))
    mails = _mails(post_office)
    assert sorted((mail["To"], mail["Subject"]) for mail in mails) == expected
    assert len({mail["Message-ID"] for mail in mails}) == len(expected)
    for mail in mails:
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert text
        assert html
        assert ("JD014600003" in text.get_content()) == ("on its way" in mail["Subject"])
    assert books.faults(service, ids) == []


def _mails(box: Mailbox) -> list[EmailMessage]:
    return [
        message_from_bytes(mail.read_bytes(), policy=policy.default)  # type: ignore[misc]
        for mail in sorted(box.directory.glob("*.eml"))
    ]
