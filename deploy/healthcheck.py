"""A health check of the web process for the container engine, since the image has no curl.

The other processes do not listen on any port. When one of them ends, its container ends too.
"""

import os
import sys
import urllib.request
from pathlib import Path


def main() -> None:
    """Exits with 0 if healthy. A refused, late or failing answer raises an exception, so it exits with 1."""
    if b"gunicorn" in Path("/proc/1/cmdline").read_bytes():
        path = f"/{os.environ.get('API_PREFIX', '').strip('/')}/healthz".replace("//", "/")
        urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('PORT') or 3003}{path}", timeout=4).close()
    sys.exit(0)


if __name__ == "__main__":
    main()
