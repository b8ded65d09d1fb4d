"""The keys under which orders are found by personal data, so that no index has a plain copy of them.

A key is an HMAC of the folded address. It stands beside the personal data and is erased with them.
"""

import hashlib
import hmac

from app.mail_addresses import folded
from app.orders.model import Personal

_LENGTH = 16


class PersonalIndex:
    """Makes the keys. Orders are stored with the first secret's key, and found by that of each secret.

    Without a secret, no order has a key.
    """

    def __init__(self, *secrets: str) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    def __bool__(self) -> bool:
        """Whether there is a secret."""
        return bool(self._secrets)

    def key_of(self, personal: Personal | None) -> bytes | None:
        """The key of an order with these data; None without an address or a secret."""
        email = (personal or {}).get("email")
        return self.keys_of(email)[0] if isinstance(email, str) and self._secrets else None

    def keys_of(self, email: str) -> list[bytes]:
        """The keys that orders with this address can have."""
        text = folded(email).encode()
        return [hmac.digest(secret, text, hashlib.sha256)[:_LENGTH] for secret in self._secrets]
