"""The composition root: the only place that creates the collaborators of the service and connects them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from app.broker import Broker
from app.clock import Clock
from app.config import Settings
from app.diagnosis import DiagnosisServices
from app.diagnosis.store import Candidates
from app.erasure import ErasureServices
from app.erasure.store import PersonalData
from app.feed import FeedServices
from app.feed.cursors_store import FeedCursors
from app.feed.store import Feed
from app.http.access import Caller
from app.migrations import pending
from app.mongo import database as mongodb
from app.mongo.movable_clock import ClockRecord, MovableClock
from app.mongo.server_clock import ServerClock
from app.notifications import NotificationServices
from app.notifications import announce as announcing
from app.notifications.log import LogChannel
from app.notifications.mail.channel import MailChannel, Withhold
from app.notifications.mail_counts_store import MailCounts
from app.notifications.mail_limits import MailLimits
from app.notifications.model import Channel
from app.notifications.store import Notifications
from app.observability.metrics import Metrics
from app.observability.tracing import Tracer
from app.orders import OrderServices
from app.orders.beside_store import CommandKeys
from app.orders.changes_store import OrderChanges
from app.orders.counts_store import OrderCounts
from app.orders.due_store import DueWork
from app.orders.personal_index import PersonalIndex
from app.orders.purged_store import PurgedOrders
from app.orders.search_keys_store import SearchKeys
from app.orders.store import Orders
from app.payments import PaymentServices
from app.payments import steps as payment_steps
from app.payments.event_store import PaymentEvents
from app.payments.model import PaymentProvider
from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from app.promises import PromiseServices
from app.promises.store import Evidence
from app.reconciliation import ReconciliationServices
from app.reconciliation.records_store import Audit
from app.reconciliation.store import Reconciliations
from app.stock import StockServices
from app.stock import steps as stock_steps
from app.stock.load_store import StockLoads
from app.stock.store import Stock
from app.test_clock import TestClockServices
from app.test_clock.store import DueTimes
from app.webhooks import WebhookServices
from app.webhooks.delivery_store import WebhookDeliveries
from app.webhooks.endpoint_store import WebhookEndpoints
from app.webhooks.sender import WebhookSender

if TYPE_CHECKING:
    from app.http.rates import Quota
    from app.http.signed import FindKey
    from app.orders.saving import Effect
    from app.orders.steps import Step

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """The services of each capability, and the collaborators that belong to no capability.

    `probes` has a function for each part of the service that returns its state. `still` keeps the time from
    being moved for the duration of a `with`; `test_clock`, which moves it, is None unless TEST_CLOCK is true.
    `anew` makes the services again, with other collaborators in place of some.
    """

    orders: OrderServices
    payments: PaymentServices
    stock: StockServices
    notifications: NotificationServices
    webhooks: WebhookServices
    feed: FeedServices
    reconciliation: ReconciliationServices
    diagnosis: DiagnosisServices
    promises: PromiseServices
    erasure: ErasureServices
    test_clock: TestClockServices | None
    settings: Settings
    clock: Clock
    still: Callable[[], AbstractContextManager[None]]
    changes: OrderChanges
    counts: OrderCounts
    probes: dict[str, Callable[[], str]]
    broker: Broker
    metrics: Metrics
    tracer: Tracer
    anew: Callable[..., "Services"]

    def states(self) -> dict[str, str]:
        """The state of each part of the service: `ok`, or what is wrong."""
        return {name: probe() for name, probe in self.probes.items()}

    def of(self, owner: str) -> "Services":
        """The same services, limited to the orders, events and webhook endpoints of one user."""
        return replace(
            self,
            orders=self.orders.of(owner),
            diagnosis=self.diagnosis.of(owner),
            feed=self.feed.of(owner),
            webhooks=self.webhooks.of(owner),
        )


def open_services(settings: Settings) -> Services:
    """The services over the servers in the settings. Each server is connected at its first use.

    Call it after a process has forked, never before.
    """
    return services_over(mongodb.connect(settings.mongo_uri), settings)


def services_over(database: mongodb.OrderDatabase, settings: Settings, **others: Any) -> Services:
    """The services over a connected database. They use the database's time.

    `others` take the place of the usual collaborators, by the names that `part` has below. Raises TypeError
    for an unknown name.
    """
    unused = {**others}

    def part(name: str, usual: T) -> T:
        return unused.pop(name, usual)

    metrics: Metrics = part("metrics", Metrics())
    show_skew = partial(metrics.show, "clock_skew_seconds")
    real_clock: Clock = unused.pop("clock", None) or ServerClock(database, show_skew)
    movable = MovableClock(real_clock, ClockRecord(database)) if settings.test_clock else None
    clock: Clock = movable or real_clock
    tracer, broker = part("tracer", _tracer(settings)), part("broker", Broker(settings.redis_url))
    common: Any = {"clock": clock, "metrics": metrics, "tracer": tracer}
    provider = part("payments", _payments(settings, database, clock))
    notices, mail_counts = part("notifications", Notifications(database)), MailCounts(database)
    deliveries = part("webhook_deliveries", WebhookDeliveries(database))
    feed, changes = part("feed", Feed(database)), part("changes", OrderChanges(database))
    effects: dict[Step, Effect] = {}

    index = PersonalIndex(*filter(None, (settings.personal_index_key, settings.personal_index_key_before)))
    orders = OrderServices(
        store=part("orders", Orders(database, index)),
        due_work=part("due_work", DueWork(database)),
        command_keys=CommandKeys(database),
        purged=PurgedOrders(database),
        search_keys=SearchKeys(database, index),
        accepts=provider.accepts,
        effects=effects,
        forget=(notices.purge, deliveries.purge, feed.purge),
        step_deadline=settings.step_deadline,
        order_expiry=settings.order_expiry,
        retention_days=settings.retention_days,
        stock_first=settings.stock_first,
        **common,
    )
    payments = PaymentServices(
        orders=orders,
        provider=provider,
        events=part("payment_events", PaymentEvents(database)),
        clock=clock,
        metrics=metrics,
        retention_days=settings.retention_days,
    )
    stock = StockServices(
        orders=orders,
        store=part("stock", Stock(database)),
        loads=StockLoads(database),
        transact=part("transact", partial(mongodb.transact, database)),
        clock=clock,
        strict=settings.stock_policy == "strict",
    )
    # The effects need the order services, and the order services need the effects.
    effects |= {step: partial(effect, payments) for step, effect in payment_steps.EFFECTS.items()}
    effects |= {step: partial(effect, stock) for step, effect in stock_steps.EFFECTS.items()}
    webhooks = WebhookServices(
        orders=orders,
        endpoints=part("webhook_endpoints", WebhookEndpoints(database)),
        deliveries=deliveries,
        sender=part("webhooks", WebhookSender(allow_private=settings.webhook_allow_private)),
        retention_days=settings.delivery_retention_days,
        real_clock=real_clock,
        **common,
    )
    announcements = NotificationServices(
        orders=orders,
        webhooks=webhooks,
        store=notices,
        mail_counts=mail_counts,
        channels=part("channels", _channels(settings, MailLimits(mail_counts, clock, settings))),
        **common,
    )
    effects |= {step: partial(effect, announcements) for step, effect in announcing.EFFECTS.items()}
    test_clock = None
    if movable:
        test_clock = TestClockServices(
            clock=movable,
            due_times=DueTimes(database),
            orders=orders,
            payments=payments,
            stock=stock,
            notifications=announcements,
            webhooks=webhooks,
        )
    made = Services(
        orders=orders,
        payments=payments,
        stock=stock,
        notifications=announcements,
        webhooks=webhooks,
        feed=FeedServices(orders=orders, store=feed, cursors=FeedCursors(database)),
        reconciliation=ReconciliationServices(
            orders=orders,
            payments=payments,
            webhooks=webhooks,
            feed=feed,
            changes=changes,
            audit=part("audit", Audit(database)),
            reports=part("reconciliations", Reconciliations(database)),
            clock=clock,
            settings=settings,
        ),
        diagnosis=DiagnosisServices(
            orders=orders, candidates=Candidates(database), notifications=notices, deliveries=deliveries
        ),
        promises=PromiseServices(evidence=Evidence(database), clock=clock),
        erasure=ErasureServices(store=PersonalData(database), clock=clock),
        test_clock=test_clock,
        still=movable.still if movable else nullcontext,
        settings=settings,
        changes=changes,
        counts=OrderCounts(database),
        probes=part("probes", _probes(database, broker)),
        broker=broker,
        anew=partial(
            services_over,
            database,
            **{"settings": settings, "broker": broker, **common, "clock": real_clock, **others},
        ),
        **common,
    )
    if unused:
        raise TypeError(f"The services have no {', '.join(unused)}.")
    return made


def _probes(database: mongodb.OrderDatabase, broker: Broker) -> dict[str, Callable[[], str]]:
    return {
        "database": lambda: mongodb.fault_of(database) or "ok",
        "migrations": lambda: "pending" if mongodb.fault_of(database) or pending(database) else "ok",
        "broker": lambda: "ok" if broker.answers() else "unreachable",
    }


def _channels(settings: Settings, withhold: Withhold) -> tuple[Channel, ...]:
    mail = [MailChannel(settings.smtp_url, settings.mail_from, withhold)] if settings.smtp_url else []
    return (*mail, LogChannel())


def _payments(settings: Settings, database: mongodb.OrderDatabase, clock: Clock) -> PaymentProvider:
    secret = settings.payment_webhook_secret
    if settings.payment_provider == "stripe":
        # Imported here, because Stripe's SDK is optional and large.
        from app.payments.stripe.provider import StripeProvider  # noqa: PLC0415

        key, base = settings.stripe_api_key or "", settings.stripe_api_base
        return StripeProvider(key, clock, api_base=base, secret=secret)
    return SandboxProvider(SandboxBooks(database), clock, secret=secret)


def _tracer(settings: Settings) -> Tracer:
    if not settings.tracing:
        return Tracer()
    # Imported here, because OpenTelemetry is optional and large.
    from app.observability.traces import Traces  # noqa: PLC0415

    return Traces()


def caller_of_token(settings: Settings) -> Callable[[str], Caller] | None:
    """The function that returns the caller of a token; None if callers need no token."""
    if settings.auth == "off":
        return None
    # Imported here, so that the workers do not load the cryptography library.
    from app.http import tokens  # noqa: PLC0415

    find_key = _key_finder(settings.jwt_jwks_url, settings.jwt_public_key, settings.jwt_secret)
    return tokens.Tokens(
        find_key, settings.jwt_issuer or "", settings.jwt_audience or "", settings.jwt_leeway
    ).caller


def claims_of_quote(settings: Settings) -> Callable[[str], dict[str, Any]] | None:
    """The function that returns the claims of a quote; None if the settings for quotes are incomplete."""
    sources = settings.quote_jwks_url, settings.quote_public_key, settings.quote_secret
    if not (settings.quote_issuer and settings.quote_audience and any(sources)):
        return None
    # Imported here, so that only a service with quotes loads the cryptography library.
    from app.http.signed import Signed  # noqa: PLC0415

    return Signed(
        _key_finder(*sources),
        settings.quote_issuer,
        settings.quote_audience,
        settings.jwt_leeway,
        ("exp", "iss", "aud"),
        exact=True,
    ).claims


def _key_finder(jwks_url: str | None, public_key: str | None, secret: str | None) -> "FindKey":
    """The function that finds a key by its id, in the one of the three sources that is set."""
    from app import keys  # noqa: PLC0415
    from app.http import issuer  # noqa: PLC0415

    if jwks_url:
        return issuer.IssuerKeys(jwks_url).find
    return keys.only(keys.of_pem(public_key.encode()) if public_key else keys.of_secret(secret or ""))


def rates(settings: Settings) -> "Callable[[Mapping[str, str]], list[Quota]] | None":
    """The function that counts requests for the rate limits; None if no limit is set."""
    limits = {"caller": settings.rate_limit, "address": settings.rate_limit_address}
    given = {name: limit for name, limit in limits.items() if limit}
    if not given:
        return None
    # Imported here, so that only a service with limits loads it.
    from app.http.rates import Rates  # noqa: PLC0415

    return Rates(settings.rate_limit_redis_url or settings.redis_url, given).count
