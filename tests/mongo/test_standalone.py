"""A mongod that is no replica set is refused at once, in one line that says what to do."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.config import Settings
from app.mongo.database import connect
from app.services import services_over
from deploy.local.servers import HOST, Mongod, free_port
from deploy.local.stack import ROOT, Stack, procfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

ROLES = ("release", "web", "relay", "worker", "beat")
OPTIONS = ("", "?replicaSet=rs0")


class Standalone(Mongod):
    """A mongod as its package starts it."""

    def _command(self) -> list[str]:
        return [part for part in super()._command() if not part.startswith("--replSet")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one listens."""
    with Standalone(tmp_path_factory.mktemp("standalone")) as server:
        yield server.address


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("role", ROLES)
def test_every_command_refuses_it_in_one_line(
    role: str, options: str, address: str, redis_url: str, tmp_path: Path
) -> None:
    settings = {"AUTH": "off", "MONGO_URI": f"mongodb://{address}/orders{options}", "REDIS_URL": redis_url}
    env = Stack(tmp_path, {**settings, "LOG_LEVEL": "warning"}).env
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {procfile()[role]}"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    # As root, Celery has a warning of its own before.
    assert "Traceback" not in ended.stdout
    line = ended.stdout.splitlines()[-1]
    assert line.removeprefix("Error: ") == (
        f"The MongoDB at {address} is a standalone server, and the service needs a replica set: start mongod "
        "with --replSet rs0, run rs.initiate() once, and add ?replicaSet=rs0 to MONGO_URI."
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_a_running_web_process_is_not_ready_and_says_why(options: str, address: str) -> None:
    uri = f"mongodb://{address}/orders{options}"
    settings = Settings.from_env(
        {"AUTH": "off", "MONGO_URI": uri, "REDIS_URL": f"redis://{HOST}:{free_port()}/0"}
    )
    database = connect(uri)
    with database.client:
        answer = create_app(settings, services_over(database, settings)).test_client().get("/readyz")
    assert answer.status_code == 503
    assert "is a standalone server" in answer.get_json()["checks"]["database"]
    assert os.linesep not in answer.get_json()["checks"]["database"]
