"""Whether the locks can be trusted: all pinned and hashed, with no place of their own, as asked for."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

Lock = dict[str, Version]

_PIN = re.compile(r"(?m)^([\w.-]+)==([^\s;\\]+)((?:[^\n]*\\\n)*[^\n]*)")
_PLACE = re.compile(r"(?m)^\s*(?:-i|-f|--[a-z-]*index-url|--find-links|--trusted-host|-e)\b.*$|^.*://.*$")
_RECIPE = re.compile(r"\$\(LOCK\) (.*) -o ([\w-]+)\.txt")


def read(folder: Path) -> dict[str, Lock]:
    """Every lock of the folder by its name, each a version by package."""
    return {
        file.stem: {
            canonicalize_name(name): Version(version) for name, version, _ in _PIN.findall(file.read_text())
        }
        for file in sorted(folder.glob("*.txt"))
    }


def wanted(makefile: Path, folder: Path) -> dict[str, list[Requirement]]:
    """The requirements of each lock, by the recipe that makes it."""
    return {
        lock: [
            Requirement(line)
            for name in re.findall(r"(?<!-c )\b[\w-]+\.in\b", sources)
            for line in (folder / name).read_text().splitlines()
            if line.strip() and not line.startswith("#")
        ]
        for sources, lock in _RECIPE.findall(makefile.read_text())
    }


def union(locked: Mapping[str, Lock], names: Iterable[str]) -> Lock:
    """The packages of several locks."""
    return {package: version for name in names for package, version in locked[name].items()}


def faults(
    folder: Path, locked: Mapping[str, Lock], wanted: Mapping[str, Iterable[Requirement]]
) -> list[str]:
    """One line for everything that is wrong."""
    return [
        *(f"{name}.txt has no recipe in the Makefile" for name in locked.keys() - wanted.keys()),
        *(line for name in locked for line in _unsafe(folder / f"{name}.txt")),
        *(line for name in locked for line in _stale(name, locked[name], wanted.get(name, ()))),
        *_at_odds(locked),
    ]


def _unsafe(file: Path) -> Iterable[str]:
    text = file.read_text()
    for place in _PLACE.findall(text):
        yield f"{file.name} names a place to install from: {place.strip()}"
    pins = _PIN.findall(text)
    for name, version, rest in pins:
        if "--hash=sha256:" not in rest:
            yield f"{file.name}: {name} {version} has no hash"
    lines = [line for line in text.splitlines() if re.match(r"[^\s#]", line)]
    if len(lines) != len(pins):
        yield f"{file.name} has lines that are no pins"


def _stale(name: str, lock: Lock, wanted: Iterable[Requirement]) -> Iterable[str]:
    for requirement in wanted:
        version = lock.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{name}.txt is without {requirement.name}: make lock"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{name}.txt has {requirement.name} {version}, not {requirement.specifier}: make lock"


def _at_odds(locked: Mapping[str, Lock]) -> Iterable[str]:
    """A package that is tested in one version and shipped in another."""
    for package in sorted({package for lock in locked.values() for package in lock}):
        versions = {lock[package] for lock in locked.values() if package in lock}
        if len(versions) > 1:
            yield f"{package} is locked in {len(versions)} versions: {', '.join(sorted(map(str, versions)))}"
