"""Runs a command that ends when its parent does, even a parent killed outright.

A program of its own, since asking the kernel for this between fork and exec is not safe in a process with
threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for SIGTERM at the parent's death (argument 1, its pid), then become the command (the rest)."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        os.execvp(command[0], command)


if __name__ == "__main__":
    main()
