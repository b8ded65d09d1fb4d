"""Declares the scope, problems and request headers of a route."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

View = TypeVar("View", bound=Callable[..., Any])

# The scope of a route that needs no token.
OPEN = None


class Declared(NamedTuple):
    """The declaration. `problems` are codes, without those that every body and every query can cause."""

    scope: str | None
    problems: tuple[str, ...]
    headers: tuple[str, ...]


def declares(scope: str | None, *problems: str, headers: tuple[str, ...] = ()) -> Callable[[View], View]:
    """Attaches the declaration to a view."""

    def mark(view: View) -> View:
        view.declared = Declared(scope, problems, headers)  # type: ignore[attr-defined]
        return view

    return mark
