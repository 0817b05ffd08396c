"""A carrier in memory that accepts calls, loses requests, and can be asked which calls it has."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from calls.carrier import CarrierCall
from calls.errors import CarrierError, FailureKind

LEEWAY = timedelta(minutes=2)
"""As ``calls.carrier.CLOCK_LEEWAY``."""
_numbers = itertools.count(1)


@dataclass
class FakeCarrier:
    """A carrier with the methods of ``calls.carrier.Carrier``."""

    calls: dict[str, CarrierCall] = field(default_factory=dict)
    """The calls that the carrier has, by sid."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The arguments of each request to create a call."""
    faults: list[CarrierError | None] = field(default_factory=list)
    """Raised by the next requests, in order; None lets a request pass."""
    on_create: Callable[[CarrierCall], None] | None = None
    """Called when a call has been created, before its request is answered."""
    _lock: Any = field(default_factory=threading.Lock)

    def create_call(self, **request: Any) -> CarrierCall:
        with self._lock:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else None
            if fault is not None and fault.kind is not FailureKind.UNKNOWN:
                raise fault
            call = self.add(request["to_number"], request["from_number"])
        if self.on_create is not None:
            self.on_create(call)
        if fault is not None:
            raise fault
        return call

    def add(self, to_number: str, from_number: str, **fields: Any) -> CarrierCall:
        """Add a call that was not requested here."""
        call = CarrierCall(
            sid=f"CA{next(_numbers):032x}",
            status="queued",
            to_number=to_number,
            from_number=from_number,
            direction="outbound-api",
            created_at=datetime.now(UTC),
            started_at=None,
            ended_at=None,
            duration=None,
            answered_by="",
        )
        self.calls[call.sid] = call = replace(call, **fields)
        return call

    def change(self, sid: str, **fields: Any) -> None:
        """Change the state of a call."""
        self.calls[sid] = replace(self.calls[sid], **fields)

    def find_calls(self, *, to_number: str, from_number: str, since: datetime) -> list[CarrierCall]:
        self._raise_fault()
        found = [call for call in self.calls.values() if (call.to_number, call.from_number) == (to_number, from_number)]
        return [call for call in reversed(found) if call.created_at is None or call.created_at >= since - LEEWAY]

    def fetch_call(self, sid: str) -> CarrierCall | None:
        self._raise_fault()
        return self.calls.get(sid)

    def hang_up(self, sid: str, *, ringing: bool) -> bool:
        self._raise_fault()
        call = self.calls.get(sid)
        if call is None or call.status in ("completed", "canceled", "busy", "no-answer", "failed"):
            return False
        self.change(sid, status="canceled" if call.status in ("queued", "ringing") else "completed")
        return True

    def _raise_fault(self) -> None:
        with self._lock:
            if self.faults and (fault := self.faults.pop(0)) is not None:
                raise fault


def refusal(kind: FailureKind, code: int | None = None, **fields: Any) -> CarrierError:
    return CarrierError(f"refused: {kind}", kind=kind, twilio_code=code, **fields)
