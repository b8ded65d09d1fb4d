"""When two spellings are one mail address, and when two addresses are one mailbox."""

import unicodedata
from contextlib import suppress


def same_address(one: str, other: str) -> bool:
    """Whether they differ in nothing but the case and the composition of letters (NFC)."""
    return _folded(one) == _folded(other)


def mailbox(address: str) -> str:
    """One text for all addresses that most likely reach one mailbox.

    What follows a `+` in the local part does not count, and a domain counts by its ASCII form.
    """
    local, _, domain = _folded(address).rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{local.partition('+')[0] or local}@{domain}"


def _folded(address: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", address).casefold())
