"""Requests that meet in the same moment: one of them counts, and each answer says so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import at_once, draft

if TYPE_CHECKING:
    from tests.end_to_end.service import Service

POSTS, PUTS = 50, 32


def test_fifty_identical_posts_with_one_key_at_once_make_one_order(service: Service) -> None:
    """All fifty get the same bytes, and all but the first are marked as replays."""
    body = draft(userId="fifty-times", reference="order-50")
    post = partial(service.post, body, Idempotency_Key="the-one-key")

    answers = at_once([post] * POSTS)

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    replays = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert sorted(replays, key=str) == [None] + ["true"] * (POSTS - 1)
    assert service.database.orders.count_documents({"userId": "fifty-times"}) == 1
    order_id = answers[0].json()["order"]["id"]
    service.come_to_rest([order_id])
    late = post()
    assert late.content == answers[0].content
    assert late.headers["Idempotent-Replayed"] == "true"
    assert books.faults(service, [order_id]) == []


def test_of_conflicting_changes_at_once_one_wins_and_never_both_take_effect(service: Service) -> None:
    """Sixteen clients ship and sixteen cancel: the losers get 409, and only the winner has an effect."""
    service.set_stock("wanted-and-not", 6)
    ids = [service.confirmed(draft("wanted-and-not"))["id"] for _ in range(6)]
    for order_id in ids:
        ship = partial(service.put, order_id, {"status": "shipped"})
        cancel = partial(service.put, order_id, {"status": "cancelled"})

        answers = at_once([ship, cancel] * (PUTS // 2))

        shipped, cancelled = ({answer.status_code for answer in answers[side::2]} for side in (0, 1))
        assert sorted((*shipped, *cancelled)) == [200, 409]
        ended = service.event_types(order_id)
        assert ended.count("order.shipped") + ended.count("order.cancelled") == 1
        assert ("order.shipped" in ended) == (shipped == {200})
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert refused.json()["code"] == "illegal_transition"
        assert refused.json()["allowed"] == (["delivered"] if shipped == {200} else [])
    service.come_to_rest(ids)
    assert service.on_hand("wanted-and-not") == service.count(ids, status="cancelled")
    assert books.faults(service, ids) == []


def test_of_changes_to_the_same_version_at_once_one_is_made(service: Service) -> None:
    """With `If-Match` even requests for the same change are refused as late."""
    order = service.confirmed(draft())
    present = f'"v{order["version"]}"'
    changes = [{"status": "shipped"}, {"status": "cancelled", "reason": "changed my mind"}]

    answers = at_once(
        [partial(service.put, order["id"], changes[n % 2], If_Match=present) for n in range(PUTS)]
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * (PUTS - 1)
    service.come_to_rest([order["id"]])
    assert books.faults(service, [order["id"]]) == []
