"""What was said and heard on a call to ourselves, and what is wrong with it. Without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

LINES = ("What time do you open?", "How much does it cost?", "Thank you, goodbye.")
"""What the caller says, unless told otherwise: the recogniser of every profile knows these words."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One call, as far as it came. Times are in seconds."""

    lines: tuple[str, ...]
    """What the caller said."""
    failure: str = ""
    """Why the agent was not heard; empty if it was."""
    responses: tuple[float | None, ...] = ()
    """For each line, how long after it the agent was heard; None if it was not, or spoke already."""
    gaps: tuple[float, ...] = ()
    """How long the agent's voice was missing in mid-word, each time."""
    is_recorded: bool = True
    """Whether the call was found in the database, where the words are."""
    heard: tuple[str, ...] = ()
    """What was recognised of the caller."""
    replies: tuple[str, ...] = ()
    """What the agent said, as far as it was heard."""
    measured: str = field(default="at the caller's end of the line")
    """Where the responses were measured."""

    @property
    def answered(self) -> list[float]:
        return [seconds for seconds in self.responses if seconds is not None]

    @property
    def slowest(self) -> float | None:
        return max(self.answered, default=None)


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters and without signs."""
    return re.findall(r"[^\W_]+", text.lower().replace("'", ""))


def recognised(line: str, heard: Sequence[str]) -> float:
    """The share of the words of a line that were recognised in any turn, from 0 to 1."""
    wanted = words_of(line)
    known = {word for text in heard for word in words_of(text)}
    return sum(word in known for word in wanted) / len(wanted) if wanted else 1.0


def problems_of(conversation: Conversation, *, limit: float, least_words: float) -> Iterator[str]:
    """
    What makes the test fail, each in one sentence.

    ``limit`` is how long a reply may take, ``least_words`` the share of the words of a line that must be recognised.
    """
    if conversation.failure:
        yield conversation.failure
        return
    *asking, last = zip(conversation.lines, conversation.responses, strict=True)
    for line, response in asking:  # after the last one the agent may hang up
        if response is None:
            yield f'There was no reply to "{line}".'
    for line, response in (*asking, last):
        if response is not None and response > limit:
            yield f'The reply to "{line}" came after {response:.2f} s; the limit is {limit:g} s (--limit).'
    if conversation.gaps:
        longest = max(conversation.gaps)
        yield f"The agent's voice had {len(conversation.gaps)} gaps, the longest of {1000 * longest:.0f} ms."
    if not conversation.is_recorded:
        yield "The call is not in the database: the server that answered uses another one than this command."
        return
    for line in conversation.lines:
        if (share := recognised(line, conversation.heard)) < least_words:
            yield f'Of "{line}" {100 * share:.0f} % of the words were recognised, fewer than {100 * least_words:.0f} %.'
    if not any(words_of(reply) for reply in conversation.replies):
        yield "No word of the agent is in the records."
