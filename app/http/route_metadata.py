"""What a route declares of itself in one place: the scope it needs, its problems, the headers it knows."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

View = TypeVar("View", bound=Callable[..., Any])

# A route that everyone may call, however callers are told apart.
OPEN = None


class Declared(NamedTuple):
    """`problems` are codes of `app.http.problems`, beside those that come with every body and every query."""

    scope: str | None
    problems: tuple[str, ...]
    headers: tuple[str, ...]


def declares(scope: str | None, *problems: str, headers: tuple[str, ...] = ()) -> Callable[[View], View]:
    """Marks a view with its declaration."""

    def mark(view: View) -> View:
        view.declared = Declared(scope, problems, headers)  # type: ignore[attr-defined]
        return view

    return mark
