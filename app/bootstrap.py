"""The composition root: the one place that decides what the service is made of."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from app.broker import Broker
from app.clock import Clock
from app.config import Settings
from app.erasure.store import PersonalData
from app.feed.cursors_store import FeedCursors
from app.feed.store import Feed
from app.http.access import Caller
from app.mongo import database as mongodb
from app.mongo.migrations import pending
from app.mongo.server_clock import ServerClock
from app.notifications.log import LogChannel
from app.notifications.mail.channel import MailChannel
from app.notifications.mail_counts_store import MailCounts
from app.notifications.mail_limits import MailLimits
from app.notifications.store import Notifications
from app.observability.metrics import Metrics
from app.observability.tracing import Tracer
from app.orders import public as representation
from app.orders.changes_store import OrderChanges
from app.orders.counts_store import Vitals
from app.orders.due_store import OrderDuties
from app.orders.purged_store import PurgedOrders
from app.orders.store import Orders
from app.payments.event_store import PaymentEvents
from app.payments.model import PaymentProvider
from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from app.reconciliation.records_store import Audit
from app.reconciliation.store import Reconciliations
from app.shop import Shop
from app.stock.load_store import StockLoads
from app.stock.store import Stock
from app.webhooks.delivery_store import WebhookDeliveries
from app.webhooks.endpoint_store import WebhookEndpoints
from app.webhooks.sender import WebhookSender

if TYPE_CHECKING:
    from app.http.rates import Quota


def open_shop(settings: Settings) -> Shop:
    """The service over the servers that the settings name; nothing is connected before its first use.

    To be called after a process has forked, never before.
    """
    return shop_over(mongodb.connect(settings.mongo_uri), settings)


def shop_over(database: mongodb.OrderDatabase, settings: Settings, own_clock: Clock | None = None) -> Shop:
    """The service over a database that is connected already, whose time it uses, or a clock of its own."""
    broker, metrics = Broker(settings.redis_url), Metrics()
    clock = own_clock or ServerClock(database, partial(metrics.show, "clock_skew_seconds"))
    mail_counts = MailCounts(database)
    withhold = MailLimits(mail_counts, clock, settings)
    mail = [MailChannel(settings.smtp_url, settings.mail_from, withhold)] if settings.smtp_url else []
    return Shop(
        settings=settings,
        clock=clock,
        orders=Orders(database),
        duties=OrderDuties(database),
        stock=Stock(database),
        loads=StockLoads(database),
        notifications=Notifications(database),
        mail_counts=mail_counts,
        payments=_payments(settings, database, clock),
        channels=(*mail, LogChannel()),
        changes=OrderChanges(database),
        webhook_endpoints=WebhookEndpoints(database),
        webhook_deliveries=WebhookDeliveries(database),
        webhooks=WebhookSender(allow_private=settings.webhook_allow_private),
        shown=representation.order,
        feed=Feed(database),
        feed_cursors=FeedCursors(database),
        personal_data=PersonalData(database),
        payment_events=PaymentEvents(database),
        purged=PurgedOrders(database),
        audit=Audit(database),
        reconciliations=Reconciliations(database),
        vitals=Vitals(database),
        broker=broker,
        metrics=metrics,
        tracer=_tracer(settings),
        transact=partial(mongodb.transact, database),
        probes={
            "database": lambda: mongodb.fault_of(database) or "ok",
            "migrations": lambda: _migrated(database),
            "broker": lambda: "ok" if broker.answers() else "unreachable",
        },
    )


def _payments(settings: Settings, database: mongodb.OrderDatabase, clock: Clock) -> PaymentProvider:
    secret = settings.payment_webhook_secret
    if settings.payment_provider == "stripe":
        # It is an extra, and of no small size.
        from app.payments.stripe.provider import StripeProvider  # noqa: PLC0415

        key, base = settings.stripe_api_key or "", settings.stripe_api_base
        return StripeProvider(key, clock, api_base=base, secret=secret)
    return SandboxProvider(SandboxBooks(database), clock, secret=secret)


def _tracer(settings: Settings) -> Tracer:
    if not settings.tracing:
        return Tracer()
    # It is an extra, and of no small size.
    from app.observability.traces import Traces  # noqa: PLC0415

    return Traces()


def who_calls(settings: Settings) -> Callable[[str], Caller] | None:
    """What tells a caller by his token; None where nobody is asked for one."""
    if settings.auth == "off":
        return None
    # The workers ask nobody, and are not to carry the cryptography.
    from app.http import issuer, keys, tokens  # noqa: PLC0415

    find_key: tokens.FindKey
    if settings.jwt_jwks_url:
        find_key = issuer.IssuerKeys(settings.jwt_jwks_url).find
    elif settings.jwt_public_key:
        find_key = keys.only(keys.of_pem(settings.jwt_public_key.encode()))
    else:
        find_key = keys.only(keys.of_secret(settings.jwt_secret or ""))
    return tokens.Tokens(
        find_key, settings.jwt_issuer or "", settings.jwt_audience or "", settings.jwt_leeway
    ).caller


def rates(settings: Settings) -> "Callable[[Mapping[str, str]], list[Quota]] | None":
    """What counts requests against the limits; None where there are none."""
    limits = {"caller": settings.rate_limit, "address": settings.rate_limit_address}
    given = {name: limit for name, limit in limits.items() if limit}
    if not given:
        return None
    # Only who sets a limit needs what counts for it.
    from app.http.rates import Rates  # noqa: PLC0415

    return Rates(settings.rate_limit_redis_url or settings.redis_url, given).count


def _migrated(database: mongodb.OrderDatabase) -> str:
    return "pending" if mongodb.fault_of(database) or pending(database) else "ok"
