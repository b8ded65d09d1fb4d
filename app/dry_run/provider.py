"""A payment provider that does as asked, and moves no money."""

from collections.abc import Sequence

from app.payments.model import Charge, Outcome, Outcomes, Repayment


class ObligingProvider:
    """Implements the calls that the steps make. Every call succeeds at once."""

    def authorize(self, charges: Sequence[Charge]) -> Outcomes:
        """Reserves all the money."""
        return _each("authorized", charges)

    def capture(self, charges: Sequence[Charge]) -> Outcomes:
        """Takes all the money that is due."""
        yield {
            charge.order_id: Outcome("captured", charge.reference or "", captured=charge.due)
            for charge in charges
        }

    def void(self, charges: Sequence[Charge]) -> Outcomes:
        """Closes all payments."""
        return _each("voided", charges)

    def refund(self, repayments: Sequence[Repayment]) -> Outcomes:
        """Makes all refunds."""
        yield {repayment.refund_id: Outcome("refunded") for repayment in repayments}


def _each(status: str, charges: Sequence[Charge]) -> Outcomes:
    yield {charge.order_id: Outcome(status, charge.reference or "") for charge in charges}
