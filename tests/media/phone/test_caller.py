"""The scripted caller, one frame at a time and without a clock."""

from collections.abc import Iterator

import numpy as np
import pytest

from inference.mulaw import decode_mulaw
from media.phone.caller import HangUp, Press, Say, ScriptedCaller, SpeechMeter, TalkOver, Wait, WaitForAgent, prepare
from media.phone.clips import Clip, ScriptError
from media.phone.frames import SILENT_FRAME
from tests.media.phone.sounds import LOUD, sine, write_wave


def clip(seconds: float, name: str = "clip") -> Clip:
    return Clip.of(LOUD[:1] * round(seconds * 8000), name=name)


def talk(caller: ScriptedCaller, agent: Iterator[bytes] | list[bytes]) -> list[bytes]:
    """Let the caller hear these frames of the agent; return what the caller says meanwhile."""
    said = []
    for frame in agent:
        caller.hear(frame)
        said.append(caller.next_frame())
    return said


def loud_frames(said: list[bytes]) -> list[int]:
    return [number for number, frame in enumerate(said) if frame != SILENT_FRAME]


def agent(pattern: str) -> list[bytes]:
    """Make frames of a pattern such as ``"3- 5+ 2-"``: tenths of a second of silence (-) and of speech (+)."""
    frames: list[bytes] = []
    for piece in pattern.split():
        frames += [LOUD if piece[-1] == "+" else SILENT_FRAME] * (5 * int(piece[:-1]))
    return frames


# -- the script -----------------------------------------------------------------------------------


def test_the_caller_waits_speaks_and_then_stays_on_the_line():
    caller = ScriptedCaller([Wait(0.1), Say(clip(0.06))])
    said = talk(caller, agent("3-"))
    assert loud_frames(said) == [5, 6, 7]
    assert caller.done
    assert not caller.hung_up


def test_the_last_frame_of_a_clip_is_filled_with_silence():
    caller = ScriptedCaller([Say(LOUD + LOUD[:40])])
    assert talk(caller, agent("1-"))[1] == LOUD[:40] + SILENT_FRAME[:120]


def test_the_caller_waits_until_the_agent_has_spoken_and_is_quiet():
    caller = ScriptedCaller([WaitForAgent(quiet=0.5), Say(clip(0.02))])
    said = talk(caller, agent("10- 5+ 3- 5+ 10-"))
    assert loud_frames(said) == [139]  # half a second after the end of the second stretch, at 2.3 s


def test_what_the_agent_said_before_the_callers_words_is_not_a_reply_to_them():
    caller = ScriptedCaller([WaitForAgent(quiet=0.3), Say(clip(0.1)), WaitForAgent(quiet=0.3), HangUp()])
    talk(caller, agent("5+ 20-"))
    assert not caller.hung_up
    talk(caller, agent("5+ 5-"))
    assert caller.hung_up


def test_the_caller_talks_over_the_agent_once_it_has_been_speaking_for_a_while():
    caller = ScriptedCaller([TalkOver(clip(0.02), after=0.6)])
    said = talk(caller, agent("4+ 3- 4+ 1- 10+"))  # the first stretch is too short, and its pause resets the count
    assert loud_frames(said) == [35 + 29]  # 0.6 s into the second stretch, whose short pause does not reset it


def test_after_an_interruption_only_what_the_agent_begins_to_say_counts_as_a_reply():
    caller = ScriptedCaller([TalkOver(clip(0.1), after=0.2), WaitForAgent(quiet=0.3), HangUp()])
    talk(caller, agent("6+ 10-"))  # the rest of the interrupted sentence
    assert not caller.hung_up
    talk(caller, agent("5+ 4-"))
    assert caller.hung_up


def test_after_a_backchannel_the_rest_of_what_the_agent_says_counts():
    caller = ScriptedCaller([TalkOver(clip(0.1), after=0.2, backchannel=True), WaitForAgent(quiet=0.3), HangUp()])
    talk(caller, agent("6+ 4-"))
    assert caller.hung_up


def test_a_step_whose_time_out_ends_is_listed_in_gave_up():
    step = WaitForAgent(timeout=0.2)
    caller = ScriptedCaller([step, HangUp()])
    talk(caller, agent("3-"))
    assert caller.hung_up
    assert caller.gave_up == [step]


def test_keys_are_pressed_one_at_a_time():
    caller = ScriptedCaller([Press("12#")])
    keys = []
    for _ in range(30):
        caller.next_frame()
        keys.append(caller.next_key())
    assert [key for key in keys if key] == ["1", "2", "#"]
    assert keys.index("2") - keys.index("1") > 1


def test_steps_can_be_added_after_the_last_one():
    caller = ScriptedCaller([])
    assert caller.done
    talk(caller, agent("1-"))
    caller.add(Say(clip(0.02)))
    assert not caller.done
    assert loud_frames(talk(caller, agent("1-"))) == [0]


def test_notes_mark_the_first_and_the_last_loud_sample_of_a_clip():
    quiet, loud = SILENT_FRAME[:1], LOUD[:1]
    caller = ScriptedCaller([Say(Clip.of(quiet * 200 + loud * 400 + quiet * 300, name="hello"))])
    notes = []
    for frame in range(6):
        caller.next_frame()
        notes += [(note.event, frame * 160 + note.offset, note.fields) for note in caller.take_notes()]
    fields = {"clip": "hello", "kind": "say"}
    assert notes == [("caller_speech_start", 200, fields), ("caller_speech_end", 599, fields)]


def test_noise_and_echo_are_added_to_the_voice_and_to_silence():
    noisy = talk(ScriptedCaller([Wait(0.1), Say(clip(0.1))], noise_db=-40), agent("3-"))
    assert len(set(noisy[0])) > 10
    assert np.abs(decode_mulaw(noisy[6])).mean() > 10 * np.abs(decode_mulaw(noisy[0])).mean()
    echo = talk(ScriptedCaller([], echo_db=-20, echo_delay=0.04), [LOUD, *[SILENT_FRAME] * 4])
    level = np.abs(decode_mulaw(LOUD)[0]) / 10
    assert np.abs(decode_mulaw(echo[2])).mean() == pytest.approx(level, rel=0.05)
    assert loud_frames([echo[0], echo[1], echo[3]]) == []


def test_the_speech_meter_bridges_short_pauses_and_ignores_clicks():
    meter = SpeechMeter()
    for frame in agent("3+ 1- 2+"):
        meter.hear(frame)
    assert meter.speaking == pytest.approx(0.6)
    for frame in agent("3-"):
        meter.hear(frame)
    assert meter.speaking == 0
    assert meter.quiet == pytest.approx(0.3)
    meter.hear(LOUD[:4] + SILENT_FRAME[4:])
    assert meter.speaking == 0


async def test_prepare_synthesises_texts_and_reads_files(tmp_path):
    async def voice(text: str) -> bytes:
        return LOUD * len(text)

    file = write_wave(tmp_path / "tone.wav", sine(8000))
    steps = await prepare([Say("hi"), TalkOver("stop", 0.5), Say(file), HangUp()], voice)
    assert steps[0] == Say(Clip.of(LOUD * 2, name="hi"))
    assert steps[1] == TalkOver(Clip.of(LOUD * 4, name="stop"), 0.5)
    assert steps[2] == Say(Clip.load(file))
    assert steps[3] == HangUp()


async def test_text_without_a_voice_is_refused():
    with pytest.raises(ScriptError, match="There is no voice to say 'hi'"):
        await prepare([Say("hi")])
    with pytest.raises(ScriptError, match="There is no voice to say 'hi'; pass the steps and a voice to prepare"):
        ScriptedCaller([Say("hi")]).next_frame()
