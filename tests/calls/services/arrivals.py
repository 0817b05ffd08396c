"""Helpers for the tests of admission and slots: calls that arrive, deadlines that pass, and work done at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

from django.db import connection
from django.utils import timezone

from calls.services.admission import Admission, receive_call
from tests.calls.twilio_double import ACCOUNT_SID, new_sid


def receive(sid: str | None = None, **params: str) -> Admission:
    """Let a call arrive; without ``sid`` it is a new one."""
    return receive_call(
        sid=sid or new_sid(),
        from_number="+15557654321",
        to_number="+15551234567",
        account_sid=ACCOUNT_SID,
        params=params,
    )


def expire_in(model: type, **fields: float) -> None:
    """Set the deadline of all rows of a model to so long from now."""
    model.objects.update(expires_at=timezone.now() + timedelta(**fields))


def run_at_once(work: Callable[[int], Any], times: int) -> list[Any]:
    """Return the results of ``work(0)`` to ``work(times - 1)``, which start together, each in its own thread."""
    start = Barrier(times)

    def run(index: int) -> Any:
        start.wait()
        try:
            return work(index)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(run, range(times)))
