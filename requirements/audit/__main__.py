"""`python -m requirements.audit`: says what was checked against what, and exits with what came of it.

0: nothing found. 1: something was. 3: nothing was, but vulnerabilities could not be looked up.
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from requirements.audit import advisories, licences, locks

FOLDER = Path(__file__).resolve().parents[1]
RULES = Path(__file__).with_name("rules.toml")
CLEAN, FOUND, NOT_CHECKED = 0, 1, 3


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Checks the locks of a folder; every finding is a line on stdout."""
    options = _options(arguments)
    rules = tomllib.loads(RULES.read_text())
    locked = locks.read(folder)
    wanted = locks.wanted(folder.parent / "Makefile", folder)
    everything = locks.union(locked, locked)
    shipped = locks.union(locked, locked.keys() - set(rules["tools"]["locks"]))
    found = [
        *_printed("locks", f"{', '.join(sorted(locked))}", locks.faults(folder, locked, wanted)),
        *_printed(
            "licences",
            f"{len(shipped)} packages shipped, {len(everything) - len(shipped)} tools, by their metadata",
            licences.faults(shipped, everything, rules),
        ),
    ]
    for name, exception in rules["exceptions"].items():
        print(f"  excepted: {name}, {exception['licence']}: {exception['why']}")
    try:
        found += _vulnerabilities(_source(options), everything, rules["accepted"])
    except advisories.Unreachable as reason:
        print(f"vulnerabilities: NOT CHECKED: {reason}")
        return FOUND if found else NOT_CHECKED
    return FOUND if found else CLEAN


def _vulnerabilities(
    source: advisories.Source | None, packages: locks.Lock, accepted: Mapping[str, str]
) -> Sequence[str]:
    if source is None:
        print("vulnerabilities: not checked, as asked for by --offline")
        return ()
    known = source.lookup(packages)
    for each in known:
        if each.advisory in accepted:
            print(f"  accepted: {each.package}, {each.advisory}: {accepted[each.advisory]}")
    faults = [f"{name} {version}: {id_}" for name, version, id_ in known if id_ not in accepted]
    return _printed("vulnerabilities", f"{len(packages)} packages against {source.source()}", faults)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m requirements.audit", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="look nothing up over the network")
    parser.add_argument(
        "--advisories",
        type=Path,
        metavar="ZIP",
        help="look vulnerabilities up in this dump of OSV's for PyPI",
    )
    return parser.parse_args(arguments)


def _source(options: argparse.Namespace) -> advisories.Source | None:
    if options.advisories:
        return advisories.Dump(options.advisories)
    return None if options.offline else advisories.Service()


def _printed(what: str, checked: str, faults: Sequence[str]) -> Sequence[str]:
    print(f"{what}: {checked}: {f'{len(faults)} found' if faults else 'nothing found'}")
    for fault in faults:
        print(f"  {fault}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
