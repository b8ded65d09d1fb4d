"""The feed's cursor is an encrypted position. A plain position would reveal the shop's number of events.

AES-SIV (RFC 5297) gives the same cursor for the same position. It also covers the path and the filters. So an
altered cursor is rejected, and so is a cursor with other filters.

The previous release gave plain cursors. They still work, but only up to the feed's end at the time when the
key was created. So a consumer can continue, although it may see some events again. And a client that invents
a plain cursor learns nothing about newer events.
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from app.feed.cursors_store import Sealing
from app.http import paging

_POSITION_BYTES = 8


def position_of(cursor: str | None, sealing: Sealing) -> int:
    """The position in the cursor; 0 without a cursor. Raises Problem for a bad cursor."""
    if cursor is None:
        return 0
    try:
        sealed = base64.b64decode(cursor, b"-_", validate=True)
        position = int.from_bytes(AESSIV(sealing.key).decrypt(sealed, [paging.covered()]))
    except (binascii.Error, ValueError, InvalidTag):
        return min(int(paging.after(cursor, paging.LIKE_A_POSITION) or 0), sealing.open_until)
    if cursor_at(position, sealing) != cursor:
        raise paging.bad_cursor()
    return position


def cursor_at(position: int, sealing: Sealing) -> str:
    """The cursor for the entries after the position."""
    sealed = AESSIV(sealing.key).encrypt(position.to_bytes(_POSITION_BYTES), [paging.covered()])
    return base64.urlsafe_b64encode(sealed).decode()
