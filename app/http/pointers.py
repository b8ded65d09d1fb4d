"""JSON pointers (RFC 6901): the names by which a client is told what is wrong with its input."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Fault

UNKNOWN = "is not known here"


def extend(pointer: str, member: object) -> str:
    """The pointer to a member of what the pointer names."""
    # A lone surrogate in a client's own field name is no character, and would not go into JSON again.
    name = str(member).encode("utf-8", "replace").decode()
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def faults(messages: Any, pointer: str = "") -> Iterator[Fault]:
    """The faults in marshmallow's messages, which are nested as the input is."""
    if not isinstance(messages, Mapping):
        for message in messages:
            yield Fault(pointer, message)
        return
    for member, inner in messages.items():
        # marshmallow's own name for the object itself, but a client may send a field of that name, too.
        itself = member == "_schema" and inner != [UNKNOWN]
        yield from faults(inner, pointer if itself else extend(pointer, member))
