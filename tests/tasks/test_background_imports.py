"""Importing a background process's module has no effect; running one without settings ends with one line."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from deploy.local.stack import ROOT, procfile

MODULES = sorted(module.name for module in pkgutil.iter_modules(tasks.__path__, "tasks."))
NO_SETTINGS = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """The result of the command in the project's folder, without any setting in its environment."""
    return subprocess.run(
        command, cwd=ROOT, env=NO_SETTINGS, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_every_module_is_imported_alone_and_without_settings() -> None:
    assert "tasks.relay" in MODULES
    for module in ("tasks", *MODULES):
        ended = run(sys.executable, "-c", f"import {module}")
        assert (module, ended.returncode, ended.stderr) == (module, 0, "")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["relay", "worker", "beat"])
def test_a_fault_in_the_settings_ends_a_role_with_one_line(role: str) -> None:
    ended = run("/bin/sh", "-c", f"exec {procfile()[role]}")
    assert ended.returncode == 1
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert "AUTH must be" in line
