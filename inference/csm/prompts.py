"""Builds the model's input at the beginning of a call and before each clause."""

from __future__ import annotations

from typing import Any

from inference.csm.context import Context, ContextSegment
from inference.csm.guards import MOST_FRAMES
from inference.csm.options import CsmOptions
from inference.csm.voices import Voice
from inference.types import EngineError

AGENT, CALLER = 0, 1
"""The speakers' numbers in the model's prompt. The recording of the voice has the agent's."""

MOST_CLAUSE = 80
"""Positions that the text of one clause takes, with a few to spare."""


class Prompts:
    """Texts as tokens, and voices as the context with which a call begins."""

    def __init__(self, tokenizer: Any, config: Any, options: CsmOptions) -> None:
        """``tokenizer`` and ``config`` are those of the checkpoint, as ``transformers`` loaded them."""
        self._tokenizer = tokenizer
        self._config = config
        self._options = options

    def tokenize(self, text: str, speaker: int = AGENT) -> tuple[int, ...]:
        """The prompt for one segment: a begin marker, the speaker's number, the text, an end marker."""
        # Text that looks like a marker is encoded as text.
        ids: list[int] = self._tokenizer.encode(
            f"[{speaker}]{text}", add_special_tokens=False, split_special_tokens=True
        )
        return (self._config.bos_token_id, *ids, self._tokenizer.convert_tokens_to_ids("<|end_of_text|>"))

    def context(self, voice: Voice | None) -> Context:
        """A new context, which begins with the recording of this voice."""
        return Context(
            ContextSegment(self.tokenize(voice.text), voice.codes) if voice is not None else None,
            codebooks=self._config.num_codebooks,
            positions=self._options.positions - 1,
            most_seconds=self._options.remember_seconds,
            keep_seconds=self._options.keep_seconds,
        )

    def check_room(self, voice: Voice) -> None:
        """Refuse a voice that leaves too little room to speak, before a caller notices."""
        taken, positions = len(self.context(voice)), self._options.positions
        if taken + MOST_FRAMES + MOST_CLAUSE > positions:
            raise EngineError(
                f"The voice {voice.name!r} takes {taken} of {positions} positions, which leaves too little to speak: "
                "make its recording shorter, or set more `positions`.",
                permanent=True,
            )
