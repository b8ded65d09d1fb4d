"""Reconciliations during traffic: an order that is only in motion is not a difference."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.stack import ROOT
from tests.end_to_end.service import Load, draft, eventually

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

METHODS = ("sandbox_ok", "sandbox_declined", "sandbox_timeout_once", "sandbox_slow", "sandbox_unavailable")
# Changes to orders, the reconciliations that end meanwhile, and the seconds that they may take.
TURNS, ENOUGH, LONGEST = 240, 5, 50


@pytest.mark.timeout(240)
def test_a_service_under_load_shows_no_difference_however_often_it_is_checked(
    serve: ServiceStarter,
) -> None:
    """Orders are placed, cancelled, refunded and deleted meanwhile. Beat starts one reconciliation after the
    other, and an operator starts more."""
    service = serve(settings={"RECONCILE_EVERY": "2s", "ORDER_EXPIRY": "8s"}, roles=ROLES)
    service.set_stock("scarce", 40)
    service.set_stock("plenty", 100_000)
    with Load(service, clients=3, pause=0.05, product="plenty"):
        _trade(service)
    assert _finished(service) >= ENOUGH
    reports = _reports(service)
    assert all(report["found"] == {} for report in reports), [_differences(service, one) for one in reports]

    ids = service.order_ids()
    service.come_to_rest(ids)
    result = _reconcile(service)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(ids)} orders" in result.stdout


ROLES = {"web": 1, "relay": 1, "worker": 2, "beat": 1}


def _trade(service: Service) -> None:
    """Makes every kind of change to orders, many times and until enough reconciliations have ended."""
    until = time.monotonic() + LONGEST
    for turn in itertools.count():
        product = ("scarce", "plenty", "untracked")[turn % 3]
        order_id = service.placed(draft(product, paymentMethod=METHODS[turn % len(METHODS)]))
        confirmed = service.database.orders.find_one({"status": "confirmed"}, {"_id": 1}, sort=[("_id", -1)])
        match turn % 6:
            case 0:
                service.put(order_id, {"status": "cancelled"})
            case 1 if confirmed:
                service.http.delete(f"/orders/{confirmed['_id']}")
            case 2 if confirmed:
                service.http.post(f"/orders/{confirmed['_id']}/refunds", json={"amount": 1.5})
            case 3 if confirmed:
                service.put(str(confirmed["_id"]), {"status": "cancelled"})
            case 4 if confirmed:
                service.put(str(confirmed["_id"]), {"status": "shipped"})
        if turn == TURNS // 4:
            by_hand = _reconcile(service)
            assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
        if time.monotonic() > until or (turn >= TURNS and _finished(service) >= ENOUGH):
            break


def test_a_reconciliation_that_was_killed_is_continued_by_beat(
    serve: ServiceStarter,
) -> None:
    """Its claim has to expire first. The test removes the claim to save time."""
    service = serve(roles=ROLES)
    service.place_all([draft()] * 3)
    report: Any = {"status": "running", "scheduled": False}
    killed = _started(service)
    eventually(lambda: service.database.reconciliations.find_one(report))
    killed.kill()
    killed.communicate()
    service.database.reconciliations.update_many(
        {"status": "running"},
        {"$set": {"claimedUntil": service.database.orders.find_one()["createdAt"]}},  # type: ignore[index]
    )
    eventually(lambda: all(one["status"] == "finished" for one in _reports(service)))


def _started(service: Service, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "reconcile", *arguments]
    env = {**os.environ, **service.stack.env}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _reconcile(service: Service) -> subprocess.CompletedProcess[str]:
    running = _started(service)
    out, err = running.communicate(timeout=90)
    return subprocess.CompletedProcess("reconcile", running.returncode, out, err)


def _finished(service: Service) -> int:
    return sum(report["status"] == "finished" for report in _reports(service))


def _reports(service: Service) -> list[dict[str, Any]]:
    return list(service.database.reconciliations.find())


def _differences(service: Service, report: dict[str, Any]) -> list[dict[str, Any]]:
    among = {"_id": {"$regex": f"^{report['_id']}:"}, "stands": True}
    return list(service.database.reconciliation_differences.find(among))
