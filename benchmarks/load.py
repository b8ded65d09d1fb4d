"""HTTP load by wrk, which takes so little of a small machine that the rest is the server's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT = Path(__file__).with_name("orders.lua")


class Load(NamedTuple):
    """What one run of wrk saw; latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    requests: int


def post_orders(url: str, run: str, connections: int, seconds: float, token: str = "") -> Load:
    """Post distinct orders for that long, with the token if there is one."""
    return _drive(f"{url}/orders", connections, seconds, ["post", run, *([token] if token else [])])


def get_paths(url: str, paths: Iterable[str], connections: int, seconds: float, scratch: Path) -> Load:
    """Read the paths in turn for that long."""
    scratch.write_text("".join(f"{path}\n" for path in paths))
    return _drive(url, connections, seconds, ["get", str(scratch)])


def _drive(url: str, connections: int, seconds: float, arguments: list[str]) -> Load:
    """Run wrk on one thread; Failed at the first answer that is not a success, or none."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Failed("wrk is missing: apt-get install wrk (Debian, Ubuntu) or brew install wrk (macOS)")
    command = [
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout=30s",
        f"-s{SCRIPT}",
        url,
        "--",
    ]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    line = next((line for line in ended.stdout.splitlines() if line.startswith("{")), None)
    if ended.returncode or line is None:
        raise Failed(f"wrk failed on {url}: {(ended.stderr or ended.stdout).strip()}")
    seen = json.loads(line)
    if seen["refused"] or seen["failed"] or not seen["requests"]:
        raise Failed(f"{url} did not answer every request with success: {seen}")
    return Load(seen["requests"] / seen["seconds"], seen["p50"], seen["p99"], seen["requests"])
