"""Known vulnerabilities of the locked packages: pip-audit looks them up in OSV's service."""

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

# OSV has the advisories of PyPA, of GitHub and others.
SERVICE = "https://api.osv.dev/v1/query"
_SECONDS = 600


class Unreachable(Exception):
    """The vulnerabilities could not be looked up. The message says why."""


class Known(NamedTuple):
    """A package, its locked version, and the ids of one advisory about it, the main one first."""

    package: str
    version: str
    ids: tuple[str, ...]


def lookup(locks: Iterable[Path], url: str = SERVICE) -> list[Known]:
    """The known vulnerabilities of the packages in these lock files. Raises Unreachable."""
    files = [option for lock in locks for option in ("--requirement", str(lock))]
    # Without pip, the files are taken as they are: every package in them is pinned and has its hash.
    how = ["--require-hashes", "--disable-pip", "--vulnerability-service", "osv", "--osv-url", url]
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        *how,
        "--format",
        "json",
        "--progress-spinner",
        "off",
        *files,
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        packages = json.loads(run.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{url} gives no answer within {_SECONDS} seconds") from error
    except (ValueError, KeyError) as error:
        # pip-audit prints no result then, and says why on its last line.
        reason = run.stderr.strip().rpartition("\n")[2] or f"pip-audit ended with {run.returncode}"
        raise Unreachable(f"{url} gives no answer: {reason}") from error
    return [
        Known(package["name"], package["version"], (found["id"], *found.get("aliases", ())))
        for package in packages
        for found in package.get("vulns", ())
    ]


def source(url: str = SERVICE) -> str:
    """The name and the date of the source, for the report."""
    return f"{url} as of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
