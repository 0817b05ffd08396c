"""Collects the keys that the caller presses until they are a complete input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from media.turns.commands import Command, Noted
from media.turns.options import ConversationOptions


@dataclass(frozen=True, slots=True)
class KeyInput:
    """Keys pressed one after another, which together are one turn of the caller's."""

    keys: str
    pressed_at: float
    """When the last of them was pressed; session clock."""
    wait: float = 0.0
    """Seconds to wait for another key."""

    @property
    def text(self) -> str:
        """How the language model and the transcript read it."""
        return f"[pressed {' '.join(self.keys)}]"


class Keypad:
    """
    Collects the keys that the caller presses until they are a complete input.

    Commands go to ``emit``. It is ``Conversation`` that decides whether the moment allows the caller a turn.
    """

    def __init__(self, options: ConversationOptions, emit: Callable[[Command], None]) -> None:
        self._options = options
        self._emit = emit
        self.pending: KeyInput | None = None
        """The keys pressed since the last input was taken."""

    def press(self, digit: str, now: float, *, number_asked: bool = False) -> bool:
        """
        Note a key. False if it is the key that opts out: it acts at once and is no input.

        ``number_asked``: the agent has asked for a number.
        """
        self._emit(Noted("key", now, {"digit": digit}))
        if digit == self._options.opt_out_key:
            return False
        keys = (self.pending.keys if self.pending is not None else "") + digit
        wait = self._options.number_keys_after if number_asked else self._options.keys_after
        # The first key may have cut off what the agent asked for.
        wait = max(wait, self.pending.wait if self.pending is not None else 0.0)
        # ``#`` ends an input, as it does on every telephone menu.
        self.pending = KeyInput(keys, now, wait=0.0 if digit == "#" else wait)
        return True

    @property
    def deadline(self) -> float | None:
        """When the keys pressed so far are complete; None if there are none."""
        return None if self.pending is None else self.pending.pressed_at + self.pending.wait

    def take(self, now: float) -> KeyInput | None:
        """The input, once it is complete."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        return self.take_pending()

    def take_pending(self) -> KeyInput | None:
        """The keys pressed so far, whether or not more may follow."""
        taken, self.pending = self.pending, None
        return taken
