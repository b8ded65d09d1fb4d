"""The audit finds what is wrong with locks, licences and versions, and says so when it could not look."""

from __future__ import annotations

import json
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from deploy.local.stack import ROOT
from requirements.audit import advisories, licences, locks
from requirements.audit.__main__ import CLEAN, FOUND, NOT_CHECKED, RULES, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASH = f"--hash=sha256:{'0' * 64}"
GOOD = f"# made by make lock\nflask==3.1.2 \\\n    {HASH}\n    # via -r runtime.in\n"
MAKEFILE = "lock:\n\tcd requirements && $(LOCK) runtime.in -o runtime.txt\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The requirements of a project with one lock, all of it in order."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    folder = tmp_path / "requirements"
    folder.mkdir()
    (folder / "runtime.in").write_text("flask>=3.1\n")
    (folder / "runtime.txt").write_text(GOOD)
    return folder


def faults(folder: Path) -> list[str]:
    return locks.faults(folder, locks.read(folder), locks.wanted(folder.parent / "Makefile", folder))


def test_a_lock_in_order_has_no_fault(folder: Path) -> None:
    assert faults(folder) == []


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ("flask==3.1.2\n", "flask 3.1.2 has no hash"),
        (GOOD.replace("3.1.2", "3.0.0"), "flask 3.0.0, not >=3.1: make lock"),
        (GOOD.replace("flask", "celery"), "without flask: make lock"),
        (f"--index-url https://packages.example/simple\n{GOOD}", "a place to install from"),
        (f"{GOOD}celery @ https://files.example/celery.whl \\\n    {HASH}\n", "a place to install from"),
        (f"{GOOD}celery>=5 \\\n    {HASH}\n", "lines that are no pins"),
    ],
)
def test_a_lock_that_cannot_be_trusted_is_found(folder: Path, lock: str, said: str) -> None:
    (folder / "runtime.txt").write_text(lock)
    assert any(said in fault for fault in faults(folder))


def test_a_lock_that_nothing_makes_is_found(folder: Path) -> None:
    (folder / "other.txt").write_text(GOOD)
    assert faults(folder) == ["other.txt has no recipe in the Makefile"]


def test_a_package_is_tested_in_the_version_that_is_shipped(folder: Path) -> None:
    (folder.parent / "Makefile").write_text(f"{MAKEFILE}\t$(LOCK) runtime.in -c runtime.txt -o dev.txt\n")
    (folder / "dev.txt").write_text(GOOD.replace("3.1.2", "3.1.3"))
    assert faults(folder) == ["flask is locked in 2 versions: 3.1.2, 3.1.3"]


def rules(**stated: str) -> dict[str, Any]:
    return {
        "shipped": {"licences": ["MIT", "Apache-2.0"]},
        "tools": {"licences": ["MIT", "GPL-3.0-only"]},
        "stated": {name: {"licence": licence} for name, licence in stated.items()},
        "exceptions": {},
    }


@pytest.mark.parametrize(
    ("licence", "may_be_shipped"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND (Apache-2.0 OR MIT)", False),
        ("(GPL-3.0-only OR MIT) AND Apache-2.0", True),
        ("GPL-3.0-only", False),
        ("MIT AND", False),
        ("(MIT", False),
        ("Proprietary", False),
    ],
)
def test_a_licence_is_allowed_if_it_can_be_kept(licence: str, may_be_shipped: bool) -> None:
    found = licences.faults({"a": Version("1")}, {"a": Version("1")}, rules(a=licence))
    assert found == ([] if may_be_shipped else [f"a, which is shipped, is under {licence}"])


def test_copyleft_may_be_in_a_tool_and_not_in_a_shipped_package() -> None:
    tool, both = {"a": Version("1")}, rules(a="GPL-3.0-only")
    assert licences.faults({}, tool, both) == []
    assert licences.faults(tool, tool, both) == ["a, which is shipped, is under GPL-3.0-only"]


def test_an_exception_holds_for_the_licence_that_it_was_made_for() -> None:
    """A package that changes its licence is looked at again."""
    lock, changed = {"a": Version("1")}, rules(a="SSPL-1.0")
    changed["exceptions"] = {"a": {"licence": "MPL-2.0", "why": "…"}}
    assert len(licences.faults(lock, lock, changed)) == 1
    changed["exceptions"]["a"]["licence"] = "SSPL-1.0"
    assert licences.faults(lock, lock, changed) == []


def test_a_package_of_which_nothing_is_known_is_found() -> None:
    lock = {"no-such-package": Version("1")}
    assert licences.faults(lock, lock, rules()) == [
        "no-such-package states no licence, or is not installed here"
    ]


def test_every_exception_says_why_and_is_needed() -> None:
    """An exception for a package that is no longer locked is an error."""
    written = tomllib.loads(RULES.read_text())
    asked_for = {line for file in (ROOT / "requirements").glob("*.in") for line in file.read_text().split()}
    known = locks.union(all_locks := locks.read(ROOT / "requirements"), all_locks).keys()
    for name, exception in written["exceptions"].items():
        assert exception["why"].endswith(".")
        assert name in known or any(line.startswith(name) for line in asked_for)


class OsvDouble(BaseHTTPRequestHandler):
    """Knows one vulnerability of flask, and one of celery that was withdrawn."""

    def do_POST(self) -> None:
        """Answer a query about one version of a package."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        known = {"flask": _advisory("GHSA-1", "flask"), "celery": _advisory("GHSA-2", "celery", WITHDRAWN)}
        body = json.dumps({"vulns": [known[name]]} if name in known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


WITHDRAWN = {"withdrawn": "2026-02-02T00:00:00Z"}


def _advisory(number: str, name: str, more: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "id": number,
        "aliases": [f"CVE-{number}"],
        "details": "It is broken.",
        "published": "2026-01-02T03:04:05Z",
        "modified": "2026-01-02T03:04:05Z",
        "affected": [{"package": {"ecosystem": "PyPI", "name": name}, "versions": ["3.1.2"]}],
        **(more or {}),
    }


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A double of OSV's service, which the audit asks; its answers are cached nowhere else."""
    monkeypatch.setenv("PIP_AUDIT_CACHE_DIR", str(tmp_path / "cache"))
    server = HTTPServer(("127.0.0.1", 0), OsvDouble)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1/query"
    monkeypatch.setattr(advisories.lookup, "__defaults__", (url,))
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def run(folder: Path, *arguments: str) -> int:
    (folder / "stripe.txt").write_text(GOOD)
    recipe = "\t$(LOCK) runtime.in -c runtime.txt -o stripe.txt\n"
    (folder.parent / "Makefile").write_text(MAKEFILE + recipe)
    return main(arguments, folder)


def test_a_service_out_of_reach_is_no_silent_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report says so, and the exit code is neither that of a clean audit nor that of a finding."""
    monkeypatch.setattr(advisories.lookup, "__defaults__", ("http://127.0.0.1:9/",))
    assert run(folder) == NOT_CHECKED
    assert "vulnerabilities: NOT CHECKED: http://127.0.0.1:9/ gives no answer: " in capsys.readouterr().out


def test_not_looking_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--offline") == CLEAN
    assert "vulnerabilities: not checked, as asked for by --offline" in capsys.readouterr().out


@pytest.mark.usefixtures("osv")
def test_a_vulnerability_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By all of its ids, once, though two locks have the package."""
    assert run(folder) == FOUND
    found = [line for line in capsys.readouterr().out.splitlines() if "GHSA" in line]
    assert found == ["  flask 3.1.2: CVE-GHSA-1, GHSA-1"]


@pytest.mark.usefixtures("osv")
def test_an_accepted_vulnerability_is_shown_with_its_reason(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no finding."""
    rules = folder / "rules.toml"
    rules.write_text(RULES.read_text() + '"GHSA-1" = "Nothing here calls it."\n')
    monkeypatch.setattr("requirements.audit.__main__.RULES", rules)
    assert run(folder) == CLEAN
    assert "accepted: flask, CVE-GHSA-1: Nothing here calls it." in capsys.readouterr().out


def test_an_advisory_that_was_withdrawn_is_no_finding(folder: Path, osv: str) -> None:
    (folder / "runtime.in").write_text("celery\n")
    (folder / "runtime.txt").write_text(GOOD.replace("flask", "celery"))
    assert advisories.lookup([folder / "runtime.txt"], osv) == []
