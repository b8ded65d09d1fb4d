"""Promises: how well the service has kept what it promises, by its logs, deliveries and reconciliations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.clock import Clock
    from app.promises.store import Evidence


@dataclass(frozen=True)
class PromiseServices:
    """The dependencies of the figures."""

    evidence: Evidence
    clock: Clock
