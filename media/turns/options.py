"""How the agent behaves: its waits and its stock phrases. One instance serves many calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConversationOptions:
    """Durations in seconds. The phrases are spoken as they stand, and made ready before they are needed."""

    disclosure: str = ""
    """Said before anything else, to its end; nothing is recorded until the caller has heard it."""
    greeting: str = ""
    greeting_interruptible: bool = True
    speculate: bool = True
    """Start to answer while the endpointing still waits (engines paid by the token: no)."""

    filler_after: float = 1.2
    """The agent has the turn and nothing sounds: a filler."""
    longest_silence: float = 1.8
    """From the caller's last voiced sample to that filler, however much of it the endpointing took."""
    fillers: tuple[str, ...] = ("One moment, please.", "Just a moment longer.")
    still_there_after: float = 8.0
    still_there: str = "Are you still there?"
    silence_goodbye: str = "I can't hear you any more, so I'll hang up. Goodbye."
    apology: str = "I'm sorry, I didn't get that. Could you say it again?"
    not_caught: str = "Sorry, I didn't catch that."
    lost_thread: str = "Sorry, I lost my thread. What would you like to know?"
    trouble_goodbye: str = "I'm sorry, I'm having technical trouble. Please call again later. Goodbye."
    resumed: str = "Sorry, we were cut off. Please go on."
    goodbye: str = "I have to end the call now. Goodbye."

    transfer_targets: tuple[str, ...] = ()
    """Whom the language model may hand the call on to, by name."""
    transferring: str = "One moment, I'll connect you."
    transfer_failed: str = "I'm sorry, nobody answered. What else can I do for you?"
    no_transfer: str = "I'm sorry, I can't connect you. Is there anything else that I can do for you?"
    hears_opt_out: bool = True
    """A caller who asks not to be called again is not answered but taken at their word (in English)."""
    opt_out_key: str = ""
    """The key that asks the same, at any moment; ``""`` is none."""
    opted_out: str = "I've taken you off our list. We won't call you again. Goodbye."

    max_duration: float = 1800.0
    warn_before: float = 30.0
    warning: str = "We have about half a minute left."
    time_up: str = "Our time is up. Thank you for calling. Goodbye."

    transcript_timeout: float = 1.5
    """Then the last partial must do: the caller waits in silence."""
    mark_timeout: float = 2.0
    """How long after the last words should have been heard their mark is waited for before hanging up."""
    keys_after: float = 2.0
    """Keys pressed are one input when so long passes without another, or at once after ``#``."""

    @property
    def stock_phrases(self) -> tuple[str, ...]:
        """What every call says, and what may be needed while an engine is slow or gone."""
        urgent = (*self.fillers, self.apology, self.not_caught, self.lost_thread, self.trouble_goodbye)
        usual = (self.still_there, self.silence_goodbye, self.goodbye, self.warning, self.time_up, self.resumed)
        rare = (self.opted_out, self.transferring, self.transfer_failed, self.no_transfer)
        return tuple(phrase for phrase in (self.disclosure, self.greeting, *urgent, *usual, *rare) if phrase)
