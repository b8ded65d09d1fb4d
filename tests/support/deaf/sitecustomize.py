"""Makes the Python that finds this on its path deaf: once the file DEAF exists, it asks for no more messages.

If the file says so, its event loop hangs, too. A worker that is deaf notices soon.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from kombu.transport.redis import Channel

from tasks import hearing

hearing.PATIENCE, hearing._GRACE = 2.0, 2.0
ask = Channel._brpop_start


def ask_unless_deaf(self: Any, *args: Any, **named: Any) -> Any:
    """Asks the broker for a message, as before."""
    file = Path(os.environ["DEAF"])
    if not file.exists():
        return ask(self, *args, **named)
    while file.read_text() == "hangs":
        time.sleep(1)
    return None


Channel._brpop_start = ask_unless_deaf
