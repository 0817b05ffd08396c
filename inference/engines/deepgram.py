"""
Recognition by Deepgram's Nova-3.

Each utterance has a WebSocket of its own, one of a few that are connected before they are needed. So nothing of one
utterance or call can reach another, and times count from the beginning of the utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inference.deepgram.account import fitting
from inference.deepgram.engine import DeepgramEngine
from inference.deepgram.languages import Choice
from inference.deepgram.nova import KEEP_ALIVE, SILENCE, NovaExchange, failure, read
from inference.hosted.addresses import websocket_url
from inference.hosted.plan import Plan
from inference.hosted.recognition import RATE_HZ, Exchange


class DeepgramSpeechToText(DeepgramEngine):
    """
    Nova-3. The words of a snapshot are those that ``Finalize`` brings.

    The model does not decide where an utterance ends (``endpointing=false``), because the conversation does.
    """

    default_model = "nova-3"
    keep_alive_every: ClassVar[float] = 4.0
    """Seconds. Deepgram closes a socket after 10 s without sound or a message, and asks for one each 3 to 5 s."""

    def _plan(self, url: str) -> Plan:
        return self._plan_of(
            url,
            read=read,
            failure=failure,
            hello=(SILENCE,),
            keep_alive=KEEP_ALIVE,
            keep_alive_every=self.keep_alive_every,
        )

    def _url(self, choice: Choice) -> str:
        options = self._options
        query = {
            "model": self._model,
            "language": choice.language,
            "encoding": "mulaw",
            "sample_rate": str(RATE_HZ),
            "interim_results": "true",
            "punctuate": "true",
            "endpointing": "false",
            **options.parameters,
        }
        hints = [("language_hint", hint) for hint in choice.hints]
        keyterms = [("keyterm", keyterm) for keyterm in fitting(options.keyterms)]
        return websocket_url(options.base_url, "/v1/listen", [*query.items(), *hints, *keyterms])

    def _billed_as(self, choice: Choice) -> str:
        return self._model + ("-multi" if choice.is_any else "")

    def _exchange(self, keyterms: Sequence[str] | None) -> Exchange:
        return NovaExchange(keyterms=keyterms)
