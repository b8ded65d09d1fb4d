"""The kinds of values. Schemas of requests and answers, validators and public forms are derived from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# The most pairs of a map of names and texts.
MOST_PAIRS = 20


@dataclass(frozen=True)
class Text:
    """Text of 1 to `longest` characters, or of any length if None, for texts that clients do not send.

    `pattern` is a regular expression that the text must match, and the error text if it does not. `lines`
    allows tabs and line ends.
    """

    longest: int | None = None
    pattern: tuple[str, str] | None = None
    lines: bool = False


@dataclass(frozen=True)
class Choice:
    """One of the given words. `means` describes them to clients. `pattern` replaces a long list in the API
    description."""

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
    """Money: minor units of the order's currency inside, an exact decimal in major units outside.

    `signed` allows amounts below 0.
    """

    signed: bool = False


@dataclass(frozen=True)
class Moment:
    """A time, in UTC and whole milliseconds."""


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Pairs:
    """A map of names and texts that clients choose."""


@dataclass(frozen=True)
class Record:
    """An object with exactly these fields.

    `named` is its name in the API description. `sent` is the name of its form in requests, if that has fewer
    fields.
    """

    named: str
    doc: str
    fields: "tuple[Field, ...]"
    sent: str = ""


@dataclass(frozen=True)
class Many:
    """A list of values of the same kind.

    `numbered` is the field in which answers show the position of an item, from 1. It is not stored.
    """

    of: "Kind"
    least: int = 0
    most: int | None = None
    numbered: str = ""


Kind = Text | Choice | Whole | Amount | Moment | Flag | Pairs | Record | Many


@dataclass(frozen=True)
class Field:
    """A field of an object.

    `given`: clients must send it (`required`), may send it (`optional`), or only the service sets it (None).
    `always`: every stored object has it. `changes`: an event can change it; other fields keep their first
    value. `amendable`: a PATCH of the order can change it. `personal`: it is stored outside the log, so that
    it can be erased. `stored`: it is part of the document. `shown`: clients see it. `internal`: customers do
    not see it.
    """

    name: str
    kind: Kind
    doc: str
    given: Literal["required", "optional"] | None = None
    always: bool = True
    changes: bool = False
    personal: bool = False
    stored: bool = True
    shown: bool = True
    internal: bool = False
    amendable: bool = False


def names(fields: Sequence[Field], **facts: object) -> tuple[str, ...]:
    """The names of the fields with these attributes, as in `names(ORDER, personal=True)`."""
    return tuple(
        field.name for field in fields if all(getattr(field, fact) == is_so for fact, is_so in facts.items())
    )
