"""Whether every locked package may be used as it is: one list for what is shipped, one for mere tools."""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from requirements.audit.locks import Lock

# Package metadata from before they knew SPDX, as SPDX names it. Which of the BSD licences, most do not say.
_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GPL-3.0": "GPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_CLASSIFIER = "License :: OSI Approved :: "


def faults(shipped: Lock, everything: Lock, rules: Mapping[str, Any]) -> list[str]:
    """One line for every package with a licence that is not on its list, not excepted, or not known."""
    found = []
    for name in sorted(everything):
        use = "shipped" if name in shipped else "tools"
        licence = rules["stated"].get(name, {}).get("licence") or _of_metadata(name)
        if licence is None:
            found.append(f"{name} states no licence, or is not installed here")
        elif rules["exceptions"].get(name, {}).get("licence") != licence and not _allowed(
            licence, set(rules[use]["licences"])
        ):
            found.append(f"{name}, which is {use}, is under {licence}")
    return found


def _of_metadata(name: str) -> str | None:
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return None
    expressions = stated.get_all("License-Expression", ())
    if expressions:
        return expressions[0]
    classifiers = stated.get_all("Classifier", ())
    named = [line.removeprefix(_CLASSIFIER) for line in classifiers if line.startswith(_CLASSIFIER)]
    if named:
        return " AND ".join(_SPDX.get(each, each.replace(" ", "-")) for each in sorted(named))
    text = next(iter(stated.get_all("License", ())), "").partition("\n")[0].strip()
    return _SPDX.get(text, text) or None


def _allowed(expression: str, licences: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied by these licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    allowed = _any_of(tokens, licences)
    return allowed and not tokens


def _any_of(tokens: list[str], licences: set[str]) -> bool:
    allowed = _all_of(tokens, licences)
    while tokens[:1] == ["OR"]:
        del tokens[0]
        allowed = _all_of(tokens, licences) or allowed
    return allowed


def _all_of(tokens: list[str], licences: set[str]) -> bool:
    allowed = _one(tokens, licences)
    while tokens[:1] == ["AND"]:
        del tokens[0]
        allowed = _one(tokens, licences) and allowed
    return allowed


def _one(tokens: list[str], licences: set[str]) -> bool:
    first = tokens.pop(0) if tokens else ""
    if first == "(":
        allowed = _any_of(tokens, licences)
        return bool(tokens) and tokens.pop(0) == ")" and allowed
    return first in licences
