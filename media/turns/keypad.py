"""When do the keys that the caller presses count as input?"""

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

    def press(self, digit: str, now: float) -> bool:
        """Note a key. False if it is the key that opts out: it acts at once and is no input."""
        self._emit(Noted("key", now, {"digit": digit}))
        if digit == self._options.opt_out_key:
            return False
        self.pending = KeyInput((self.pending.keys if self.pending is not None else "") + digit, now)
        return True

    @property
    def deadline(self) -> float | None:
        """When the keys pressed so far are complete; None if there are none."""
        if self.pending is None:
            return None
        # ``#`` ends an input, as it does on every telephone menu.
        wait = 0.0 if self.pending.keys.endswith("#") else self._options.keys_after
        return self.pending.pressed_at + wait

    def take(self, now: float) -> KeyInput | None:
        """The input, once it is complete."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        taken, self.pending = self.pending, None
        return taken
