"""HTTP load by wrk, which takes so little of a small machine that the rest is the server's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import fairness
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT = Path(__file__).with_name("orders.lua")


class Load(NamedTuple):
    """What one run of wrk saw; latencies in milliseconds. `body` is that of one of the orders it posted."""

    rate: float
    p50: float
    p99: float
    requests: int
    body: dict[str, Any]


def post_orders(
    url: str, run: str, connections: int, seconds: float, tokens: Path | None = None, method: str = ""
) -> Load:
    """Post distinct orders for that long, with the tokens in a file and a payment method if given."""
    return _drive(f"{url}/orders", connections, seconds, ["post", run, f"{tokens or ''}", method])


def get_paths(url: str, paths: Iterable[str], connections: int, seconds: float, scratch: Path) -> Load:
    """Read the paths in turn for that long."""
    scratch.write_text("".join(f"{path}\n" for path in paths))
    return _drive(url, connections, seconds, ["get", str(scratch)])


def _drive(url: str, connections: int, seconds: float, arguments: list[str]) -> Load:
    """Run wrk on one thread."""
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
    if ended.returncode:
        raise Failed(f"wrk failed on {url}: {(ended.stderr or ended.stdout).strip()}")
    return read(url, ended.stdout)


def read(url: str, output: str) -> Load:
    """What wrk printed. Raises Failed at the first answer that is not a success, or none."""
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise Failed(f"wrk failed on {url}: {output.strip()}")
    seen = json.loads(line)
    fairness.refuse(url, fairness.errors(seen["refused"], seen["failed"]))
    if not seen["requests"]:
        raise Failed(f"{url} answered no request")
    return Load(seen["requests"] / seen["seconds"], seen["p50"], seen["p99"], seen["requests"], seen["body"])
