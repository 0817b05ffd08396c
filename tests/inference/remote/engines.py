"""Engines that several tests serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from inference.engines.scripted import ScriptedTextToSpeech


class LoadingTextToSpeech(ScriptedTextToSpeech):
    """Loads until the test allows it to be ready."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.may_be_ready = asyncio.Event()

    async def start(self) -> None:
        await self.may_be_ready.wait()


class ListingTextToSpeech(ScriptedTextToSpeech):
    """Lists the voices that it has."""

    @property
    def voice_names(self) -> Sequence[str]:
        return self.voices
