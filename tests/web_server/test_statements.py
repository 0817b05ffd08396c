"""The web server limits how long its queries take, unless a pooler shares its connections with other processes."""

import pytest

from clientcaller.web.server import STATEMENT_TIMEOUT, limit_statements


class Connection:
    """Notes what it is told to execute, as one to PostgreSQL."""

    vendor = "postgresql"

    def __init__(self):
        self.executed = []

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def execute(self, query):
        self.executed.append(query)


@pytest.mark.parametrize("pooled", [False, True], ids=["alone", "behind a pooler"])
def test_it_sets_no_limit_behind_a_pooler(settings, pooled):
    settings.DATABASE_POOLED = pooled
    limited = Connection()
    limit_statements(limited)
    assert limited.executed == ([] if pooled else [f"SET statement_timeout = '{STATEMENT_TIMEOUT}ms'"])
