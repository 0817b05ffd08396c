"""Failed assertions of the contract are explained in detail, as in any test file."""

import pytest

pytest.register_assert_rewrite("tests.inference.contract")
