"""Where vulnerabilities are looked up: OSV's service, or a dump of it for a machine without a network."""

import json
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from requirements.audit.locks import Lock

SERVICE = "https://api.osv.dev/v1/querybatch"
_SECONDS = 30.0


class Unreachable(Exception):
    """Nothing could be looked up; the message says why."""


class Known(NamedTuple):
    """A package, its locked version, and the id of an advisory that concerns it."""

    package: str
    version: Version
    advisory: str


class Source(Protocol):
    """A source of advisories, with its name and date. Raises Unreachable."""

    def source(self) -> str: ...

    def lookup(self, packages: Lock) -> list[Known]: ...


class Service:
    """OSV's own, which has the advisories of PyPA, of GitHub and others."""

    def __init__(self, url: str = SERVICE) -> None:
        self._url = url

    def source(self) -> str:
        return f"{self._url} as of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"

    def lookup(self, packages: Lock) -> list[Known]:
        asked = [
            {"package": {"ecosystem": "PyPI", "name": name}, "version": str(version)}
            for name, version in packages.items()
        ]
        try:
            answer = httpx.post(self._url, json={"queries": asked}, timeout=_SECONDS).raise_for_status()
            results = answer.json()["results"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise Unreachable(f"{self._url} gives no answer: {error}") from error
        return [
            Known(name, version, found["id"])
            for (name, version), result in zip(packages.items(), results, strict=True)
            for found in result.get("vulns", ())
        ]


class Dump:
    """OSV's dump of all advisories for PyPI: a ZIP file with a JSON file for each."""

    def __init__(self, file: Path) -> None:
        try:
            with zipfile.ZipFile(file) as dump:
                self._all = [
                    json.loads(dump.read(name)) for name in dump.namelist() if name.endswith(".json")
                ]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise Unreachable(f"{file} cannot be read: {error}") from error
        if not self._all:
            raise Unreachable(f"{file} holds no advisory")
        self._told = f"{len(self._all):,} advisories in {file}"

    def source(self) -> str:
        newest = max(advisory["modified"] for advisory in self._all)
        return f"{self._told}, the newest of {newest[:10]}"

    def lookup(self, packages: Lock) -> list[Known]:
        return sorted(
            {
                Known(name, packages[name], advisory["id"])
                for advisory in self._all
                if "withdrawn" not in advisory
                for affected in advisory.get("affected", ())
                if affected.get("package", {}).get("ecosystem") == "PyPI"
                and (name := canonicalize_name(affected["package"]["name"])) in packages
                and _is_affected(packages[name], affected)
            }
        )


def _is_affected(version: Version, affected: dict[str, Any]) -> bool:
    if str(version) in affected.get("versions", ()):
        return True
    ranges = (each["events"] for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM")
    return any(_is_within(version, events) for events in ranges)


def _is_within(version: Version, events: Iterable[dict[str, str]]) -> bool:
    """Whether the last that happened up to this version is that the fault came in."""
    within = False
    for event in events:
        kind, text = next(iter(event.items()))
        try:
            at = Version("0" if text == "0" else text)
        except InvalidVersion:
            continue
        if kind == "introduced":
            within = within or version >= at
        elif kind == "fixed":
            within = within and version < at
        elif kind == "last_affected":
            within = within and version <= at
    return within
