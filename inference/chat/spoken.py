"""Reads the streamed reply of a model: what is spoken, and what the model requests by markers and by tool calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from inference.chat.events import Chunk
from inference.chat.reply_filter import ReplyFilter
from inference.types import NO_TOOLS, TextDelta, Tools


class BlankReply(Exception):
    """The reply has neither words nor requests."""


class SpokenReply:
    """One reply. ``thinks_first``: the model is known to begin with reasoning, of which it writes only the end."""

    def __init__(self, end_call_marker: str, tools: Tools = NO_TOOLS, *, thinks_first: bool = False) -> None:
        self.thought_first = thinks_first
        """The reply began with reasoning, of which only the end was written. Chat templates that write the beginning
        make a model do so in every reply."""
        self.is_cut = False
        """The reply ended at the limit of its length."""
        self._filter = ReplyFilter(end_call_marker, tools, thinks_first=thinks_first)

    async def deltas(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[TextDelta, None]:
        """Yield the words as they come and the requests at the end. Raises ``BlankReply``."""
        calls: dict[int, list[str]] = {}
        blank, reply_filter = True, self._filter
        async for chunk in chunks:
            for piece in chunk.calls:
                call = calls.setdefault(piece.number, ["", ""])
                call[0] = call[0] or piece.name
                call[1] += piece.arguments
            self.is_cut = chunk.finish_reason == "length"
            if text := reply_filter.feed(chunk.text):
                blank = blank and not text.strip()
                yield TextDelta(text)
            if reply_filter.thought_first:
                self.thought_first = True
            if reply_filter.ended:
                break
        # Reasoning of which a limit cut the end is no answer.
        text = "" if self.is_cut and reply_filter.thinking else reply_filter.rest()
        self.thought_first = reply_filter.thought_first or reply_filter.thinking
        if text:
            blank = blank and not text.strip()
            yield TextDelta(text)
        for name, arguments in calls.values():
            reply_filter.request(reply_filter.reader.call(name, arguments))
        if blank and not reply_filter.requests:
            raise BlankReply
        if self.is_cut or reply_filter.requests:
            yield TextDelta(requests=reply_filter.requests, is_cut=self.is_cut)
