"""The reports of one leg to the application: their order, their parameters, and their URLs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from media.phone.call_request import API_VERSION, Callback
from media.phone.callback_sender import AWAITED_KINDS, CallbackResponse, CookiesPerHost
from media.phone.injections import CallbackKind
from media.phone.twilio_errors import TwilioError

if TYPE_CHECKING:  # leg.py imports this module
    from media.phone.leg import PhoneCall


class LegCallbacks:
    """
    Sends the callbacks of one leg.

    Progress, stream and recording callbacks leave one after another: each waits for the response to the one before,
    so that only an injected fault changes their order.
    """

    def __init__(self, leg: PhoneCall, *, extra_parameters: Mapping[str, str]) -> None:
        self.progress: Callback | None = leg.request.callback
        """The URL for the progress of the call; a REST update that changes the TwiML may replace it."""
        self._leg = leg
        self._extra_parameters = dict(extra_parameters)
        self._cookies: CookiesPerHost = {}  # Twilio keeps the application's cookies for the duration of a call
        self._sequence_number = 0  # of the next progress callback; Twilio numbers only those
        self._latest: asyncio.Task[None] | None = None  # the callback that the next one waits for
        self._held_back: list[dict[str, str]] = []  # progress callbacks kept for the end (``Injections.reorder``)
        self._answered_kinds: dict[CallbackKind, asyncio.Event] = {}
        self._answer_reported = leg.direction == "inbound"  # the request for TwiML is the report

    def parameters(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the parameters of every request about this call (TwiML requests, progress callbacks)."""
        leg, request = self._leg, self._leg.request
        parties = {"From": request.from_number, "To": request.to_number}
        parties |= {"Caller": request.from_number, "Called": request.to_number}
        places = {
            f"{party}{part}": "US" if part == "Country" and number.startswith("+1") else ""
            for party, number in parties.items()
            for part in ("City", "State", "Zip", "Country")
        }
        parent = {"ParentCallSid": leg.parent.sid} if leg.parent else {}
        return {
            "CallSid": leg.sid,
            "AccountSid": self._leg.network.account_sid,
            **parties,
            **places,
            "CallStatus": leg.status,
            "ApiVersion": API_VERSION,
            "Direction": leg.direction,
            **parent,
            **self._extra_parameters,
            **(extra or {}),
        }

    def report_answer(self) -> None:
        """Report that the call was answered. Does so once."""
        if not self._answer_reported:
            self._answer_reported = True
            self.report_progress("answered")

    def report_progress(self, event: str, *, status: str | None = None, extra: Mapping[str, str] | None = None) -> None:
        """
        Report an event of the call, if its callback subscribed to it. Only such events are numbered.

        ``status`` is the ``CallStatus`` of the report, where it is not the status of the call.
        """
        if self.progress is None or event not in self.progress.events:
            return
        parameters = self.parameters(
            {
                "CallStatus": status or self._leg.status,
                "Timestamp": format_datetime(datetime.now(UTC)),
                "SequenceNumber": str(self._sequence_number),
                "CallbackSource": "call-progress-events",
                **(extra or {}),
            }
        )
        self._sequence_number += 1
        if not self._leg.network.injections.reorder:
            self.enqueue("status", self.progress, parameters)
            return
        self._held_back.append(parameters)
        if event == "completed":
            earlier = self._held_back[:-1]
            self._leg.network.random.shuffle(earlier)
            for held in (parameters, *earlier):
                self.enqueue("status", self.progress, held)

    def enqueue(self, kind: CallbackKind, callback: Callback, parameters: Mapping[str, str]) -> None:
        """Send a callback after those before it."""
        previous = self._latest

        async def send_in_turn() -> None:
            if previous is not None:
                await asyncio.wait({previous})
            await self.send(kind, callback.url, parameters, method=callback.method)

        self._latest = self._leg.network.spawn(send_in_turn())

    async def send(
        self, kind: CallbackKind, url: str, parameters: Mapping[str, str], *, method: str
    ) -> CallbackResponse:
        """Send a callback now and return its response. A failure becomes an alert, unless the call waits for it."""
        response = await self._leg.network.sender.send(url, parameters, kind=kind, method=method, cookies=self._cookies)
        self._leg.log("webhook", kind=kind, url=response.url, status=response.status, error=response.error)
        if response.error is not None and kind not in AWAITED_KINDS:
            self._leg.alert(TwilioError(response.error, f"{response.status or 'no answer'} from {url}"))
        self._answered_kinds.setdefault(kind, asyncio.Event()).set()
        return response

    async def wait_for(self, kind: CallbackKind) -> None:
        """Return once the application has answered a callback of this kind."""
        await self._answered_kinds.setdefault(kind, asyncio.Event()).wait()

    async def flush(self) -> None:
        """Return once all callbacks enqueued so far were delivered."""
        if self._latest is not None:
            await asyncio.wait({self._latest})
