"""Workers of web are replaced, and whole web processes leave, under load: and no request fails of it."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.servers import HOST, free_port
from tests.end_to_end.service import Load, Service, draft, eventually

if TYPE_CHECKING:
    from deploy.local.process import Process
    from tests.end_to_end.conftest import ProxyStarter, ServiceStarter

# More than nginx keeps an idle connection, as in docs/proxy.md.
SETTINGS = {"WEB_CONCURRENCY": "2", "GRACEFUL_TIMEOUT": "10", "TRUSTED_PROXIES": "1"}


@pytest.fixture
def service(serve: ServiceStarter) -> Service:
    return serve(settings=SETTINGS)


@pytest.fixture(params=["direct", "nginx"])
def client(request: pytest.FixtureRequest, nginx: ProxyStarter, service: Service) -> Service:
    """The service, called straight and through the proxy."""
    if request.param == "nginx":
        put_before(service, nginx(service.stack.port).url)
    return service


def put_before(service: Service, url: str, limits: httpx.Limits | None = None) -> None:
    service.http.close()
    service.http = httpx.Client(base_url=url, timeout=30, limits=limits or httpx.Limits(), trust_env=False)


def is_up(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://{HOST}:{port}/readyz", trust_env=False).status_code == 200
    return False


def children(process: Process) -> set[str]:
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:  # noqa: PTH123
        return set(children.read().split())


def statuses(load: Load) -> Counter[int]:
    return Counter(answer.status for answer in load.answers)


def test_no_request_fails_while_gunicorn_reloads(client: Service) -> None:
    web = client.process("web")
    with Load(client, clients=8, pause=0.01) as load:
        for _ in range(2):
            load.wait_for(50)
            old = children(web)
            web.send(signal.SIGHUP)
            eventually(lambda old=old: children(web) and not children(web) & old)
        load.wait_for(50)
    assert set(statuses(load)) == {201}
    assert len(client.order_ids()) == len(load.answers)


def test_no_request_fails_while_workers_are_recycled(serve: ServiceStarter, nginx: ProxyStarter) -> None:
    recycled = {"GUNICORN_CMD_ARGS": "--max-requests 150 --max-requests-jitter 50"}
    service = serve(settings={**SETTINGS, **recycled}, roles={"web": 1})
    put_before(service, nginx(service.stack.port).url)
    web = service.process("web")
    seen = children(web)
    with Load(service, clients=8, pause=0.01) as load:
        eventually(lambda: seen.update(children(web)) or len(seen) >= 6, 60)
        load.wait_for(50)
    assert set(statuses(load)) == {201}
    assert len(service.order_ids()) == len(load.answers)


def test_an_ending_web_process_still_answers_clients_that_wait_for_their_orders(
    service: Service, nginx: ProxyStarter
) -> None:
    """Of two, one is taken out of the proxy and asked to stop; what it has begun it ends."""
    stays, leaves = service.stack.port, free_port()
    leaving = service.stack.start("web", PORT=str(leaves))
    eventually(lambda: is_up(leaves))
    both = f"server {HOST}:{stays}; server {HOST}:{leaves};"
    proxy = nginx(stays, changes={f"server {HOST}:{stays};": both})
    # Who is connected to a proxy that reloads may be cut off between two requests.
    put_before(service, proxy.url, httpx.Limits(max_keepalive_connections=0))
    with ThreadPoolExecutor(8) as pool, Load(service, clients=8, pause=0.01) as load:
        load.wait_for(50)
        slow = draft(paymentMethod="sandbox_slow")
        waiting = [pool.submit(service.post, slow, Prefer="wait=20") for _ in range(8)]
        eventually(lambda: service.database.orders.count_documents({"payment.method": "sandbox_slow"}) == 8)
        before = children(proxy.process)
        proxy.reload({both: f"server {HOST}:{stays};"})
        eventually(lambda: children(proxy.process) - before)
        load.wait_for(8)
        leaving.send(signal.SIGTERM)
        eventually(lambda: leaving.exit_code == 0, 20)
        load.wait_for(50)
        orders = [one.result(30).json()["order"]["status"] for one in waiting]
    assert orders == ["confirmed"] * 8
    assert set(statuses(load)) == {201}
