"""Erasure: what is known about a customer becomes unreadable, and the logs still verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.erasure.store import PersonalData


@dataclass(frozen=True)
class ErasureServices:
    """What erasure needs."""

    store: PersonalData
    clock: Clock
