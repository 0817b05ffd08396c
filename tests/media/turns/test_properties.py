"""What must hold on every call, in whatever order things happen."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calls.stages import STAGE_NAMES
from inference.requests import ToolRequests
from media.turns import commands as cmd
from media.turns import events as ev
from media.turns.clock import StreamClock
from media.turns.conversation import Conversation, Floor, ImpossibleEvent
from media.turns.options import ConversationOptions
from tests.media.turns.phone import CHARACTER_BYTES, Engines, Phone, characters_in

FILLERS = ConversationOptions().fillers

WORDS = st.sampled_from(
    [
        "What time do you open?",
        "I would like to",
        "mm-hm",
        "stop",
        "",
        "yes",
        "no I meant the other one",
        "my number is five five five",
        "goodbye",
        "change my booking.",
        "take me off your list",
        "leave me alone",
    ]
)
REPLIES = [
    "We open at nine every day. On Sundays we open at ten.",
    "Sure.",
    "Is there anything else that I can do for you?",
]

ORDERS = [
    ev.EndRequested("operator"),
    ev.TransferRequested(),
    ev.VoicemailReached(""),
    ev.VoicemailReached("This is Harper Hall. Your table is ready."),
]


@st.composite
def calls(draw) -> Phone:
    engines = Engines(
        partials=draw(st.sampled_from([0.0, 0.1, 0.4])),
        snapshot=draw(st.sampled_from([0.01, 0.05, 0.3, 5.0])),
        waits=draw(
            st.sampled_from([lambda command: False, lambda command: True, lambda command: not command.finished])
        ),
        first_token=draw(st.sampled_from([0.01, 0.05, 0.4, 1.5, 30.0])),
        clause=draw(st.sampled_from([0.0, 0.09, 0.5])),
        first_audio=draw(st.sampled_from([0.0, 0.05, 0.6])),
        replies=draw(st.permutations(REPLIES)),
        fails=draw(st.sampled_from([lambda n: False, lambda n: n % 2 == 0, lambda n: n > 1])),
        breaks_off=draw(st.sampled_from([lambda n: False, lambda n: n % 3 == 1])),
        is_empty=draw(st.sampled_from([lambda n: False, lambda n: n % 3 == 2])),
        scores=draw(st.lists(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]), max_size=5)),
        score=draw(st.sampled_from([0.08, 0.5])),
        mute=draw(st.sampled_from([False, False, False, True])),
        end_call_after=draw(st.sampled_from([None, None, 2])),
        requests=draw(
            st.sampled_from([{}, {}, {1: {"transfer": "sales"}}, {1: {"transfer": "nobody"}}, {1: {"opt_out": True}}])
        ),
    )
    options = ConversationOptions(
        greeting=draw(st.sampled_from(["", "Hello, this is the front desk. How can I help you?"])),
        greeting_interruptible=draw(st.booleans()),
        disclosure=draw(st.sampled_from(["", "", "I am a computer, and this call is recorded."])),
        transfer_targets=("sales",),
        opt_out_key=draw(st.sampled_from(["", "9"])),
        speculate=draw(st.booleans()),
        begin_early=draw(st.booleans()),
        model_may_wait=draw(st.booleans()),
        scores_turns=draw(st.booleans()),
        max_duration=draw(st.sampled_from([20.0, 600.0])),
        warn_before=5.0,
        still_there_after=4.0,
    )
    phone = Phone(
        options, engines, delay=draw(st.sampled_from([0.005, 0.06])), prebuffer=draw(st.sampled_from([0, 0.06]))
    )
    when = 0.3
    for _ in range(draw(st.integers(0, 8))):
        when += draw(st.floats(0.08, 4.0))
        length = draw(st.floats(0.1, 2.5))
        phone.caller_says(draw(WORDS), start=when, end=when + length)
        when += length
    if draw(st.booleans()):
        start = draw(st.floats(0.5, 15.0))
        phone.network_stalls(start=start, end=start + draw(st.floats(0.2, 8.0)))
    if draw(st.booleans()):
        phone.marks_are_lost()
    for digit in draw(st.text("0123456789*#", max_size=4)):
        phone.at(draw(st.floats(0.5, 20.0)), ev.KeyPressed(digit))
    if draw(st.booleans()):
        phone.at(draw(st.floats(0.0, 25.0)), ev.CallerHungUp())
    if draw(st.booleans()):
        phone.at(draw(st.floats(0.5, 20.0)), ev.SayRequested("Your table is ready."))
    for event in draw(st.lists(st.sampled_from(ORDERS), max_size=2)):
        phone.at(draw(st.floats(0.0, 20.0)), event)
    return phone


COMMON = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
LONG_OVER = 130.0
"""Seconds: longer than a caller of ``calls`` ever speaks, and than a silent call takes to be ended."""
AGENT_HAS_TURN = (Floor.AGENT, Floor.OVERLAP, Floor.HELD, Floor.BRIDGED)


def check_turns_timers_and_playout(phone: Phone) -> None:
    for turn in phone.turns:
        assert turn.said.startswith(turn.heard) or turn.fallback
        assert turn.ended >= turn.started - 1e-6
        assert all(seconds >= 0 for seconds in turn.stages.values())
        if "response_latency" in turn.stages:
            waterfall = sum(turn.stages[name] for name in STAGE_NAMES)
            assert abs(waterfall - turn.stages["response_latency"]) < 0.001
    assert [turn.number for turn in phone.turns] == list(range(1, len(phone.turns) + 1))
    # No timer is lost: once the caller is silent for good, every turn ends, and then the call.
    assert phone.conversation.floor is Floor.ENDED
    assert phone.open_utterances == {}
    played = [(command.at, len(command.audio) / 8000) for command in phone.sent(cmd.Played)]
    for (earlier, seconds), (later, _) in pairwise(played):
        assert later >= earlier + seconds - 0.001
    clears = len(phone.sent(cmd.ClearPlayout))
    assert clears <= len(phone.turns) + len(phone.notes("false-interruption")) + 1


def check_the_end_of_the_call(phone: Phone) -> None:
    assert len(phone.sent(cmd.OptOut)) <= 1
    assert len(phone.sent(cmd.StartRecording)) <= 1
    if phone.options.disclosure:
        assert len(phone.notes("disclosed")) == len(phone.sent(cmd.StartRecording))
        for started in phone.times(cmd.StartRecording):
            heard = [frame for when, frame in phone.heard_frames if when <= started]
            assert len(b"".join(heard)) >= len(phone.options.disclosure) * CHARACTER_BYTES
    for index, (_, command) in enumerate(phone.commands):
        if isinstance(command, cmd.Transfer):
            assert [following for _, following in phone.commands[index + 1 :]] == [cmd.HangUp("transferred")]
            assert command.target in ("", *phone.options.transfer_targets)
        elif isinstance(command, cmd.OptOut):
            # What the operator has ordered is done, whatever the caller says meanwhile.
            assert all(transfer.target == "" for transfer in phone.sent(cmd.Transfer))
    assert all(isinstance(note.data["accepted"], bool) for note in phone.notes("tool-call"))


def spoken(phone: Phone) -> list[tuple[cmd.TurnEnded, list[ev.Revision]]]:
    """Each turn of the agent's, with the revisions of which something was sent in it, in that order."""
    found: list[tuple[cmd.TurnEnded, list[ev.Revision]]] = []
    sent: list[ev.Revision] = []
    by_number = {revision.number: revision for revision in phone.revisions}
    for _, command in phone.commands:
        if isinstance(command, cmd.SendAudio):
            sent += [by_number[number] for number in characters_in(command.audio) if by_number[number] not in sent]
        elif isinstance(command, cmd.TurnEnded) and command.speaker == "agent":
            found.append((command, sent))
            sent = []
    return found


def check_that_the_ledger_agrees_with_the_tape(phone: Phone) -> None:
    """What counts as heard was heard, to within one word, whether the turn was interrupted or not."""
    for turn, revisions in spoken(phone):
        heard = turn.heard.split()
        words = [phone.words_heard(revision) for revision in revisions]
        # A filler in the middle of a reply counts only once all of the reply was heard.
        replies = [said for said, it in zip(words, revisions, strict=True) if phone.text_of(it) not in FILLERS]
        assert any(
            (truth[: len(heard)] == heard and len(truth) <= len(heard) + 1)
            or truth == heard[:-1]
            # Without marks the carrier's buffer of 60 ms and its tick are not known, which may be a short word more.
            or (phone.marks_lost and truth == heard[:-2])
            for truth in (list(chain(*words)), list(chain(*replies)))
        ), (heard, words)


def without_fillers(heard: list[str]) -> list[str]:
    """The words of a turn without its fillers, of which the last may be cut; all words if there are no others."""
    rest = " ".join(heard)
    for filler in FILLERS:
        rest = " ".join(rest.replace(filler, " ").split())
    for words in map(str.split, FILLERS):
        for count in range(len(words) - 1, 0, -1):
            if rest.split()[-count:] == words[:count]:
                rest = " ".join(rest.split()[:-count])
    return rest.split() or heard


def check_that_the_model_reads_what_was_said_and_heard(phone: Phone) -> None:
    """It reads no fillers, and nothing else."""
    caller: list[str] = []
    agent: list[str] = []
    histories: list[tuple[cmd.Line, ...]] = []
    for _, command in phone.commands:
        if isinstance(command, cmd.TurnEnded):
            if command.speaker == "caller":
                caller.extend(command.heard.split())
            else:
                agent.extend(without_fillers(command.heard.split()))
        elif isinstance(command, cmd.StartReply):
            read = {
                speaker: [word for line in command.history if line.speaker == speaker for word in line.text.split()]
                for speaker in ("caller", "agent")
            }
            again = command.history in histories  # a second try to answer the same
            histories.append(command.history)
            assert read["agent"] == agent
            assert (
                read["caller"] == caller or again or (command.speculative and read["caller"][: len(caller)] == caller)
            )
            assert command.history[-1].speaker == "caller"
            assert all(one.speaker == "agent" or two.speaker == "agent" for one, two in pairwise(command.history))


def check_that_the_agent_leaves_no_two_seconds_of_silence(phone: Phone) -> None:
    if phone.engines.mute:
        return
    way = 2 * phone.delay + phone.prebuffer + 0.1  # there, back, and until voice activity notices
    voices = [(start, end + way) for start, end, _ in phone.voices]
    keys = [
        (when, when)
        for when, command in phone.commands
        if isinstance(command, cmd.TurnEnded) and command.said.startswith("[pressed")
    ]
    sounds = sorted(voices + keys + [(when, when + 0.03) for when, _ in phone.heard_frames])
    for (since, floor), (until, _) in pairwise(phone.floors):
        if floor not in AGENT_HAS_TURN:
            continue
        quiet_since = max([since, *(end for start, end in sounds if start <= since)])
        for start, end in [*((start, end) for start, end in sounds if since < start < until), (until, until)]:
            assert start - quiet_since <= 2.0 + way, (floor, quiet_since, start)
            quiet_since = max(quiet_since, end)


@settings(COMMON, max_examples=150)  # of which a quarter have a voice that is mute, and leave silence
@given(calls())
def test_the_invariants_of_every_call(phone: Phone):
    """One simulation of a call is enough for all that must hold in it, because simulating it takes the time."""
    # The phone itself asserts that no audio of a stopped revision is sent, that nothing is sent after hanging up, and
    # that no timer stays due.
    phone.wait_until(LONG_OVER)
    check_turns_timers_and_playout(phone)
    check_the_end_of_the_call(phone)
    check_that_the_ledger_agrees_with_the_tape(phone)
    check_that_the_model_reads_what_was_said_and_heard(phone)
    check_that_the_agent_leaves_no_two_seconds_of_silence(phone)


@COMMON
@given(calls(), st.floats(0.5, 10.0), st.floats(1.0, 20.0))
def test_a_stall_never_ends_a_turn(phone: Phone, start: float, length: float):
    phone.network_stalls(start=start, end=start + length)
    phone.wait_until(start + 0.1)
    before = phone.position
    turns = len([turn for turn in phone.turns if turn.speaker == "caller" and not turn.said.startswith("[")])
    phone.wait_until(start + length - 0.01)
    if phone.position != before or phone.conversation.floor in (Floor.ENDED, Floor.HELD):
        return
    ended = [turn for turn in phone.turns if turn.speaker == "caller" and not turn.said.startswith("[")]
    released = [turn for turn in ended[turns:] if turn.wait is not None]
    # An answer of recognition that was due when the stall began may still end the turn: its silence had been heard.
    for turn in released:
        assert phone.clock.time_of(before) - turn.ended >= turn.wait - 0.05


TARGETS = st.sampled_from(["", "", "sales", "nobody"])
EVENTS = st.one_of(
    st.builds(ev.CallStarted, st.booleans(), st.booleans()),
    st.builds(ev.SpeechStarted, st.integers(-1, 200_000)),
    st.builds(ev.SpeechStopped, st.integers(-1, 200_000)),
    st.builds(ev.PositionReached, st.integers(-1, 200_000)),
    st.builds(ev.TranscriptPartial, st.integers(1, 3), WORDS),
    st.builds(ev.TranscriptReady, st.integers(1, 3), st.integers(1, 4), WORDS),
    st.builds(ev.TranscriptFailed, st.integers(1, 3), st.integers(1, 4)),
    st.builds(ev.TranscriptDelayed, st.integers(1, 3), st.integers(1, 4)),
    st.builds(ev.ReplyToken, st.builds(ev.Revision, st.integers(1, 3), st.integers(1, 5))),
    st.builds(ev.ReplyText, st.builds(ev.Revision, st.integers(1, 3), st.integers(1, 5)), WORDS),
    st.builds(
        ev.ReplyAudio,
        st.builds(ev.Revision, st.integers(1, 3), st.integers(1, 5)),
        st.binary(max_size=999),
        st.integers(0, 99),
        st.none() | st.integers(0, 99),
    ),
    st.builds(
        ev.ReplyEnded,
        st.builds(ev.Revision, st.integers(1, 3), st.integers(1, 5)),
        st.builds(ToolRequests, st.booleans(), TARGETS, st.booleans()),
        unspeakable=st.booleans(),
    ),
    st.builds(ev.ReplyFailed, st.builds(ev.Revision, st.integers(1, 3), st.integers(1, 5)), st.just("broken")),
    st.builds(ev.MarkReached, st.sampled_from(["a0.1", "m0.1", "m0.2", "m1.3", "x"])),
    st.builds(ev.KeyPressed, st.sampled_from("0123456789*#")),
    st.builds(ev.SayRequested, WORDS),
    *map(st.just, ORDERS),
    st.just(ev.TimerFired()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 2.0)), max_size=60), st.sampled_from(["", "I am a computer."]))
def test_events_in_any_order_leave_the_conversation_working(script, disclosure):
    """An impossible event raises ``ImpossibleEvent`` and nothing else, and the ledger never goes back in time."""
    clock = StreamClock()
    options = ConversationOptions(
        disclosure=disclosure, greeting="Hello there.", transfer_targets=("sales",), opt_out_key="9"
    )
    conversation = Conversation(options, clock=clock)
    now = 0.0
    heard_until = -1.0
    stopped: set[ev.Revision] = set()
    for event, later in [(ev.CallStarted(), 0.0), *script, (ev.CallerHungUp(), 0.0)]:
        now += later
        clock.observe(int(now * 8000), now)
        floor = conversation.floor
        try:
            commands = conversation.receive(event, now=now)
        except ImpossibleEvent:
            assert conversation.floor is floor
            continue
        for command in commands:
            if isinstance(command, cmd.Played):
                assert command.at >= heard_until - 0.001
                heard_until = command.at + len(command.audio) / 8000
            elif isinstance(command, cmd.StopReply):
                stopped.add(command.revision)
            elif isinstance(command, cmd.StartReply | cmd.SayLine):
                assert command.revision not in stopped
        deadline = conversation.deadline
        if isinstance(event, ev.TimerFired) and deadline is not None:
            assert deadline > now - 1e-9
    assert conversation.floor is Floor.ENDED
    assert conversation.receive(ev.TimerFired(), now=now + 1) == []
