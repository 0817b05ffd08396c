"""Defines the ``OPTIONS`` of ``LlamaCppLanguageModel``."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.cores import usable_cores
from inference.options import PATH
from inference.types import EngineError

FEWEST_CONTEXT_TOKENS = 512
"""A system message and one exchange need about as much."""


def spare_cores() -> int:
    """
    All cores but one, at least 1.

    With a thread on every core each step of the model waits for a thread that another process keeps from running: on a
    busy machine of two cores replies then took more than 2 s for one token.
    """
    return max(1, usable_cores() - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppOptions:
    model: str = field(metadata=PATH)
    """The path of a GGUF file, or of a folder that contains one. Of a split model, the first file."""

    threads: int = 0
    """Threads that compute. 0: one less than there are cores, at least one."""

    slots: int = 2
    """Replies that are made at once. Each call keeps its conversation in a slot, so that a turn reads only what is new;
    with more calls than slots they take each other's slots, and each turn reads the whole conversation again."""

    context_tokens: int = 4096
    """The context of one slot, in tokens. Older turns are left out of a request that would exceed it. The memory for
    ``slots * context_tokens`` is taken at the start."""

    max_tokens: int = 160
    """The longest reply, in tokens: about 40 s of speech, more than a caller listens to in one go."""

    temperature: float = 0.7
    """The freedom with which words are chosen; 0 always takes the likeliest."""

    chat_template: str = ""
    """A Jinja template. Empty: the model's own; a model without one, such as a base model, gets plain lines that begin
    with ``User:`` and ``Assistant:``."""

    batch_tokens: int = 64
    """Tokens of a prompt that are read in one step. Between two steps the other replies get a token each and cancelled
    requests end, so a smaller number is fairer; a larger one reads no faster on a processor."""

    first_token_timeout: float = 15.0
    """Seconds from the request to the first text. A prompt that is read for the first time takes 3 to 5 s on a small
    machine, and twice that beside another one; the caller has heard a filler long before."""

    inter_token_timeout: float = 10.0
    """Seconds between two pieces of text. While the prompt of another call is read, a token takes up to a second."""

    reply_timeout: float = 60.0
    """Seconds of waiting for the model in one reply, after its first text."""

    end_call_marker: str = "[END_CALL]"
    """The text that the model writes to request the end of the call. Empty: the model cannot request it."""

    may_speculate: bool = True
    """Whether a reply may be requested before the caller has certainly finished. It costs nothing but processor time;
    set it to false where that is scarce."""

    def __post_init__(self) -> None:
        checks = {
            "model must be the path of a GGUF file": bool(self.model),
            "threads must not be negative": self.threads >= 0,
            "slots must be at least 1": self.slots >= 1,
            f"context_tokens must be at least {FEWEST_CONTEXT_TOKENS}": self.context_tokens >= FEWEST_CONTEXT_TOKENS,
            "max_tokens must be at least 1 and less than half of context_tokens": 1
            <= self.max_tokens
            <= self.context_tokens // 2,
            "batch_tokens must be at least 32": self.batch_tokens >= 32,
            "temperature must not be negative": self.temperature >= 0,
        }
        if wrong := [rule for rule, holds in checks.items() if not holds]:
            raise EngineError(f"LlamaCppLanguageModel: {'; '.join(wrong)}", permanent=True)
