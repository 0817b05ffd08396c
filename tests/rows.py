"""
The rows of a table, tried in one test.

``pytest.mark.parametrize`` makes a test of each row, which costs some 5 ms beside what it tests. A table of many words
that a pure function is to judge is tried in one test instead, and each row that fails is reported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

Test = Callable[..., None]


def each_row(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Decorate a test that is tried with each row; as ``pytest.mark.parametrize``, but all rows are one test."""
    names = (names,) if isinstance(names, str) else names
    table = [dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows]
    assert table, "a table without rows tests nothing"

    def decorate(test: Test) -> Test:
        @wraps(test)
        def try_each_row(*args: Any, **kwargs: Any) -> None:
            failures: list[Exception] = []
            for row in table:
                try:
                    test(*args, **kwargs, **row)
                except Exception as error:
                    error.add_note(f"The row: {row}")
                    failures.append(error)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(table)} rows", failures)

        signature = inspect.signature(test)
        others = [parameter for name, parameter in signature.parameters.items() if name not in names]
        vars(try_each_row)["__signature__"] = signature.replace(parameters=others)
        return try_each_row

    return decorate
