"""The configuration of gunicorn: many waiting requests on few workers, and metrics from all workers."""

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

# Longer than a load balancer keeps an idle connection, so that the balancer closes it first.
keepalive = int(os.environ.get("KEEPALIVE") or 75)
timeout = 30
graceful_timeout = int(os.environ.get("GRACEFUL_TIMEOUT") or 25)

sendfile = False  # it would bypass the limits of `Connection`
limit_request_line = 8190
# All fields together may have 64 KiB, see deploy/connections.py.
limit_request_fields = 64
limit_request_field_size = 8190
# The application alone interprets the headers of proxies, by TRUSTED_PROXIES.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# Without such headers nothing depends on it, and gunicorn need not compare every client's address.
forwarded_allow_ips = "*"

accesslog = None  # the application logs each request, with its request id
errorlog = "-"
logger_class = "deploy.log.Log"
loglevel = (os.environ.get("LOG_LEVEL") or "info").lower()
control_socket_disable = True

_MMAP_THRESHOLD = -3

# A worker must open its database connections after the fork. A preloaded application would do so before.
preload_app = False


def on_starting(server: object) -> None:
    """Refuses faulty settings, and gives the workers an empty folder for their counts."""
    # Checked here, since gunicorn would restart a refusing worker again and again.
    from app.config import ConfigError, Settings  # noqa: PLC0415 - not before gunicorn has set the path

    try:
        settings = Settings.from_env()
    except ConfigError as faults:
        sys.exit(str(faults))
    # In a separate process, since the driver's threads would not survive the fork of the workers.
    check = get_context("fork").Process(target=_check_database, args=(settings.mongo_uri,))
    check.start()
    check.join()
    if check.exitcode:
        sys.exit(1)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="order-service-")
    Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)
    _remove_counts()
    # Each connection needs a file descriptor, and many systems allow a process 1,024 by default.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_database(mongo_uri: str) -> None:
    from app.errors import DatabaseUnavailable  # noqa: PLC0415 - not in the master
    from app.mongo.database import NotAReplicaSet, connect, require_replica_set  # noqa: PLC0415
    from app.mongo.locks import warn_of_lasting_locks  # noqa: PLC0415

    try:
        # The database may be back soon. Until then requests get 503.
        with contextlib.suppress(DatabaseUnavailable):
            database = connect(mongo_uri)
            require_replica_set(database)
            warn_of_lasting_locks(database)
    except NotAReplicaSet as fact:
        sys.exit(str(fact))


def post_worker_init(worker: Any) -> None:
    """Sets the limits of a worker and its reserved connections, and logs when the broker is missing."""
    from app import broker  # noqa: PLC0415
    from app.config import Settings  # noqa: PLC0415 - not before gunicorn has set the path

    settings = Settings.from_env()
    broker.watch(settings.redis_url)
    # Enough for a slow body, the longest wait that a client may prefer, and slow reading of the answer.
    worker.request_seconds = int(os.environ.get("REQUEST_TIMEOUT") or 90)
    worker.send_seconds = int(os.environ.get("SEND_TIMEOUT") or 20)
    worker.metrics_port = settings.metrics_port or 0
    path = settings.api_prefix
    worker.rooms = {f"{path}/healthz": 0, f"{path}/readyz": worker.reserve // 2}
    # Large answers get their own memory mapping, which returns to the system instead of fragmenting the heap.
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 128 * 1024)


def child_exit(server: object, worker: Any) -> None:
    """Drops the gauges of an ended worker. Its counters still count."""
    from prometheus_client import multiprocess  # noqa: PLC0415 - only once there is a folder to read

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: object) -> None:
    """Removes the counts and their folder."""
    _remove_counts()
    with contextlib.suppress(OSError):
        Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).rmdir()


def _remove_counts() -> None:
    for counts in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        counts.unlink(missing_ok=True)
