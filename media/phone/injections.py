"""What can be made to go wrong between Twilio and the application over HTTP, on purpose."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from media.phone.twilio_errors import TwilioError

Signature = Literal["good", "wrong", "missing", "other-url", "trailing-slash"]
CallbackKind = Literal["voice", "action", "status", "stream-status", "amd", "recording"]
"""What a webhook is about: a TwiML document, an ``action`` or ``<Redirect>``, or one of the four callbacks."""


@dataclass(frozen=True)
class CallbackFault:
    """
    One thing wrong with webhooks of the given ``kinds`` (all, if none) whose parameters include ``when``.

    The genuine request is altered; or, with ``extra``, it goes out as it should and an altered copy follows it.
    ``delay`` is in seconds, ``times`` limits how often. A copy keeps the idempotency token unless ``new_token``.
    """

    kinds: tuple[CallbackKind, ...] = ()
    when: Mapping[str, str] = field(default_factory=dict)
    extra: bool = False
    delay: float = 0.0
    signature: Signature = "good"
    new_token: bool = False
    call_sid: str | None = None
    host: str | None = None
    as_json: bool = False
    times: int | None = None


@dataclass(frozen=True)
class RestFault:
    """
    One thing wrong with REST requests of this method whose path ends with ``path``.

    ``status`` and ``body`` replace the answer; ``takes_effect`` says whether the request was carried out all the
    same. The answer waits for ``delay`` seconds and until a webhook of kind ``after`` about that call was answered;
    its body is sent over ``slow_body`` seconds; ``drop`` cuts the connection instead. ``hang_up_first`` lets the
    person on the phone hang up just before the request is looked at.
    """

    method: str = "POST"
    path: str = "/Calls.json"
    status: int | None = None
    body: str = ""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_effect: bool = False
    delay: float = 0.0
    after: CallbackKind | None = None
    slow_body: float = 0.0
    drop: bool = False
    hang_up_first: bool = False
    times: int | None = 1

    @property
    def carries_out(self) -> bool:
        """Whether the request is executed: always if nothing but the moment of its answer is wrong."""
        return self.takes_effect or not (self.status or self.drop)

    @classmethod
    def error(cls, code: int, *, headers: Mapping[str, str] | None = None, times: int | None = 1) -> RestFault:
        """Answer with a Twilio error, such as 20429 (with ``Retry-After`` in ``headers`` or without)."""
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
    """
    All faults of a run. The first that matches wins.

    ``reorder`` keeps a call's status callbacks back until its end and sends them ``completed`` first, then shuffled.
    ``amd_after_end`` lets the asynchronous verdict arrive after the call is over.
    ``trailing_slash`` signs every URL, those of sockets included, as if it ended with a slash.
    """

    callbacks: list[CallbackFault] = field(default_factory=list)
    rest: list[RestFault] = field(default_factory=list)
    reorder: bool = False
    amd_after_end: bool = False
    trailing_slash: bool = False
    _used: Counter[int] = field(default_factory=Counter, init=False, repr=False)

    def for_callback(self, kind: CallbackKind, parameters: Mapping[str, str]) -> CallbackFault | None:
        return self._first(
            self.callbacks,
            lambda fault: (not fault.kinds or kind in fault.kinds) and fault.when.items() <= parameters.items(),
        )

    def for_rest(self, method: str, path: str) -> RestFault | None:
        return self._first(self.rest, lambda fault: fault.method == method and path.endswith(fault.path))

    def _first(self, faults: Iterable[Fault], matches: Callable[[Fault], bool]) -> Fault | None:
        for fault in faults:
            if matches(fault) and (fault.times is None or self._used[id(fault)] < fault.times):
                self._used[id(fault)] += 1
                return fault
        return None
