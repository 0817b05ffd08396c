"""The audio of one leg while no media stream carries it: prompts, keys, and the other leg of a bridge."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from media.phone.frames import FRAME_BYTES, RATE_HZ, SILENT_FRAME
from media.phone.party import Party
from media.phone.ticker import Ticker

if TYPE_CHECKING:  # leg.py imports this module
    from media.phone.leg import PhoneCall

MAX_BRIDGED_FRAMES = 10
"""At most 200 ms of the other leg's audio wait. If this leg takes it too slowly, old audio is dropped, not delayed."""


class LegAudio:
    """
    Plays one frame to the person every 20 ms, and takes one frame and at most one key from them.

    It shares its ticker with the media streams of all calls. It therefore never raises: the leg fails instead.
    """

    def __init__(self, leg: PhoneCall, party: Party | None) -> None:
        self.party = party
        """The person on this leg: known from the start if they call, set when they answer if they are called."""
        self.is_answered = False
        """Set when the call is answered. Before that no audio flows, but the caller may hang up."""
        self.is_streaming = False
        """True while a media stream carries the audio instead."""
        self.bridged: LegAudio | None = None
        """The audio of the other leg, while ``<Dial>`` connects the two."""
        self.listener: Callable[[bytes], None] | None = None
        """Called with every frame that the person says, while ``<Record>`` listens."""
        self.keys: asyncio.Queue[str] = asyncio.Queue()
        """The keys that the person has pressed and TwiML did not take yet."""
        self._leg, self._tape = leg, leg.tape
        self._prompt = bytearray()  # what the person has yet to hear
        self._prompt_played = asyncio.Event()
        self._from_bridged: deque[bytes] = deque(maxlen=MAX_BRIDGED_FRAMES)

    def start(self) -> None:
        """Begin to tick."""
        Ticker.shared().join(self._tick)

    def stop(self) -> None:
        """Stop ticking. Idempotent."""
        Ticker.shared().leave(self._tick)

    async def play(self, audio: bytes) -> None:
        """Play mu-law audio of any length; return once the person heard it, or earlier if it was dropped."""
        self._prompt += audio
        try:
            while self._prompt:
                self._prompt_played.clear()
                await self._prompt_played.wait()
        finally:
            self._prompt.clear()

    def drop_prompt(self) -> None:
        """Play no more of the prompt."""
        self._prompt.clear()

    def _tick(self, due: float) -> None:
        party = self.party
        if party is None or self.is_streaming:
            return
        try:
            if party.hung_up:
                self.stop()
                self._leg.hang_up()
            elif self.is_answered:
                self._carry(party, due)
        except Exception as error:  # a broken party must not stop the ticker of all other calls
            self.stop()
            self._leg.fail(error)

    def _carry(self, party: Party, due: float) -> None:
        said = party.next_frame()
        for note in party.take_notes():
            at = due + note.offset / RATE_HZ
            self._tape.log(note.event, at=at, sent_at=self._tape.seconds(at), **note.fields)
        self._tape.record_said(due, said)
        key = party.next_key()
        if key is not None:
            self._leg.log("key", digit=key)
            self.keys.put_nowait(key)
        if self.listener is not None:
            self.listener(said)
        if self.bridged is not None:
            self.bridged._from_bridged.append(said)
            heard = self._from_bridged.popleft() if self._from_bridged else SILENT_FRAME
        else:
            heard = bytes(self._prompt[:FRAME_BYTES]).ljust(FRAME_BYTES, SILENT_FRAME[:1])
            del self._prompt[:FRAME_BYTES]
            if not self._prompt:
                self._prompt_played.set()
        self._tape.record_heard(due, heard)
        party.hear(heard)
