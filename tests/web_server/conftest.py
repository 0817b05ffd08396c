"""Fixtures of the tests of the web server."""

import pytest

from clientcaller.web import handler


@pytest.fixture(autouse=True)
def _refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused waits a second in production, which the tests need not."""
    monkeypatch.setattr(handler, "REFUSAL_DELAY", 0.0)
