"""The agent's behaviour on a call: its phrases, its waits and its limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConversationOptions:
    """
    The options of one conversation. One instance may serve many calls.

    The operator overrides the defaults in the setting ``CONVERSATION``, a JSON object with the names of these fields;
    the agent's own settings override both. All durations are seconds. Phrases are spoken exactly as written, and are
    synthesised before the calls need them. An empty phrase is left out.
    """

    language: str = "en"
    """The language of the call, such as ``en`` or ``de-AT``. It chooses the lists of short words by which the agent
    understands what a caller says over it. The agent's own language replaces it."""

    others: tuple[ConversationOptions, ...] = ()
    """The options for the other languages to which the agent changes if the caller speaks them. Each call sets it."""
    changed: bool = False
    """Whether the agent has changed to this language on an earlier stream of the call. Each call sets it."""

    # -- how the call begins --------------------------------------------------------------------------

    disclosure: str = ""
    """What the law wants said first (that a machine speaks, that the call is recorded). The agent says it before
    anything else and to its end, and nothing is recorded until the caller has heard it. Agents without such a duty
    leave it empty."""
    greeting: str = ""
    """The agent's first words after the disclosure. Empty: the caller speaks first."""
    greeting_interruptible: bool = True
    """Whether the caller may interrupt the greeting. People who call often know it, so they may."""
    outbound: bool = False
    """Whether the agent has placed the call. Each call sets it."""
    callee_first: float = 1.5
    """How long the agent waits on an outbound call for the person who answers to speak first: they mostly say "hello"
    within a second, and to be spoken over sounds like a machine. 0: the agent speaks at once, as on an inbound call."""
    talks_to_machines: bool = False
    """Whether the agent talks to a voicemail that it recognises on an outbound call. Each call sets it."""
    voicemail_message: str = ""
    """What it says to one otherwise, after the announcement. Empty: it hangs up. Each call sets it."""
    resumed: str = "Sorry, we were cut off. Please go on."
    """Said in place of the greeting when a new stream replaces one that was lost during the call."""

    # -- how the agent answers ------------------------------------------------------------------------

    speculate: bool = True
    """Whether the agent starts its reply while endpointing is still waiting, which hides most of the work behind the
    wait. Replies are thrown away when the caller goes on, so it is off for engines that are paid by the token."""
    begin_early: bool = False
    """Whether a reply is begun while the caller still speaks, if what they have said might be all. It needs
    ``speculate`` and a recogniser with partial transcripts that come soon. More replies are thrown away."""
    model_may_wait: bool = True
    """Whether the language model may answer words that break off with a request to wait, which makes the agent wait as
    long as after plainly unfinished words. It needs ``speculate``. A model that has been wrong about it two more times
    than right is told for the rest of the call that the caller has finished."""
    scores_turns: bool = False
    """Whether there is a turn model (``TURN_MODEL``), which judges by the sound whether the caller has finished."""
    filler_after: float = 1.2
    """How long the agent waits for its engines in silence before it says a filler. Replies that are merely slow come
    sooner and need no filler; a longer silence sounds like a lost line."""
    longest_silence: float = 1.8
    """How long the caller may hear nothing after their last voiced sample, at most, before a filler: if endpointing
    has used much of it, the filler comes sooner than ``filler_after``. It keeps silence under 2 s, with 0.2 s left for
    the filler to be sent and played."""
    fillers: tuple[str, ...] = ("One moment, please.", "Just a moment longer.")
    """What the agent says while its engines are slow, in this order and each once a turn. After the last one the
    engines have failed."""
    transcript_timeout: float = 1.5
    """How long a snapshot of the caller's words may take. After that the last partial transcript is used, since the
    caller is waiting in silence."""

    longest_turn: float = 75.0
    """How long a voice may go on without an answer by the agent, before the agent looks whether its words still make
    sense. If they do, they are heard out for up to four times as long; if not (a machine, music with words, a
    television), the agent answers what there is. After three such turns in a row it says goodbye."""

    # -- what the agent says when something is missing -----------------------------------------------

    not_caught: str = "Sorry, I didn't catch that."
    """The caller's voice was heard and no words were recognised."""
    apology: str = "I'm sorry, I didn't get that. Could you say it again?"
    """The engines failed to answer, twice in one turn."""
    lost_thread: str = "Sorry, I lost my thread. What would you like to know?"
    """A reply failed after its first words had been spoken."""
    longest_reply: float = 25.0
    """How long the agent speaks before it lets the caller decide whether it goes on. A week's opening hours take about
    20 s, and of more than that a listener keeps little. It is estimated from the text, and the agent finishes a
    sentence, an item of a list, and what would be only a few words more."""
    more_to_say: str = "There is more. Shall I go on?"
    """Said after a reply that was longer than ``longest_reply``, or that the language model could not finish. The model
    knows what was not said."""
    trouble_goodbye: str = "I'm sorry, I'm having technical trouble. Please call again later. Goodbye."
    """The last words when the engines have failed in two turns in a row, when recognition fails again and again, or
    when the voice breaks off in the disclosure."""

    # -- silence and keys -------------------------------------------------------------------------------

    still_there_after: float = 8.0
    """How long neither side says anything before the agent asks whether the caller is there, and again before it
    hangs up. It leaves time to look something up without being disturbed."""
    still_there: str = "Are you still there?"
    """The question after the first such silence."""
    silence_goodbye: str = "I can't hear you any more, so I'll hang up. Goodbye."
    """The last words after the second such silence in a row."""
    wait_when_asked: float = 60.0
    """How long the agent waits for a caller who has asked for a moment ("hold on", "let me get my card"), or whom it
    has told to take their time. It waits so long twice, with ``take_your_time`` between."""
    take_your_time: str = "Take your time, I'm still here."
    """Said after the first of these waits."""
    keys_after: float = 3.0
    """The keys pressed become one input when this long passes without another key: people look for the next key for a
    second or two. ``#`` ends the input at once."""
    number_keys_after: float = 5.0
    """The same when the agent has asked for a number, which people read from a card, in parts. Twilio's own keypad
    input waits as long."""

    # -- transfers and opting out -----------------------------------------------------------------------

    transfer_targets: tuple[str, ...] = ()
    """The names of those to whom the language model may transfer the call. Empty: it may transfer to none."""
    transferring: str = "One moment, I'll connect you."
    """Said before a transfer that the agent has not announced itself."""
    transfer_failed: str = "I'm sorry, nobody answered. What else can I do for you?"
    """Said in place of ``resumed`` when the call comes back from a transfer that was not answered."""
    no_transfer: str = "I'm sorry, I can't connect you. Is there anything else that I can do for you?"
    """The language model asked for a transfer to a target that does not exist."""
    hears_opt_out: bool = True
    """Whether a caller who plainly asks (in English) not to be called again is put on the do-not-call list at once and
    told so, without asking the language model. Outbound calls must honour it; an inbound line may turn it off. If the
    call has another ``language``, only the language model and the key can opt the caller out."""
    confirm_opt_out: str = "Do you want me to take your number off our list?"
    """The question to a caller whose words may ask for that, in place of a reply. A yes opts them out; what else they
    say is answered by the language model. If the call ends without an answer, a strong suspicion is obeyed. Empty: the
    language model answers such words."""
    opt_out_key: str = ""
    """The key on the caller's telephone that asks for the same, at any moment of the call. Empty: no key does."""
    opted_out: str = "I've taken you off our list. We won't call you again. Goodbye."
    """The last words after the caller has opted out."""

    # -- how the call ends --------------------------------------------------------------------------------

    agent_goodbye: str = "Thank you. Goodbye."
    """The last words when the language model ends the call and has not said all of its own words or has none."""
    goodbye: str = "I have to end the call now. Goodbye."
    """The last words when the operator or the API ends the call."""
    max_duration: float = 1800.0
    """How long a call may last. Half an hour is more than nearly every call needs, and bounds what a forgotten line
    costs."""
    warn_before: float = 30.0
    """How long before ``max_duration`` the agent says ``warning``: long enough to finish a thought. Shorter calls than
    this have no warning."""
    warning: str = "We have about half a minute left."
    """It names the time of ``warn_before``; change both together."""
    time_up: str = "Our time is up. Thank you for calling. Goodbye."
    """The last words at ``max_duration``."""
    mark_timeout: float = 2.0
    """How long the agent waits for the mark behind its last words, counted from the moment when they should have been
    heard; then it hangs up without the mark. It covers the carrier's buffer and a network that stalls for a second."""

    @property
    def may_wait(self) -> bool:
        """Whether the language model is told that it may request to wait."""
        return self.speculate and self.model_may_wait

    @property
    def stock_phrases(self) -> tuple[str, ...]:
        """The phrases that are synthesised in advance: those of every call, and those for slow or failed engines."""
        urgent = (*self.fillers, self.apology, self.not_caught, self.lost_thread, self.trouble_goodbye)
        endings = (self.silence_goodbye, self.agent_goodbye, self.goodbye, self.time_up, self.opted_out)
        usual = (self.still_there, self.warning, self.resumed, self.more_to_say)
        rare = (self.take_your_time, self.confirm_opt_out, self.transferring, self.transfer_failed, self.no_transfer)
        phrases = (self.disclosure, self.greeting, *urgent, *usual, *endings, *rare)
        return tuple(phrase for phrase in phrases if phrase.strip())
