"""A payment provider that gives no money back, and works again later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.payments.sandbox.provider import SandboxProvider
from app.payments.sandbox.store import SandboxBooks
from tests.support.doubles import with_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.mongo.database import OrderDatabase
    from app.payments.model import Outcomes, Repayment
    from app.services import Services

# The method of which no refund succeeds, until the provider has recovered.
NEVER = "sandbox_refund_fails"


class _Recovered(SandboxProvider):
    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """As for any good card."""
        return super().refund([one._replace(charge=one.charge._replace(method=None)) for one in repayments])


def recovered_services(services: Services, database: OrderDatabase) -> Services:
    """The services once the provider takes every refund."""
    return with_parts(services, payments=_Recovered(SandboxBooks(database), services.clock))
