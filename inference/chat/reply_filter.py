"""Separates the words of a model's reply from its markers and from text that must not be spoken."""

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
"""Between these, at the beginning, is reasoning that the server did not remove."""
ENDINGS = (
    *("<end_of_turn>", "<start_of_turn>", "<turn|>", "<eos>", "</s>", "<|im_end|>", "<|im_start|>", "<|eot_id|>"),
    *("<|end|>", "<|endoftext|>", "\nuser:", "\ncaller:", "\ncustomer:", "\nhuman:", "\nuser\n"),
)
"""After these the model has ended its turn, or writes the caller's next one."""

_NAME = r"[\s:=][^\[\]\n]{0,60}"
_BEGUN_TRANSFER = re.compile(rf"\[transfer{_NAME}")
_CUT_TRANSFER = re.compile(rf"\[transfer(?:{_NAME})?", re.IGNORECASE)
_ENDING = re.compile("|".join(map(re.escape, ENDINGS)), re.IGNORECASE)


class ReplyFilter:
    """
    Removes from streamed text what must not be spoken.

    Pass each piece to ``feed`` and call ``rest`` at the end; both return text to speak. Text in brackets that is no
    marker is kept.
    """

    def __init__(self, end_call_marker: str, tools: Tools = NO_TOOLS) -> None:
        markers = [rf"(?P<end_call>{re.escape(end_call_marker)})"] if end_call_marker else []
        markers += [rf"(?P<opt_out>{re.escape(OPT_OUT_MARKER)})", rf"\[transfer(?P<transfer>{_NAME})?\]"]
        self._pattern = re.compile("|".join(markers), re.IGNORECASE)
        self._markers = tuple(
            marker.lower() for marker in (end_call_marker, OPT_OUT_MARKER, "[transfer", *ENDINGS) if marker
        )
        self._first = frozenset(marker[0] for marker in self._markers)
        # A transfer marker without a name means the first target. Without targets the server refuses the name "nobody".
        self._transfer_to = next(iter(tools.transfer_targets), "nobody")
        self._held = ""
        """The end of the text so far, which may be the beginning of a marker."""
        self._opening = True
        """No words of the reply have come yet."""
        self._thinking = False
        """Inside the reasoning at the beginning."""
        self.ended = False
        """The model has ended its reply: what comes now is not spoken."""
        self.requests = NO_REQUESTS
        """What the markers so far request."""

    def feed(self, text: str) -> str:
        """Return the text that is certainly spoken. The beginning of what may become a marker is held back."""
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
        held = next((at for at in range(len(text)) if self._may_begin_marker(text, at)), None)
        if held is None:
            return text
        self._held = text[held:]
        return text[:held]

    def rest(self) -> str:
        """Return the held text that is spoken after all. A transfer marker without its last bracket counts as one."""
        self._opening = False
        text, self._held = self._held, ""
        if self._thinking or (text[:2] in ("<e", "<s", "<t", "</", "<|") and _begins(text.lower(), ENDINGS)):
            return ""
        return "" if _CUT_TRANSFER.fullmatch(text) and not self.feed(f"{text}]") else text

    def _without_opening(self, text: str) -> str:
        """Return the text after a role, reasoning and white space; hold what may still become one."""
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

    def _may_begin_marker(self, text: str, at: int) -> bool:
        if text[at].lower() not in self._first:
            return False
        # Not lower() of the whole text: some letters become two, and positions would shift.
        rest = text[at:].lower()
        return _begins(rest, self._markers) or _BEGUN_TRANSFER.fullmatch(rest) is not None


def _begins(text: str, literals: tuple[str, ...]) -> bool:
    """Whether the text is the beginning of one of the literals."""
    return any(literal.startswith(text) for literal in literals)
