"""Limits the mails to one address and for one caller, so that the shop cannot be abused to flood people with
mails.

The caller is the `userId` of the order. With tokens, a customer cannot order for another user. The shop's
backend orders for many users, and each user has a limit of their own.
"""

from app.clock import Clock
from app.config import Settings
from app.mail_addresses import mailbox
from app.notifications.mail_counts_store import MailCounts
from app.notifications.model import Notification
from app.orders.model import Order

OF_CALLER = "too many mails for this caller within an hour"
TO_ADDRESS = "too many mails to this address within an hour"


class MailLimits:
    """Returns the reason why a mail must not be sent now, or an empty text."""

    def __init__(self, counts: MailCounts, clock: Clock, settings: Settings) -> None:
        self._counts = counts
        self._clock = clock
        self._per_caller = settings.mails_per_caller
        self._per_address = settings.mails_per_address

    def __call__(self, notification: Notification, order: Order) -> str:
        """Counts the mail once. The caller's limit is first, so one caller cannot use up an address's
        limit."""
        now, mail = self._clock(), notification["id"]
        if not self._counts.admit(f"caller {order['userId']}", mail, self._per_caller, now):
            return OF_CALLER
        address = mailbox(order["personal"]["email"])
        if not self._counts.admit(f"address {address}", mail, self._per_address, now):
            return TO_ADDRESS
        return ""
