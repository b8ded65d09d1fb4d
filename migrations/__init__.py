"""The numbered steps that bring a database to the present form, forward only.

Each module has one function, `upgrade(database, settings, progress) -> list[str]`. It may be run again at any
point, also after it was cut off half way, and returns what the operator should know. A released one never
changes.
"""

from pkgutil import iter_modules

NAMES = tuple(sorted(module.name for module in iter_modules(__path__)))
