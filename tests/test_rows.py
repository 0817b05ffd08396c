"""A table of rows is tried in one test, which misses none."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.rows import each_row


def test_each_row_is_tried_and_each_that_fails_is_reported():
    tried: list[tuple[int, str]] = []

    @each_row(("number", "word"), [(1, "one"), (2, "zwei"), (3, "three"), (4, "vier")])
    def check(number: int, word: str) -> None:
        tried.append((number, word))
        assert "ei" not in word
        assert number < 4, number

    with pytest.raises(ExceptionGroup, match=r"^2 of 4 rows") as failed:
        check()
    assert len(tried) == 4
    assert [error.__notes__[-1] for error in failed.value.exceptions] == [
        "The row: {'number': 2, 'word': 'zwei'}",
        "The row: {'number': 4, 'word': 'vier'}",
    ]


def test_tables_are_multiplied_and_other_arguments_are_passed_on():
    tried: list[tuple[Any, ...]] = []

    @each_row("size", (1, 2))
    @each_row("text", ["a", "b"])
    def check(fixture: str, text: str, size: int) -> None:
        tried.append((fixture, text, size))

    assert list(inspect.signature(check).parameters) == ["fixture"]
    check(fixture="x")
    assert tried == [("x", "a", 1), ("x", "b", 1), ("x", "a", 2), ("x", "b", 2)]


def test_a_table_without_rows_is_an_error():
    with pytest.raises(AssertionError, match="without rows"):
        each_row("text", [])
