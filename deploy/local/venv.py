"""Makes .venv from a lock file, with the standard library alone, and only if the lock has changed."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def make_venv(lock: Path) -> None:
    """Installs the packages of the lock, checked by hash. Exits with one line on failure."""
    stamp = stamp_of(lock, VENV)
    if stamp.exists() and PYTHON.exists():
        return
    if sys.version_info < (3, 11):  # noqa: UP036 - any Python that make finds runs this
        sys.exit(
            f"Python 3.11 or later is needed, and this is {sys.version.split()[0]}: make PYTHON=python3.11 …"
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(
            "This Python cannot make a virtual environment: install its venv package (python3-venv on Debian)"
        )
    print(f"Installing the packages of {lock.relative_to(ROOT)} into .venv, once …", flush=True)
    if not PYTHON.exists():
        _run("making .venv", sys.executable, "-m", "venv", "--clear", str(VENV))
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run("installing packages", *pip, "--require-hashes", "--requirement", str(lock))
    for old in VENV.glob("installed-*"):
        if old != stamp.parent:
            shutil.rmtree(old)
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()


def stamp_of(lock: Path, folder: Path) -> Path:
    """The file in a virtual environment that marks the packages of this lock as installed."""
    locks = sorted(lock.parent.glob("*.txt"))
    version = hashlib.sha256(b"".join(each.read_bytes() for each in locks)).hexdigest()
    return folder / f"installed-{version}" / lock.name


def _run(what: str, *command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "ERROR" in line] or said
        sys.exit(f"{what} failed: {errors[0] if errors else f'exit code {result.returncode}'}")


if __name__ == "__main__":
    make_venv(ROOT / sys.argv[1])
