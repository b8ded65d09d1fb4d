"""Somebody who has just fetched the service: an ordinary user with a folder of the service, and a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from pip._vendor.distlib.scripts import ScriptMaker, enquote_executable

from app.config import TABLE
from deploy.local.stack import OF_PROCESSES, ROOT
from deploy.local.venv import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65_534
SHIPPED = ("app", "deploy", "migrations", "requirements", "tasks", "Makefile", "Procfile", "wsgi.py")
SCRIPTS = ("celery", "flask", "gunicorn")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=TERM")
# Lets the user read all and write no more than before.
AS_READER = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


class Newcomer:
    """A folder with a space in its name, holding what is shipped and a .venv as `make run` leaves it.

    Its .venv reads the packages of the one that runs the tests, so nothing is fetched. Where root runs the
    tests, the user is nobody; else it is the one who runs them.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "order service"
        self.home = place / "home of nobody"
        self.home.mkdir()
        for name in SHIPPED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.folder / name)
            else:
                shutil.copy(ROOT / name, self.folder)
        self._make_venv()
        self.own(place)

    @property
    def bin(self) -> Path:
        """Where the folder's own Python is."""
        return self.folder / ".venv" / "bin"

    def command(self, *command: str) -> list[str]:
        """The command, run as this user."""
        return [*as_ordinary_user(), *command]

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of this user's shell, with only the given settings."""
        ours = {*map(str.upper, TABLE), *OF_PROCESSES}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        return {**inherited, "HOME": str(self.home), **settings}

    def own(self, folder: Path) -> None:
        """Make the folder and all that is in it the user's."""
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def _make_venv(self) -> None:
        venv.create(self.folder / ".venv", symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = self.folder / ".venv" / "lib" / version / "site-packages"
        (packages / "of_the_tests.pth").write_text(sysconfig.get_path("purelib"))
        # As pip makes them, which is different where there is a space in the path.
        maker = ScriptMaker(None, str(self.bin))
        maker.executable = enquote_executable(str(self.bin / "python"))
        maker.variants = {""}
        for script in entry_points(group="console_scripts"):
            if script.name in SCRIPTS:
                maker.make(f"{script.name} = {script.value}")
        stamp = stamp_of(self.folder / "requirements" / "local.txt", self.folder / ".venv")
        stamp.parent.mkdir()
        stamp.touch()


@cache
def as_ordinary_user() -> tuple[str, ...]:
    """The prefix that runs a command as an ordinary user; empty if the tests already run as one.

    The Python that runs the tests may lie in a folder that is root's alone.
    """
    if os.geteuid() != 0:
        return ()
    # By a shell, since setpriv itself finds what it starts by root's rights.
    look = f'exec "{sys.executable}" -c "import os; os.listdir(\'{ROOT}\')"'
    trial = subprocess.run([*AS_NOBODY, "/bin/sh", "-c", look], capture_output=True, check=False)
    return (*AS_NOBODY, *AS_READER) if trial.returncode else AS_NOBODY
