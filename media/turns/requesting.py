"""Carries out what the language model requests beside its words: an end of the call, a transfer, an opt-out."""

from __future__ import annotations

from collections.abc import Callable

from media.turns.agent import Agent
from media.turns.agent_turn import AgentTurn
from media.turns.caller import Caller
from media.turns.closing import BY_AGENT, Closing, transferred
from media.turns.commands import OptOutHow
from media.turns.history import History
from media.turns.options import ConversationOptions
from media.turns.overlap import OverlapJudge


class Requesting:
    """
    Decides which requests of the language model are carried out, once the caller has heard the words beside them.

    ``say`` lets the agent say fixed words, and ``opt_out`` puts the caller on the do-not-call list.
    """

    def __init__(
        self,
        options: ConversationOptions,
        *,
        agent: Agent,
        caller: Caller,
        closing: Closing,
        history: History,
        overlaps: OverlapJudge,
        say: Callable[[str], None],
        opt_out: Callable[[OptOutHow, str], None],
    ) -> None:
        self._options = options
        self._agent = agent
        self._caller = caller
        self._closing = closing
        self._history = history
        self._overlaps = overlaps
        self._say = say
        self._opt_out = opt_out

    def change_language(self, options: ConversationOptions) -> None:
        self._options = options

    def carry_out(self, turn: AgentTurn, now: float) -> None:
        """The words of the turn were heard: do what it requests beside them, if that is allowed."""
        closing, options = self._closing, self._options
        # Otherwise its own words are missing, or the end of them.
        spoken = turn.answered and not turn.unsaid
        for requests in turn.requests:
            if requests.opt_out and closing.accept("opt_out", now, allowed=options.hears_opt_out):
                self._opt_out("agent", self._history.caller_said_last)
            if requests.transfer:
                self._transfer_to(requests.transfer, now, spoken=spoken)
            # A caller who was promised a transfer that is refused is not hung up on, nor one who was asked something.
            may_end = not requests.transfer and not (spoken and self._overlaps.expects_more(turn.said))
            if requests.end_call and closing.accept("end_call", now, allowed=may_end):
                closing.decide(BY_AGENT)
                if not spoken and options.agent_goodbye and self._caller.utterance is None:
                    self._say(options.agent_goodbye)
        undisturbed = self._caller.utterance is None and not self._history.caller_spoke_last
        if turn.unsaid and not turn.requests and undisturbed and closing.ending is None and options.more_to_say:
            self._say(options.more_to_say)

    def _transfer_to(self, name: str, now: float, *, spoken: bool) -> None:
        target = self._closing.find_target(name)
        if target is None:
            self._closing.accept("transfer", now, allowed=False, target=name)
            self._agent.queue_line(self._options.no_transfer)
        elif self._closing.accept("transfer", now, target=target):
            self._closing.decide(transferred(target, revocable=True))
            if not spoken and self._options.transferring and self._caller.utterance is None:
                # No caller is transferred without a word.
                self._say(self._options.transferring)
