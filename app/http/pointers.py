"""JSON pointers (RFC 6901), which name the invalid parts of the input."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import Fault

UNKNOWN = "is unknown"


def extend(pointer: str, member: object) -> str:
    """The pointer to a member of the value at `pointer`."""
    # An unpaired surrogate in a field name cannot be written as JSON.
    name = str(member).encode("utf-8", "replace").decode()
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def faults(messages: Any, pointer: str = "") -> Iterator[Fault]:
    """The faults in marshmallow's messages, which are nested like the input."""
    if not isinstance(messages, Mapping):
        for message in messages:
            yield Fault(pointer, message)
        return
    for member, inner in messages.items():
        # `_schema` is marshmallow's name for the object itself, but a client may send a field with that name.
        itself = member == "_schema" and inner != [UNKNOWN]
        yield from faults(inner, pointer if itself else extend(pointer, member))
