"""Erasure: deletes a customer's personal data for good, while the logs can still be verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.erasure.store import PersonalData


@dataclass(frozen=True)
class ErasureServices:
    """The collaborators of the erasure functions."""

    store: PersonalData
    clock: Clock
