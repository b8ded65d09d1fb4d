"""Orders that there is enough stock for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.holding import LINES, ON_HAND, hold

if TYPE_CHECKING:
    from app.services import Services
    from tests.support.service_fixtures import Place, SetStock


@pytest.fixture
def order_id(place: Place, stocked: SetStock) -> str:
    """An order that there is enough stock for."""
    stocked(**ON_HAND)
    return place(**LINES)["id"]


@pytest.fixture
def held_id(services: Services, order_id: str) -> str:
    """The same, held."""
    hold(services, order_id)
    return order_id
