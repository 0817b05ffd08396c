"""A web process says so at its start if it may open few files, and later if it can open no more."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from clientcaller.web import open_files, protocol


@pytest.fixture
def limits(monkeypatch):
    """Let the system allow so many files; returns what the process has asked for."""
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, values: asked.append(values))
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", protocol.MOST_CONNECTIONS)

    def allow(soft: int, hard: int) -> list[tuple[int, int]]:
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
        return asked

    return allow


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections", "is_enough"),
    [
        (1024, 524_288, [(65_536, 524_288)], 2000, True),
        (1024, resource.RLIM_INFINITY, [(65_536, resource.RLIM_INFINITY)], 2000, True),
        (100_000, 200_000, [], 2000, True),
        (1024, 4096, [(4096, 4096)], 2000, True),
        (1024, 1024, [], 512, False),
        (256, 2000, [(2000, 2000)], 1000, False),
    ],
)
def test_the_limit_is_raised_as_far_as_possible_and_one_line_says_if_that_is_too_little(
    limits, settings, caplog, soft, hard, raised, connections, is_enough
):
    settings.MAX_LIVE_CALLS = 20
    asked = limits(soft, hard)
    open_files.raise_limit()
    assert asked == raised
    assert connections == protocol.MOST_CONNECTIONS
    assert [record.levelname for record in caplog.records] == ([] if is_enough else ["WARNING"])
    assert is_enough or "2300 are needed for MAX_LIVE_CALLS=20. Raise its limit: LimitNOFILE" in caplog.text


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_that_no_file_can_be_opened_is_said_once(monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(open_files, "_full", open_files.Seldom(open_files.logger, lines=1, period=60.0))
    open_files.look_for_room()
    assert not caplog.records
    monkeypatch.setattr(os, "open", refuse)
    for _ in range(3):
        open_files.look_for_room()
    (record,) = caplog.records
    assert "new connections are refused; calls go on" in record.getMessage()
