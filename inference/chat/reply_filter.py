"""Separates the words of a model's reply from what it requests and from text that must not be spoken."""

from __future__ import annotations

import re
from dataclasses import replace

from inference.chat.prompt import PICKS_UP, RECITED
from inference.chat.reply_syntax import CONTEXT, Block, Found, ReplySyntax, Turn, Undecided, end_of_block
from inference.chat.request_text import RequestReader
from inference.requests import NO_REQUESTS, ToolRequests
from inference.types import FINISHED, NO_TOOLS, Tools

_INSTRUCTS = re.compile(r"\b(?:(?:answer|reply|respond) (?:only )?with|write)[\s:,\"'“‘`]*$", re.IGNORECASE)
"""Before a marker that the model does not use but speaks of."""
_WORD = re.compile(r"\w+")
_REASONING = Found(0, block=Block.THOUGHT, closer="</think>")


class ReplyFilter:
    """
    Removes from streamed text what must not be spoken.

    Pass each piece to ``feed`` and call ``rest`` at the end; both return text to speak. ``inference.chat.reply_syntax``
    says what is not spoken. ``end_call_marker`` is a further spelling of the request to end the call. If it is empty,
    the call cannot be ended. ``thinks_first``: the model is known to begin with reasoning, of which it writes only the
    end.
    """

    def __init__(self, end_call_marker: str, tools: Tools = NO_TOOLS, *, thinks_first: bool = False) -> None:
        self.reader = RequestReader(tools.transfer_targets)
        literals = {end_call_marker: ToolRequests(end_call=True), PICKS_UP: NO_REQUESTS, FINISHED: NO_REQUESTS}
        self._syntax = ReplySyntax(self.reader, literals, recited=RECITED)
        self._may_end_call = bool(end_call_marker)
        self._may_wait = tools.may_wait
        self._held = ""
        """The end of the text so far that is not decided yet."""
        self._block: Found | None = None
        """The part that is open and not spoken."""
        self._before = ""
        """The last ``CONTEXT`` characters of the words so far; empty before the first one."""
        self._others_turn = False
        """The model began with somebody else's words: nothing is spoken before its own begin."""
        self.thinking = thinks_first
        """The end of the reasoning is awaited, and all text so far is held."""
        self.thought_first = False
        """The reply began with reasoning, of which only the end was written."""
        self.ended = False
        """The model has ended its reply: what comes now is not spoken."""
        self.requests = NO_REQUESTS
        """The requests of the reply so far."""

    def feed(self, text: str) -> str:
        """Return the text that is certainly spoken. The beginning of what may not be spoken is held back."""
        self._held += text
        return self._scan(final=False)

    def rest(self) -> str:
        """The reply has ended: return the held text that is spoken after all."""
        return self._scan(final=True)

    def request(self, requests: ToolRequests) -> None:
        """Add what the reply requests."""
        if not self._may_end_call:
            requests = replace(requests, end_call=False)
        if requests.wait:
            # Behind words it means nothing, and what is written behind it is not meant for a caller who goes on.
            waits = self._may_wait and not (self._others_turn or _WORD.search(self._before))
            self.ended = self.ended or waits
            requests = replace(requests, wait=waits)
        if not self._others_turn:
            self.requests |= requests

    def _scan(self, *, final: bool) -> str:
        if self.thinking and not self._ends_thinking(final):
            return ""
        text, at = self._held, 0
        spoken: list[str] = []
        while at < len(text) and not self.ended:
            if self._block is not None:
                after = self._end_block(self._block, text, at, final)
                if after is None:
                    break
                text, at = _go_on(after, text)
                continue
            if not self._before and text[at].isspace():
                at += 1
                continue
            try:
                found = self._syntax.find(text, at, before=self._before, final=final)
            except Undecided:
                break
            if found is not None:
                if found.ends_thought and self._before and not self._before[-1].isspace():
                    spoken.append("\n")
                self._leave_out(found)
                text, at = _go_on(found, text)
                continue
            word = _WORD.match(text, at)
            end = word.end() if word else at + 1
            self._before = (self._before + text[at:end])[-CONTEXT:]
            if not self._others_turn:
                spoken.append(text[at:end])
            at = end
        self._held = "" if self.ended or final else text[at:]
        return "".join(spoken)

    def _leave_out(self, found: Found) -> None:
        if found.requests and _INSTRUCTS.search(self._before):
            # The model does not request this, it repeats how it is to request it.
            self.ended = True
            return
        self.request(found.requests)
        if found.ends_thought:
            self.requests = NO_REQUESTS
            self.thought_first = True
            self._before = ""  # the reply begins here
        if found.block is not None:
            self._block = found
        said_nothing = not self._before or self._others_turn
        match found.turn:
            case None:
                pass
            case Turn.BEGINS if said_nothing:
                self._before = ""
            case Turn.MINE if said_nothing:
                self._before, self._others_turn = "", False
            case Turn.OTHERS if said_nothing:
                self._before, self._others_turn = "\n", True
            case Turn.NONE if self._others_turn:
                pass
            case _:
                self.ended = True

    def _ends_thinking(self, final: bool) -> bool:
        """Whether it is known where the words begin. The reasoning before them is left out."""
        if not self._held.lstrip().startswith("<"):
            end = end_of_block(_REASONING, self._held, 0, final=final)
            if end is None and not final:
                return False
            if end is not None:
                self._held = self._held[end[1] :]
                self.thought_first = True
        self.thinking = False
        return True

    def _end_block(self, block: Found, text: str, at: int, final: bool) -> Found | None:
        """Return the rest of the open part; None if its end has not come yet."""
        span = end_of_block(block, text, at, final=final)
        if span is None and not final:
            return None
        self._block = None
        if span is None and block.is_text_if_open:
            return Found(at)
        inside, words = text[at : span[0]] if span else text[at:], ""
        if block.block is Block.CODE:
            self.request(self._syntax.requests_in(inside))
            # A whole reply may be an object between fences.
            words = "" if self._before else self.reader.json_words(inside[inside.find("{") :])
        elif block.block is Block.CALL:
            named = self.reader.call(block.function, inside) if block.function else self.reader.block(inside)
            self.request(named or self._syntax.requests_in(inside))
        return Found(span[1] if span else len(text), words=words)


def _go_on(found: Found, text: str) -> tuple[str, int]:
    """Return the text with the words of this part in its place, and where to read on."""
    return (found.words + text[found.end :], 0) if found.words else (text, found.end)
