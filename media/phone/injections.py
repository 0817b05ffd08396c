"""Faults that a test injects between Twilio and the application over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from media.phone.twilio_errors import TwilioError

Signature = Literal["good", "wrong", "missing", "other-url", "trailing-slash"]
CallbackKind = Literal["voice", "action", "status", "stream-status", "amd", "recording"]
"""
The purpose of a callback: the first TwiML document of a call, a later one (``action``, ``<Redirect>``), or one of four
reports: progress of the call, of a stream, of machine detection, of a recording.
"""


@dataclass(frozen=True)
class CallbackFault:
    """
    One thing that is wrong with callbacks.

    The genuine request is altered; or, with ``extra``, it is sent as it should be, and an altered copy follows it.
    """

    kinds: tuple[CallbackKind, ...] = ()
    """The kinds of callback that are concerned, or none for all."""
    when: Mapping[str, str] = field(default_factory=dict)
    """Only callbacks whose parameters include these are concerned."""
    extra: bool = False
    delay: float = 0.0
    """Seconds by which the altered request is late."""
    signature: Signature = "good"
    new_token: bool = False
    """Whether the altered request has an idempotency token of its own."""
    call_sid: str | None = None
    """A ``CallSid`` to send instead of the real one."""
    host: str | None = None
    """A ``Host`` header to send instead of the real one."""
    as_json: bool = False
    """Whether the parameters are sent as JSON instead of as a form."""
    times: int | None = None
    """The number of callbacks that are concerned, or None for all."""


@dataclass(frozen=True)
class RestFault:
    """One thing that is wrong with REST requests of this method whose path ends with ``path``."""

    method: str = "POST"
    path: str = "/Calls.json"
    status: int | None = None
    """Replaces the status of the response, together with ``body`` and ``content_type``."""
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_effect: bool = False
    """Whether the request is carried out although its response is replaced or dropped."""
    delay: float = 0.0
    """Seconds by which the response is late."""
    after: CallbackKind | None = None
    """Hold the response back until the application has answered a callback of this kind about the call."""
    slow_body: float = 0.0
    """Seconds over which the body is sent."""
    drop: bool = False
    """Whether the connection is cut instead of a response."""
    hang_up_first: bool = False
    """Whether the person on the phone hangs up just before the request is looked at."""
    times: int | None = 1
    """The number of requests that are concerned, or None for all."""

    @property
    def carries_out(self) -> bool:
        """Whether the request is carried out. It is, unless its response is replaced or dropped."""
        return self.takes_effect or not (self.status or self.drop)

    @classmethod
    def error(cls, code: int, *, headers: Mapping[str, str] | None = None, times: int | None = 1) -> RestFault:
        """Answer with a Twilio error, such as 20429 (with or without ``Retry-After`` in ``headers``)."""
        error = TwilioError(code)
        return cls(status=error.status, body=json.dumps(error.body()), headers=headers or {}, times=times)

    @classmethod
    def html(cls, status: int = 503, *, takes_effect: bool = False, times: int | None = 1) -> RestFault:
        """Answer as a broken proxy does."""
        page = f"<html><body><h1>{status} Service Temporarily Unavailable</h1></body></html>"
        return cls(status=status, body=page, content_type="text/html", takes_effect=takes_effect, times=times)


Fault = TypeVar("Fault", CallbackFault, RestFault)


@dataclass
class Injections:
    """All faults of a run. Of several that fit a request, the first applies."""

    callbacks: list[CallbackFault] = field(default_factory=list)
    rest: list[RestFault] = field(default_factory=list)
    reorder: bool = False
    """Hold a call's progress callbacks back until its end; then send ``completed`` first and the others shuffled."""
    amd_after_end: bool = False
    """Send the result of asynchronous machine detection after the call is over."""
    trailing_slash: bool = False
    """Sign every URL, those of sockets included, as if it ended with a slash."""
    _used: Counter[int] = field(default_factory=Counter, init=False, repr=False)  # how often, by the fault's `id`

    def for_callback(self, kind: CallbackKind, parameters: Mapping[str, str]) -> CallbackFault | None:
        """Return the fault for this callback, if any, and count it as used."""
        return self._first(
            self.callbacks,
            lambda fault: (not fault.kinds or kind in fault.kinds) and fault.when.items() <= parameters.items(),
        )

    def for_rest(self, method: str, path: str) -> RestFault | None:
        """Return the fault for this REST request, if any, and count it as used."""
        return self._first(self.rest, lambda fault: fault.method == method and path.endswith(fault.path))

    def _first(self, faults: Iterable[Fault], matches: Callable[[Fault], bool]) -> Fault | None:
        for fault in faults:
            if matches(fault) and (fault.times is None or self._used[id(fault)] < fault.times):
                self._used[id(fault)] += 1
                return fault
        return None
