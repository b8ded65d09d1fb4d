"""Failed assertions of these modules show their values, as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.model.checks", "tests.model.machine", "tests.model.world")
