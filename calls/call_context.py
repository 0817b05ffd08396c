"""
Knows which call the code that runs is about, so that each line of the log can say it.

Tasks and the threads of views inherit it. It imports nothing of Django: the log is set up before the models are loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

_call: ContextVar[str | None] = ContextVar("call", default=None)
"""None outside all blocks: a thread that serves one call after another must not take the last one for the next."""


def current_call() -> str:
    """The id of the call; empty if the code is about none, or not yet known to be."""
    return _call.get() or ""


@contextmanager
def about_call(call_id: UUID | str = "") -> Iterator[None]:
    """The block is about this call; without one, it is not known yet, and ``found_call`` may tell."""
    token = _call.set(str(call_id))
    try:
        yield
    finally:
        _call.reset(token)


def found_call(call_id: UUID) -> None:
    """The block of ``about_call`` around is about this call, as is known now. Has no effect outside of one."""
    if _call.get() is not None:
        _call.set(str(call_id))
