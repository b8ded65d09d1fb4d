"""Imported by Python at its start where this folder is on its path: the process gets a clock that is wrong.

`CLOCK_SKEW` says by how many seconds it is ahead.
"""

import datetime
import os
import time
from typing import Any

_SKEW = float(os.environ["CLOCK_SKEW"])
_REAL, _TIME = datetime.datetime, time.time


class _AnyDatetime(type):
    """Objects made by C code count as datetimes, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _REAL)


class _Skewed(_REAL, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _REAL.now(tz) + datetime.timedelta(seconds=_SKEW)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


datetime.datetime = _Skewed  # type: ignore[misc]
time.time = lambda: _TIME() + _SKEW
