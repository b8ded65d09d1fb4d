"""Tells the container engine whether the web process answers, in an image that has no curl.

The other processes listen on nothing; when one of them ends, so does its container.
"""

import os
import sys
import urllib.request
from pathlib import Path


def main() -> None:
    """Exit 0 when healthy; a refused, late or failing answer is an exception, and so exit 1."""
    if b"gunicorn" in Path("/proc/1/cmdline").read_bytes():
        path = f"/{os.environ.get('API_PREFIX', '').strip('/')}/healthz".replace("//", "/")
        urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('PORT') or 3003}{path}", timeout=4).close()
    sys.exit(0)


if __name__ == "__main__":
    main()
