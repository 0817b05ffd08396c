"""Several language models as one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from inference.fallback.members import FallbackEngine, Member, answer_by, now
from inference.types import (
    NO_TOOLS,
    EngineError,
    Message,
    TextDelta,
    Tools,
)

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_KEPT = 30.0
"""Seconds of an utterance that are kept for the next engine: as much as Whisper hears at once, 1 MB at 16 kHz."""
CLOSE_TIMEOUT = 5.0
"""For a voice to be closed: nothing waits for one that hangs."""


class FallbackLanguageModel(FallbackEngine):
    """
    ``deadline`` runs to the first words of a reply, ``stall`` between its pieces.

    Once words are out, another engine could only begin anew: a reply that breaks off then raises, and the
    conversation answers for it. A reply without a word counts as failed. Where tokens are paid for
    (``may_speculate``) no engine is asked on a guess.
    """

    kind = "llm"

    def __init__(self, *, deadline: float = 1.0, stall: float = 2.0, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)
        self._stall = stall

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        failure: EngineError | None = None
        willing = self._members
        if speculative:
            if not self.may_speculate:
                raise EngineError("the llm engine that is asked now takes no request on a guess")
            willing = [member for member in willing if not member.started or member.engine.may_speculate]
        for member, ticket in self._candidates(willing):
            begun = False
            try:
                async with aclosing(self._reply(member, ticket, messages, speculative, tools)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except EngineError as error:
                if begun:
                    raise
                failure = error
        raise failure or self._nobody(willing)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Warms the one that would be asked now."""
        if self._preferred.healthy:
            await self._preferred.engine.warm(messages, tools=tools)

    async def _reply(
        self, member: Member, ticket: int, messages: Sequence[Message], speculative: bool, tools: Tools
    ) -> AsyncGenerator[TextDelta, None]:
        held: list[TextDelta] = []  # what says nothing yet
        due = now() + member.deadline
        with member.trial(ticket) as trial:
            stream = member.engine.stream(messages, speculative=speculative, tools=tools)
            async with aclosing(stream) as deltas:
                while (delta := await answer_by(due, anext(deltas, None), member)) is not None:
                    held.append(delta)
                    if delta.text.strip() or delta.requests:
                        trial.produced = True
                    if trial.produced:
                        for each in held:
                            yield each
                        held.clear()
                        due = now() + self._stall
            if not trial.produced:
                raise EngineError(f"the {member.name} gave an empty reply")
