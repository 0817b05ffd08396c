"""A rule-based responder: the language model of the zero-download profile. It talks about ``front_desk`` only."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from inference.engines.front_desk import answer
from inference.types import Message, TextDelta


class ReceptionistLanguageModel:
    """
    Answers from rules, word by word as a model does, in under a millisecond.

    The messages are its only state, so every call and every retry gets the same answer to the same conversation.
    """

    may_speculate: ClassVar[bool] = True

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def warm(self, messages: Sequence[Message]) -> None:
        pass

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False
    ) -> AsyncGenerator[TextDelta, None]:
        reply = answer(messages)
        for word in re.findall(r"\S+\s*", reply.text):
            yield TextDelta(word)
        if reply.end_call:
            yield TextDelta(end_call=True)
