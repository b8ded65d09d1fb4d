"""Compares mail addresses: whether two spellings are the same address, and whether two addresses share a
mailbox."""

import unicodedata
from contextlib import suppress


def same_address(one: str, other: str) -> bool:
    """Whether the addresses are equal, apart from case and the composition of letters (NFC)."""
    return folded(one) == folded(other)


def mailbox(address: str) -> str:
    """A text that is the same for all addresses that most likely reach the same mailbox.

    It ignores everything after a `+` in the local part, and uses the ASCII form of the domain.
    """
    local, _, domain = folded(address).rpartition("@")
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return f"{local.partition('+')[0] or local}@{domain}"


def folded(address: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", address).casefold())
