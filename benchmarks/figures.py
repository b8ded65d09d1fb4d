"""What was measured, and its two readings: a table for people, JSON for machines."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.stage import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DRIVER = "driver"
# More of these is better, and less of all others.
HIGHER = ("per s",)
HEADINGS = ("what", "unit", "whose", "median", "min - max", "service is")


class Figure(NamedTuple):
    """One quantity of one contender over all rounds."""

    what: str
    unit: str
    whose: str
    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one of the rounds."""
        return statistics.median(self.rounds)


def ratios(figures: Sequence[Figure]) -> dict[Figure, float]:
    """For every figure of another contender, the service's own as a multiple of it."""
    own = {(figure.what, figure.unit): figure.median for figure in figures if figure.whose == SERVICE}
    return {
        figure: own[figure.what, figure.unit] / figure.median
        for figure in figures
        if figure.whose != SERVICE and (figure.what, figure.unit) in own
    }


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """The lines of a table, the figures that belong together next to each other."""
    compared = ratios(figures)
    rows = [HEADINGS]
    ordered = sorted(figures, key=lambda figure: _first(figures, figure))
    before: tuple[str, str] | None = None
    for figure in ordered:
        group = (figure.what, figure.unit)
        spread = f"{_short(min(figure.rounds))} - {_short(max(figure.rounds))}"
        ratio = f"{compared[figure]:.2f} x" if figure in compared else ""
        named = group if group != before else ("", "")
        rows.append((*named, figure.whose, _short(figure.median), spread, ratio))
        before = group
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        yield "  ".join(
            cell.rjust(width) if column >= 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def as_json(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """The figures as plain data, with every round."""
    compared = ratios(figures)
    return [
        {
            **figure._asdict(),
            "rounds": list(figure.rounds),
            "median": figure.median,
            "serviceIs": compared.get(figure),
        }
        for figure in figures
    ]


def _first(figures: Sequence[Figure], figure: Figure) -> int:
    return next(
        place for place, other in enumerate(figures) if (other.what, other.unit) == (figure.what, figure.unit)
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
