"""Scripts as text."""

from pathlib import Path

import pytest

from media.phone.caller import HangUp, Press, Say, TalkOver, Wait, WaitForAgent
from media.phone.clips import ScriptError
from media.phone.script import parse_script

SCRIPT = """
# a short call
say Hello, is anyone there?
play question.wav

wait 1.5
wait for agent
wait for agent to start
talk over 0.8 stop please
talk over 1 play hush.wav
murmur 1.2 mm-hm
press 12#
hang up
"""


def test_every_kind_of_line_is_read():
    assert parse_script(SCRIPT, folder=Path("clips")) == [
        Say("Hello, is anyone there?"),
        Say(Path("clips/question.wav")),
        Wait(1.5),
        WaitForAgent(),
        WaitForAgent("start"),
        TalkOver("stop please", 0.8),
        TalkOver(Path("clips/hush.wav"), 1.0),
        TalkOver("mm-hm", 1.2, backchannel=True),
        Press("12#"),
        HangUp(),
    ]


@pytest.mark.parametrize("line", ["sing", "wait a bit", "wait -1", "press here", "talk over now stop", "say"])
def test_an_invalid_line_is_quoted_with_its_number(line):
    with pytest.raises(ScriptError, match=rf"Line 2 of the script, '{line}'"):
        parse_script(f"wait 1\n{line}\n")
