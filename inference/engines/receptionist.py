"""The language model of the profile that needs no download: it answers by the rules of ``front_desk``."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from inference.engines.front_desk import answer
from inference.types import NO_TOOLS, Description, Message, TextDelta, Tools


class ReceptionistLanguageModel:
    """
    Answers by rules in under a millisecond, and streams the answer word by word as a model does.

    It has no state, so that every call and every retry gets the same answer to the same conversation.
    """

    may_speculate: ClassVar[bool] = True

    async def start(self) -> None:
        """Do nothing: there is nothing to load."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def describe(self) -> Description:
        return Description("none: rules about one front desk")

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Do nothing: there is nothing to prepare."""

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        reply = answer(messages, tools)
        for word in re.findall(r"\S+\s*", reply.text):
            yield TextDelta(word)
        if reply.requests:
            yield TextDelta(requests=reply.requests)
