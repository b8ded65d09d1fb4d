"""What a value can be. Schemas of requests and answers, validators and public forms follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Text:
    """Text of 1 to `longest` characters; None: not bounded, since no client sends it.

    `pattern` is a regular expression that it must match, and what to say where it does not. `lines` allows
    tabs and line ends.
    """

    longest: int | None = None
    pattern: tuple[str, str] | None = None
    lines: bool = False


@dataclass(frozen=True)
class Choice:
    """One of some words. `means` says to clients what they are; `pattern` stands for a long list of them."""

    values: Sequence[str]
    means: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    least: int
    most: int | None = None


@dataclass(frozen=True)
class Amount:
    """Money: minor units of the order's currency inside, an exact decimal in major units outside."""


@dataclass(frozen=True)
class Moment:
    """A time, in UTC and whole milliseconds."""


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Pairs:
    """Names and texts of a client's own choice."""


@dataclass(frozen=True)
class Record:
    """An object with these fields and no others. `named` is its name in the API's description, `sent` that of
    its form in requests where this has fewer fields."""

    named: str
    doc: str
    fields: "tuple[Field, ...]"
    sent: str = ""


@dataclass(frozen=True)
class Many:
    """A list of such values."""

    of: "Kind"
    least: int = 0
    most: int | None = None


Kind = Text | Choice | Whole | Amount | Moment | Flag | Pairs | Record | Many


@dataclass(frozen=True)
class Field:
    """A field of an object, and all that is to be known about it.

    `given` says whether clients send it: they must, they may, or it is the service's own (None). `always`:
    every stored object has it. `changes`: an event can change it; the other fields keep their first value.
    `personal`: it is stored beside the log, so that it can be erased. `stored` and `shown`: it is part of the
    document, and of what clients see.
    """

    name: str
    kind: Kind
    doc: str = ""
    given: Literal["required", "optional"] | None = None
    always: bool = True
    changes: bool = False
    personal: bool = False
    stored: bool = True
    shown: bool = True


def names(fields: Sequence[Field], **facts: object) -> tuple[str, ...]:
    """The names of the fields of which these facts hold, as in `names(ORDER, personal=True)`."""
    return tuple(
        field.name for field in fields if all(getattr(field, fact) == is_so for fact, is_so in facts.items())
    )
