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
    if options.offline:
        print("vulnerabilities: not checked, as asked for by --offline")
        return FOUND if found else CLEAN
    try:
        found += _vulnerabilities(sorted(folder.glob("*.txt")), len(everything), rules["accepted"])
    except advisories.Unreachable as reason:
        print(f"vulnerabilities: NOT CHECKED: {reason}")
        return FOUND if found else NOT_CHECKED
    return FOUND if found else CLEAN


def _vulnerabilities(files: Sequence[Path], number: int, accepted: Mapping[str, str]) -> Sequence[str]:
    faults = []
    for package, version, ids in advisories.lookup(files):
        if named := accepted.keys() & set(ids):
            print(f"  accepted: {package}, {ids[0]}: {accepted[named.pop()]}")
        else:
            faults.append(f"{package} {version}: {', '.join(ids)}")
    return _printed("vulnerabilities", f"{number} packages against {advisories.source()}", faults)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m requirements.audit", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="look nothing up over the network")
    return parser.parse_args(arguments)


def _printed(what: str, checked: str, faults: Sequence[str]) -> Sequence[str]:
    print(f"{what}: {checked}: {f'{len(faults)} found' if faults else 'nothing found'}")
    for fault in faults:
        print(f"  {fault}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
