"""Keeps the requests of a model within its context, whose size is known only roughly."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from inference.chat.prompt import tokens

log = logging.getLogger(__name__)

SHRINK = 0.9
"""The context is reduced to this share of what was found too large; the count of tokens is an estimate."""


class Context:
    """``tokens`` is the size that is used; it is reduced when the model finds a request too large."""

    def __init__(self, model: str, tokens: int, max_tokens: int) -> None:
        self.tokens = tokens
        self._model = model
        self._max_tokens = max_tokens

    @property
    def room(self) -> int:
        """Tokens for the conversation: the reply takes the rest."""
        return self.tokens - self._max_tokens

    def shrink(self, turns: Sequence[Mapping[str, str]], tokens_used: int) -> bool:
        """
        These turns were too many for the model: send fewer from now on. False if none can be left out.

        ``tokens_used`` is the size that the refused request was built for: several requests may be refused at once.
        """
        if sum(turn["role"] != "system" for turn in turns) < 2:
            return False
        size = sum(tokens(turn["content"]) for turn in turns) + self._max_tokens
        self.tokens = min(self.tokens, int(SHRINK * min(size, tokens_used)))
        log.warning(
            "The context of %s is smaller than its option context_tokens says; %d tokens are used from now on",
            self._model,
            self.tokens,
        )
        return True
