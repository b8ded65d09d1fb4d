"""The audit finds what is wrong with locks, licences and versions, and says so when it could not look."""

from __future__ import annotations

import json
import threading
import tomllib
import zipfile
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
LOCKED = {"flask": Version("3.1.2"), "celery": Version("5.7.0")}


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


def advisory(number: int, **affected: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "Flask"}
    return {
        "id": f"X-{number}",
        "modified": "2026-01-02T03:04:05Z",
        "affected": [{"package": package, **affected}],
    }


def between(*events: tuple[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": [{kind: at} for kind, at in events]}]}


@pytest.mark.parametrize(
    ("affected", "is_affected"),
    [
        ({"versions": ["3.1.2"]}, True),
        ({"versions": ["3.1.1"]}, False),
        (between(("introduced", "0")), True),
        (between(("introduced", "0"), ("fixed", "3.1.2")), False),
        (between(("introduced", "0"), ("fixed", "3.1.3")), True),
        (between(("introduced", "0"), ("last_affected", "3.1.2")), True),
        (between(("introduced", "0"), ("last_affected", "3.1.1")), False),
        (between(("introduced", "0"), ("fixed", "1"), ("introduced", "3.1"), ("fixed", "3.2")), True),
        (between(("introduced", "0"), ("fixed", "1"), ("introduced", "3.1.3")), False),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_a_dump_shows_which_versions_are_affected(
    affected: dict[str, Any], is_affected: bool, tmp_path: Path
) -> None:
    dump = written_dump(tmp_path, advisory(1, **affected))
    assert bool(advisories.Dump(dump).lookup(LOCKED)) is is_affected


def written_dump(folder: Path, *entries: dict[str, Any]) -> Path:
    file = folder / "all.zip"
    with zipfile.ZipFile(file, "w") as dump:
        for each in entries:
            dump.writestr(f"{each['id']}.json", json.dumps(each))
    return file


def test_a_withdrawn_advisory_is_ignored(tmp_path: Path) -> None:
    withdrawn = advisory(1, versions=["3.1.2"]) | {"withdrawn": "2026-02-02T00:00:00Z"}
    assert advisories.Dump(written_dump(tmp_path, withdrawn)).lookup(LOCKED) == []


def test_the_date_of_a_dump_is_shown(tmp_path: Path) -> None:
    assert "the newest of 2026-01-02" in advisories.Dump(written_dump(tmp_path, advisory(1))).source()


class OsvDouble(BaseHTTPRequestHandler):
    """Knows one vulnerability, of flask."""

    def do_POST(self) -> None:
        """Answer a batch, in the order of its queries."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        known = [{"vulns": [{"id": "X-1"}]} if one["package"]["name"] == "flask" else {} for one in asked]
        body = json.dumps({"results": known}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), OsvDouble)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/querybatch"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_service_is_asked_for_all_packages_at_once(osv: str) -> None:
    found = advisories.Service(osv).lookup(LOCKED)
    assert found == [advisories.Known("flask", Version("3.1.2"), "X-1")]


def run(folder: Path, *arguments: str) -> int:
    (folder / "stripe.txt").write_text(GOOD)
    recipe = "\t$(LOCK) runtime.in -c runtime.txt -o stripe.txt\n"
    (folder.parent / "Makefile").write_text(MAKEFILE + recipe)
    return main(arguments, folder)


def test_a_service_out_of_reach_is_no_silent_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported, and the exit code is neither that of a clean audit nor that of a finding."""
    monkeypatch.setattr(advisories.Service.__init__, "__defaults__", ("http://127.0.0.1:9/",))
    assert run(folder) == NOT_CHECKED
    assert "vulnerabilities: NOT CHECKED: http://127.0.0.1:9/ gives no answer" in capsys.readouterr().out


def test_not_looking_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--offline") == CLEAN
    assert "vulnerabilities: not checked, as asked for by --offline" in capsys.readouterr().out


def test_a_vulnerability_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = written_dump(folder, advisory(1, versions=["3.1.2"]))
    assert run(folder, "--advisories", str(dump)) == FOUND
    assert "flask 3.1.2: X-1" in capsys.readouterr().out


def test_a_dump_that_cannot_be_read_is_no_silent_pass(folder: Path) -> None:
    (folder / "all.zip").write_text("not a ZIP file")
    assert run(folder, "--advisories", str(folder / "all.zip")) == NOT_CHECKED
