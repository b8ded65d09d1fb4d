"""How gunicorn serves the web process: many waiting requests on few workers, metrics from all of them."""

import contextlib
import ctypes
import os
import resource
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

_ports = [os.environ.get("PORT") or "3003", *filter(None, [os.environ.get("METRICS_PORT")])]
bind = [f"{os.environ.get('BIND_ADDRESS', '0.0.0.0')}:{port}" for port in _ports]  # noqa: S104 - in a container
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "deploy.worker.Worker"
worker_connections = 1000
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - heartbeats, not on a disk
backlog = 2048

# Longer than a load balancer keeps an idle connection, so that the balancer is the one who closes it.
keepalive = int(os.environ.get("KEEPALIVE") or 75)
timeout = 30
graceful_timeout = int(os.environ.get("GRACEFUL_TIMEOUT") or 25)

sendfile = False  # it would pass the connection's own limits by
limit_request_line = 8190
# All of them together may have 64 KiB, see deploy/connections.py.
limit_request_fields = 64
limit_request_field_size = 8190
# What proxies forward is for the application alone to believe, by TRUSTED_PROXIES.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

accesslog = None  # the application logs each request, with its request id
errorlog = "-"
logger_class = "deploy.log.Log"
loglevel = (os.environ.get("LOG_LEVEL") or "info").lower()
control_socket_disable = True

_MMAP_THRESHOLD = -3

# A worker opens its database connections after the fork, which a preloaded application could not.
preload_app = False


def on_starting(server: object) -> None:
    """Refuse to start unconfigured; give the workers a folder with no counts of old to count in."""
    # Here, since gunicorn would start a worker that refuses again and again.
    from app.config import ConfigError, Settings  # noqa: PLC0415 - not before gunicorn has set the path

    try:
        settings = Settings.from_env()
    except ConfigError as faults:
        sys.exit(str(faults))
    # In a process of its own: the driver's threads would not survive the fork of the workers.
    check = get_context("fork").Process(target=_check_database, args=(settings.mongo_uri,))
    check.start()
    check.join()
    if check.exitcode:
        sys.exit(1)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="order-service-")
    Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)
    _remove_counts()
    # A connection needs a file descriptor, and many systems start processes with 1,024 of them.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_database(mongo_uri: str) -> None:
    from app.errors import DatabaseUnavailable  # noqa: PLC0415 - not in the master
    from app.mongo.database import NotAReplicaSet, connect, require_replica_set  # noqa: PLC0415
    from app.mongo.locks import warn_of_lasting_locks  # noqa: PLC0415

    try:
        # A database that is away may be there soon; until then requests get 503.
        with contextlib.suppress(DatabaseUnavailable):
            database = connect(mongo_uri)
            require_replica_set(database)
            warn_of_lasting_locks(database)
    except NotAReplicaSet as fact:
        sys.exit(str(fact))


def post_worker_init(worker: Any) -> None:
    """Set what clients may take and which paths are always answered, and say when the broker is missing."""
    from app import broker  # noqa: PLC0415
    from app.config import Settings  # noqa: PLC0415 - not before gunicorn has set the path

    settings = Settings.from_env()
    broker.watch(settings.redis_url)
    # Enough for a slow body, the longest wait that a client may prefer, and an answer that is read slowly.
    worker.request_seconds = int(os.environ.get("REQUEST_TIMEOUT") or 90)
    worker.send_seconds = int(os.environ.get("SEND_TIMEOUT") or 20)
    worker.metrics_port = settings.metrics_port or 0
    path = settings.api_prefix
    worker.rooms = {f"{path}/healthz": 0, f"{path}/readyz": worker.reserve // 2}
    # Large answers come from and go back to the system, instead of leaving holes in the heap.
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 128 * 1024)


def child_exit(server: object, worker: Any) -> None:
    """Drop the gauges of a worker that is gone; its counters still count."""
    from prometheus_client import multiprocess  # noqa: PLC0415 - only once there is a folder to read

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: object) -> None:
    """Leave neither counts nor an empty folder behind."""
    _remove_counts()
    with contextlib.suppress(OSError):
        Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).rmdir()


def _remove_counts() -> None:
    for counts in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        counts.unlink(missing_ok=True)
