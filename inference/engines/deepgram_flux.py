"""
Recognition by Deepgram's Flux.

As with Nova-3, each utterance has a WebSocket of its own, one of a few that are connected before they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from inference.deepgram.account import fitting
from inference.deepgram.engine import DeepgramEngine
from inference.deepgram.flux import FluxExchange, failure, is_ready
from inference.deepgram.languages import Choice
from inference.deepgram.nova import read
from inference.hosted.addresses import websocket_url
from inference.hosted.plan import Plan
from inference.hosted.recognition import RATE_HZ, Exchange

MULTILINGUAL = "flux-general-multi"


class DeepgramFluxSpeechToText(DeepgramEngine):
    """
    Flux, which recognises English, or ten languages with the model ``flux-general-multi``.

    It could decide when the caller has finished. It is told not to, because the conversation does.
    """

    default_model = "flux-general-en"
    least: ClassVar[int] = 640
    """Samples. Flux prefers frames of 80 ms."""

    def _plan(self, url: str) -> Plan:
        # Flux has no KeepAlive: any message that it does not know ends the socket. Pings hold it.
        return self._plan_of(url, read=read, failure=failure, is_ready=is_ready)

    def _url(self, choice: Choice) -> str:
        options = self._options
        query = {
            "model": self._model,
            "encoding": "mulaw",
            "sample_rate": str(RATE_HZ),
            "eot_threshold": "1.0",  # no turn ends by the model's own judgement
            "eot_timeout_ms": "60000",  # the most that it takes: nor by a pause
            **options.parameters,
        }
        likely = choice.hints or ((choice.language,) if not choice.is_any else ())
        hints = [("language_hint", hint) for hint in likely if self._model == MULTILINGUAL]
        keyterms = [("keyterm", keyterm) for keyterm in fitting(options.keyterms)]
        return websocket_url(options.base_url, "/v2/listen", [*query.items(), *hints, *keyterms])

    def _exchange(self, keyterms: Sequence[str] | None) -> Exchange:
        return FluxExchange(keyterms=keyterms)
