"""`python -m benchmarks [name ...]`: runs the benchmarks named, or all, and prints their figures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import readme, targets
from benchmarks.contest import posts, reads
from benchmarks.costs import costs
from benchmarks.figures import as_json, table
from benchmarks.guards import guards
from benchmarks.latency import latency
from benchmarks.lists import lists
from benchmarks.machine import described
from benchmarks.memory import memory
from benchmarks.plan import QUICK, Plan
from benchmarks.reconcile import reconcile
from benchmarks.relay import relay
from benchmarks.stage import install_rivals, open_stage
from benchmarks.webhooks import webhooks
from benchmarks.whole import whole
from deploy.local.process import Failed
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figures import Figure
    from benchmarks.stage import Stage

BENCHMARKS: dict[str, Callable[[Stage, Plan], Iterator[Figure]]] = {
    "posts": posts,
    "reads": reads,
    "whole": whole,
    "latency": latency,
    "guards": guards,
    "reconcile": reconcile,
    "memory": memory,
    "lists": lists,
    "webhooks": webhooks,
    "costs": costs,
    "relay": relay,
}
SIZES = ("rounds", "seconds", "sustained", "orders", "books")
FOLDER = ROOT / ".local/benchmarks"


def main() -> int:
    """Run what is asked for; 1 with one line on stderr where a part is missing or answers wrongly."""
    options = _options()
    plan = _plan(options)
    try:
        if plan.rivals:
            install_rivals()
        with open_stage(FOLDER) as stage:
            machine = described(stage)
            figures = [figure for name in options.names for figure in BENCHMARKS[name](stage, plan)]
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    judged = list(targets.verdicts(figures))
    written = readme.table(figures, plan, datetime.now(UTC).date()) if options.markdown else table(figures)
    head = ", ".join(f"{key} {value}" for key, value in machine.items())
    if options.quick:
        head += "\nA quick run shows that all works. Its figures mean nothing."
    print("\n".join([head, "", *written, "", *targets.sentences(judged)]))
    if options.json:
        result = {"machine": machine, "figures": as_json(figures), "targets": targets.as_json(judged)}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="one short round of each, to see that all works")
    parser.add_argument("--alone", action="store_true", help="leave out the rivals, and with them Node.js")
    parser.add_argument("--rounds", type=int, help="how often each takes its turn")
    parser.add_argument("--seconds", type=float, help="of load per turn")
    parser.add_argument("--sustained", type=float, metavar="SECONDS", help="the same for the whole job")
    parser.add_argument(
        "--orders",
        type=int,
        help="how many to list among; the README has 1000000, which takes long",
    )
    parser.add_argument("--books", type=int, metavar="ORDERS", help="how many to reconcile")
    parser.add_argument("--markdown", action="store_true", help="print the table as the README has it")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the figures, with every round, here"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    options.names = options.names or list(BENCHMARKS)
    return options


def _plan(options: argparse.Namespace) -> Plan:
    asked = {name: getattr(options, name) for name in SIZES}
    chosen = {**(QUICK if options.quick else {}), **{name: value for name, value in asked.items() if value}}
    if options.alone:
        chosen["rivals"] = ()
    return dataclasses.replace(Plan(), **chosen)


if __name__ == "__main__":
    sys.exit(main())
