"""Checks the conditions for a run, with any Python, and then starts the runner with the one in .venv."""

import fcntl
import os
import socket
import sys

from deploy.local.venv import PYTHON, ROOT, make_venv

LOCK = ROOT / ".local" / "lock"


def hold_folder() -> None:
    """Prevents a second run in this folder for as long as this process lives, even after its exec."""
    LOCK.parent.mkdir(exist_ok=True)
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"The service already runs from this folder, as process {LOCK.read_text().strip()}")
    os.set_inheritable(handle, True)
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())


def check_port() -> None:
    """Refuses an invalid port, or one in use."""
    port = os.environ.get("PORT") or "3003"
    if not (port.isdecimal() and 0 < int(port) < 65_536):
        sys.exit(f"PORT must be a number from 1 to 65535, and is {port!r}")
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", int(port)))
            trial.listen()
        except OSError as error:
            sys.exit(
                f"Port {port} cannot be used ({error.strerror}): try another, as in PORT={int(port) + 1}"
            )


def main() -> None:
    """Checks, installs the packages, and becomes the runner."""
    try:
        hold_folder()
        check_port()
        make_venv(ROOT / "requirements" / "local.txt")
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        sys.exit(f"{error.filename} cannot be used ({error.strerror}): does it belong to another user?")
    os.execv(PYTHON, [str(PYTHON), "-m", "deploy.local.runner"])


if __name__ == "__main__":
    main()
