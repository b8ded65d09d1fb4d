"""Whether every locked package may be used as it is: one list for what is shipped, one for mere tools."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from license_expression import ExpressionError, Licensing

from requirements.audit.locks import Lock

_LICENSING = Licensing()

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
    try:
        parsed = _LICENSING.parse(expression)
    except ExpressionError:
        return False
    known = {one: _LICENSING.TRUE if one.key in licences else _LICENSING.FALSE for one in parsed.symbols}
    return parsed.subs(known, simplify=True) == _LICENSING.TRUE
