"""Combines several language models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from inference.continuing import Continuation
from inference.fallback.member import Member, Trial, answer_by, combine, loop_time
from inference.fallback.members import FallbackEngine
from inference.interfaces import LanguageModel
from inference.types import NO_TOOLS, EngineError, Message, TextDelta, Tools


class FallbackLanguageModel(FallbackEngine[LanguageModel]):
    """
    ``deadline`` runs until the first words of a reply, ``stall`` between its pieces. Both are in seconds.

    A reply that breaks off after its first words is finished by the next engine. A reply without a word counts as
    failed. If the engine that would be asked is paid by the token (``may_speculate`` is false), speculative requests
    are refused.
    """

    kind = "llm"

    def __init__(self, *, deadline: float = 1.0, stall: float = 2.0, **options: Any) -> None:
        super().__init__(deadline=deadline, **options)
        self._stall = stall

    async def stream(
        self, messages: Sequence[Message], *, speculative: bool = False, tools: Tools = NO_TOOLS
    ) -> AsyncGenerator[TextDelta, None]:
        failure: EngineError | None = None
        said = ""
        willing = self.members
        if speculative:
            if not self.may_speculate:
                raise EngineError("the llm engine that would be asked takes no speculative requests")
            willing = [member for member in willing if not member.started or member.engine.may_speculate]
        for member, ticket in self.candidates(willing):
            continuation = Continuation(said) if said.strip() else None
            asked = messages if continuation is None else continuation.messages(messages)
            try:
                async with aclosing(self._reply(member, ticket, asked, speculative=speculative, tools=tools)) as deltas:
                    async for delta in deltas:
                        for passed_on in [delta] if continuation is None else continuation.push(delta):
                            said += passed_on.text
                            yield passed_on
                for passed_on in [] if continuation is None else continuation.finish():
                    yield passed_on
                return
            except EngineError as error:
                failure = combine(failure, error)
        raise failure or self.none_started_error(willing)

    async def warm(self, messages: Sequence[Message], *, tools: Tools = NO_TOOLS) -> None:
        """Warms the engine that would be asked now."""
        if self.first_choice.healthy:
            await self.first_choice.engine.warm(messages, tools=tools)

    async def _reply(
        self, member: Member[LanguageModel], ticket: int, messages: Sequence[Message], speculative: bool, tools: Tools
    ) -> AsyncGenerator[TextDelta, None]:
        held: list[TextDelta] = []  # deltas before the first word
        deadline = loop_time() + member.deadline
        with Trial(member, ticket) as trial:
            stream = member.engine.stream(messages, speculative=speculative, tools=tools)
            async with aclosing(stream) as deltas:
                while (delta := await answer_by(deadline, anext(deltas, None), member.name)) is not None:
                    held.append(delta)
                    if delta.text.strip() or delta.requests:
                        trial.produced = True
                    if trial.produced:
                        for each in held:
                            yield each
                        held.clear()
                        deadline = loop_time() + self._stall
            if not trial.produced:
                raise EngineError(f"the {member.name} gave an empty reply")
