"""The reports of reconciliations over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.reconciliation import run as reconciling
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch, api_database: Database[dict[str, Any]]) -> None:
    """No reports of other tests, and no delay before the re-check, since nothing changes."""
    monkeypatch.setattr(reconciling, "GRACE", 0)
    for name in ("reconciliations", "reconciliation_differences"):
        api_database[name].delete_many({})


def test_a_reconciliation_is_shown_with_its_differences(
    client: FlaskClient, app_services: Services, api_database: Database[dict[str, Any]]
) -> None:
    _wrong_levels(api_database, 3)
    report_id = _reconciled(app_services)
    shown = client.get(f"/reconciliations/{report_id}").get_json()
    assert shown["status"] == "finished"
    assert shown["scopes"] == ["payments", "stock", "orders"]
    assert shown["found"] == {"level_differs": 3}
    assert shown["checked"] == {"orders": 0, "payments": 0, "products": 3}
    assert shown["startedAt"] <= shown["endedAt"]
    assert shown["differences"][0] == {
        "kind": "level_differs",
        "scope": "stock",
        "ids": {"productId": "product/0 & more"},
        "expected": "0, the sum of its movements",
        "found": "5",
        "repair": "Count the shelf: the records do not show which of the two is wrong.",
        "safe": False,
        "repaired": False,
        "at": shown["differences"][0]["at"],
    }


def test_the_differences_are_paged(
    client: FlaskClient, app_services: Services, api_database: Database[dict[str, Any]]
) -> None:
    _wrong_levels(api_database, 5)
    path = f"/reconciliations/{_reconciled(app_services)}?limit=2"
    seen, url = [], path
    while url:
        answer = client.get(url)
        seen += [difference["ids"]["productId"] for difference in answer.get_json()["differences"]]
        cursor = answer.get_json().get("nextCursor")
        assert ("Link" in answer.headers) is bool(cursor)
        url = f"{path}&cursor={cursor}" if cursor else ""
    assert seen == [f"product/{number} & more" for number in range(5)]


def test_reports_are_listed_newest_first_without_their_differences(
    client: FlaskClient, app_services: Services
) -> None:
    ids = [_reconciled(app_services) for _ in range(3)]
    first = client.get("/reconciliations?limit=2").get_json()
    second = client.get(
        "/reconciliations", query_string={"limit": 2, "cursor": first["nextCursor"]}
    ).get_json()
    listed = [*first["reconciliations"], *second["reconciliations"]]
    assert [report["id"] for report in listed] == sorted(ids, reverse=True)
    assert "nextCursor" not in second
    assert not any("differences" in report for report in listed)


def test_orders_not_checked_yet_are_counted_with_the_time_to_run_it_again(
    client: FlaskClient, app_services: Services, post_order: Callable[..., Any]
) -> None:
    before = client.get(f"/reconciliations/{_reconciled(app_services)}").get_json()
    assert before["unjudged"] == 0
    assert "runAgainAfter" not in before
    placed = post_order()
    report = client.get(f"/reconciliations/{_reconciled(app_services)}").get_json()
    assert (report["unjudged"], report["found"]) == (1, {})
    after = datetime.fromisoformat(placed["createdAt"]) + 4 * app_services.settings.step_deadline
    assert datetime.fromisoformat(report["runAgainAfter"]) == after


def test_one_under_way_or_broken_off_says_so(client: FlaskClient, app_services: Services) -> None:
    report_id = reconciling.begin(
        app_services.reconciliation, ["stock"], since=app_services.clock() - timedelta(days=1)
    )["id"]
    running = client.get(f"/reconciliations/{report_id}").get_json()
    assert (running["status"], running["differences"]) == ("running", [])
    assert "endedAt" not in running
    reconciling.break_off(app_services.reconciliation, report_id, "It was interrupted.")
    failed = client.get(f"/reconciliations/{report_id}").get_json()
    assert (failed["status"], failed["detail"]) == ("failed", "It was interrupted.")


@pytest.mark.parametrize("report_id", ["66ffbd20a1b2c3d4e5f60718", "none", "%00", "a" * 200, "Ä"])
def test_a_report_that_does_not_exist_is_not_found(client: FlaskClient, report_id: str) -> None:
    assert client.get(f"/reconciliations/{report_id}").status_code == 404


def test_a_cursor_of_another_listing_is_refused(client: FlaskClient, app_services: Services) -> None:
    _reconciled(app_services)
    report_id = _reconciled(app_services)
    cursor = client.get("/reconciliations?limit=1").get_json()["nextCursor"]
    for path in (f"/reconciliations/{report_id}", "/stock"):
        answer = client.get(path, query_string={"cursor": cursor})
        assert answer.get_json()["code"] == "bad_cursor", path
    assert client.get("/reconciliations?cursor=x").get_json()["code"] == "bad_cursor"
    assert client.get("/reconciliations?limit=0").status_code == 422


def test_only_a_token_with_the_scope_reads_them(make_app: Callable[..., Flask]) -> None:
    client = make_app(**SETTINGS).test_client()
    for path in ("/reconciliations", f"/reconciliations/{'0' * 24}"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer(token(scope="orders:admin"))).status_code == 403
    headers = bearer(token(scope="reconciliations:read"))
    assert client.get("/reconciliations", headers=headers).status_code == 200


def _wrong_levels(api_database: Database[dict[str, Any]], number: int) -> None:
    level = {"onHand": 5, "version": 1, "updatedAt": now()}
    api_database["stock"].insert_many({"_id": f"product/{n} & more", **level} for n in range(number))


def _reconciled(app_services: Services) -> str:
    report_id = reconciling.begin(app_services.reconciliation)["id"]
    while not reconciling.advance(app_services.reconciliation, report_id, 5):
        pass
    return report_id
