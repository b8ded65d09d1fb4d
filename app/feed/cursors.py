"""The cursor of the feed: a sealed position. In the clear it would be the number of all events of the shop.

AES-SIV (RFC 5297) gives the same cursor for the same position. It covers the path and the filters, so it
refuses a cursor that was altered or comes with other filters.

The release before gave cursors in the clear. They are still taken, but lead no further than the feed had come
when the key was made. So a consumer goes on, though it may see some events again, and a cursor that a client
makes up says nothing of the events since.
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from app.feed.cursors_store import Sealing
from app.http import paging

_POSITION_BYTES = 8


def position_of(cursor: str | None, sealing: Sealing) -> int:
    """The position that the cursor stands for, 0 without one. Raises Problem for a bad one."""
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
    """The cursor of what comes behind the position."""
    sealed = AESSIV(sealing.key).encrypt(position.to_bytes(_POSITION_BYTES), [paging.covered()])
    return base64.urlsafe_b64encode(sealed).decode()
