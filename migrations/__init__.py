"""The numbered steps that bring a database to the present form, forward only.

Each module has one function, `upgrade(database, settings, progress) -> list[str]`. It may be run again at any
point, also after it was cut off half way, and returns what the operator should know.

A released step never changes, and neither does what it does: it carries the rules and the schema of its day
and calls nothing of the service. The schema of today (`app.schema`) is applied after the last step.
"""

import re
from pkgutil import iter_modules

NAMES = tuple(sorted(module.name for module in iter_modules(__path__) if re.match(r"m\d{4}_", module.name)))
