"""What a model writes beside the words of its reply: markers that ask for something, and what should not be there."""

from __future__ import annotations

import re
from dataclasses import replace

from inference.chat.prompt import OPT_OUT_MARKER
from inference.requests import NO_REQUESTS
from inference.types import NO_TOOLS, Tools

OPENINGS = (
    *("<bos>", "<start_of_turn>", "<|im_start|>", "model\n", "model:", "assistant\n", "assistant:", "agent:", "ai:"),
    *("**assistant:**", "**agent:**", "**assistant**:", "**agent**:"),
)
"""The role that some models write before their words."""
THOUGHTS = ("<think>", "</think>")
"""Between these, at the beginning, reasoning that the server did not take out."""
ENDINGS = (
    *("<end_of_turn>", "<start_of_turn>", "<turn|>", "<eos>", "</s>", "<|im_end|>", "<|im_start|>", "<|eot_id|>"),
    *("<|end|>", "<|endoftext|>", "\nuser:", "\ncaller:", "\ncustomer:", "\nhuman:", "\nuser\n"),
)
"""After these a model no longer answers: it has ended, or it plays the caller's part too."""

_NAME = r"[\s:=][^\[\]\n]{0,60}"
_BEGUN_TRANSFER = re.compile(rf"\[transfer{_NAME}")
_CUT_TRANSFER = re.compile(rf"\[transfer(?:{_NAME})?", re.IGNORECASE)
_ENDING = re.compile("|".join(map(re.escape, ENDINGS)), re.IGNORECASE)


class ReplyFilter:
    """
    Takes out of text that comes in pieces what is not to be said.

    ``requests`` is what its markers so far ask for; other text in brackets stays. ``ended`` tells that whatever comes
    now is no reply any more.
    """

    def __init__(self, end_call_marker: str, tools: Tools = NO_TOOLS) -> None:
        markers = [rf"(?P<end_call>{re.escape(end_call_marker)})"] if end_call_marker else []
        markers += [rf"(?P<opt_out>{re.escape(OPT_OUT_MARKER)})", rf"\[transfer(?P<transfer>{_NAME})?\]"]
        self._pattern = re.compile("|".join(markers), re.IGNORECASE)
        self._markers = tuple(
            marker.lower() for marker in (end_call_marker, OPT_OUT_MARKER, "[transfer", *ENDINGS) if marker
        )
        self._first = frozenset(marker[0] for marker in self._markers)
        self._held = ""
        self._opening = True
        self._thinking = False
        # A transfer to no name goes to the first target: there may be no doubt. The server refuses "nobody".
        self._transfer_to = next(iter(tools.transfer_targets), "nobody")
        self.ended = False
        self.requests = NO_REQUESTS

    def feed(self, text: str) -> str:
        """What is certain to be said; the beginning of what may become something else is held back."""
        text, self._held = self._held + text, ""
        if self.ended:
            return ""
        if self._opening:
            text = self._without_opening(text)
        if ending := _ENDING.search(text):
            self.ended = True
            text = text[: ending.start()]
        text = self._pattern.sub(self._take, text)
        if self.ended or not text:
            return text
        held = next((at for at in range(len(text)) if self._may_come(text, at)), None)
        if held is None:
            return text
        self._held = text[held:]
        return text[:held]

    def rest(self) -> str:
        """What was held back and is to be said after all. A transfer that only lacks its bracket is one."""
        self._opening = False
        text, self._held = self._held, ""
        if self._thinking or (text[:2] in ("<e", "<s", "<t", "</", "<|") and _begins(text.lower(), ENDINGS)):
            return ""
        return "" if _CUT_TRANSFER.fullmatch(text) and not self.feed(f"{text}]") else text

    def _without_opening(self, text: str) -> str:
        """The text behind it and behind all space; what may still become an opening is held."""
        start, end = THOUGHTS
        while True:
            if self._thinking:
                _, closed, behind = text.partition(end)
                if not closed:
                    self._held = text[1 - len(end) :]
                    return ""
                self._thinking, text = False, behind
            text = text.lstrip()
            lower = text.lower()
            if lower.startswith(start):
                self._thinking, text = True, text[len(start) :]
            elif opening := next(filter(lower.startswith, OPENINGS), ""):
                text = text[len(opening) :]
            elif _begins(lower, (*OPENINGS, start)):
                self._held = text
                return ""
            else:
                self._opening = False
                return text

    def _take(self, marker: re.Match[str]) -> str:
        match marker.lastgroup:
            case "end_call":
                self.requests = replace(self.requests, end_call=True)
            case "opt_out":
                self.requests = replace(self.requests, opt_out=True)
            case _:
                name = (marker["transfer"] or "").strip(" :=\"'<>")
                self.requests = replace(self.requests, transfer=name or self._transfer_to)
        return ""

    def _may_come(self, text: str, at: int) -> bool:
        if text[at].lower() not in self._first:
            return False
        rest = text[at:].lower()  # not of the whole text: some letters become two
        return _begins(rest, self._markers) or _BEGUN_TRANSFER.fullmatch(rest) is not None


def _begins(text: str, literals: tuple[str, ...]) -> bool:
    """The text is the beginning of one of them."""
    return any(literal.startswith(text) for literal in literals)
