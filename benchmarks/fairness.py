"""What must be the same for every contender. A benchmark ends with a sentence where it is not.

Each check takes plain data and returns the complaint, or nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Writes = dict[str, Any]
# The parts that share their work among processes. The others have one process each.
SHARED = ("web", "worker", "fastify", "express", "bullmq-worker")


def refuse(name: str, complaint: str) -> None:
    """Raises Failed with the complaint, if there is one."""
    if complaint:
        raise Failed(f"This comparison would be unfair: {name} {complaint}")


def other_processes(children: Mapping[str, int], processes: int) -> str:
    """The parts that share their work must all do so among as many processes."""
    wrong = {part: count for part, count in children.items() if part in SHARED and count != processes}
    shown = ", ".join(f"{count} processes of {part}" for part, count in wrong.items())
    return f"runs {shown} instead of {processes}" if wrong else ""


def not_warm(requests: int, least: int) -> str:
    """A contender must have answered requests of the same kind before the clock starts."""
    return f"answered {requests:,} requests to warm up, and not {least:,}" if requests < least else ""


def left_over(orders: int, finished: int) -> str:
    """Nothing of the warm-up may still be under way when the clock starts, and nothing at its end."""
    return f"has finished {finished:,} of its {orders:,} orders" if finished != orders else ""


def weaker_writes(before: Writes, after: Writes) -> str:
    """Every write must wait for a majority, which the journal is part of."""
    for kind in ("insert", "update", "delete"):
        had, has = before[kind]["wnum"], after[kind]["wnum"]
        for concern, count in has.items():
            if more := count - had.get(concern, 0):
                return f"made {more:,} writes ({kind}) with write concern {concern} instead of majority"
    return ""


def errors(refused: int, failed: int, failed_jobs: int = 0) -> str:
    """Requests and jobs must all succeed."""
    counts = {"requests refused": refused, "requests without an answer": failed, "jobs failed": failed_jobs}
    wrong = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"has {wrong}" if wrong else ""


def not_stored(requests: int, stored: int) -> str:
    """Every order with a 201 must be in the database."""
    return f"answered 201 to {requests:,} orders and stored {stored:,}" if stored < requests else ""


def another_order(sent: Mapping[str, Any], stored: Mapping[str, Any] | None) -> str:
    """The stored order must be the one that was sent."""
    fields = ("userId", "products")
    if stored and all(stored[field] == sent[field] for field in fields):
        return ""
    return f"stored another order than the one that was sent: {stored}"


def other_bodies(bytes_by_name: Mapping[str, int]) -> str:
    """The bodies of all contenders must be equally long."""
    sizes = set(bytes_by_name.values())
    return f"were sent bodies of different lengths: {dict(bytes_by_name)}" if len(sizes) > 1 else ""


def not_as_locked(folder: Path) -> str:
    """The packages in node_modules must be those of package-lock.json, with the same hashes."""
    installed_list = folder / "node_modules/.package-lock.json"
    if not installed_list.exists():
        return "have no packages installed"
    locked, installed = (
        json.loads(path.read_text())["packages"] for path in (folder / "package-lock.json", installed_list)
    )
    for path in {path for path, package in locked.items() if path and not package.get("optional")} | set(
        installed
    ):
        manifest = folder / path / "package.json"
        version = json.loads(manifest.read_text())["version"] if manifest.exists() else None
        wanted, recorded = locked.get(path, {}), installed.get(path, {})
        if version != wanted.get("version") or recorded.get("integrity") != wanted.get("integrity"):
            return f"have {path} {version} installed, and the lock has {wanted.get('version')}"
    return ""
