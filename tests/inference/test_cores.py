"""The cores that a process may use."""

import os

import pytest

from inference.cores import usable_cores


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("400000 100000\n", 4),
        ("max 100000\n", 8),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_the_affinity_and_the_limit_of_a_container_count(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert usable_cores(cgroup=tmp_path) == cores
