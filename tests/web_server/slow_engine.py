"""An engine whose weights take long to load, in a thread, as real ones load them."""

from __future__ import annotations

import asyncio
import time

from inference.engines.scripted import ScriptedTextToSpeech


class SlowTextToSpeech(ScriptedTextToSpeech):
    async def start(self) -> None:
        print("loading slowly", flush=True)
        await asyncio.to_thread(time.sleep, 3600)
