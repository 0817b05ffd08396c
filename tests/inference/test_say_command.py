"""``manage.py say`` turns a text into a WAV file and shows how fast the voice was."""

import os
import re
import subprocess
import sys
import wave
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

ROOT = Path(__file__).parents[2]
SCRIPTED = settings.ENGINES_PROFILES["scripted"]


def say(*arguments: str | Path) -> str:
    out = StringIO()
    call_command("say", *map(str, arguments), "--profile", "scripted", stdout=out)
    return out.getvalue()


def scripted_voice(**options):
    tts = {**SCRIPTED["tts"], "OPTIONS": options}
    return override_settings(ENGINES_PROFILES={"scripted": {**SCRIPTED, "tts": tts}})


def test_a_text_becomes_a_wav_file_at_the_rate_of_the_engine(tmp_path):
    out = tmp_path / "x.wav"
    with scripted_voice(rate_hz=24000, seconds_per_character=0.05):
        said = say("We open\n at ten.", "--out", out)
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        assert file.getnframes() == 24000 * 0.05 * len("We open at ten.")
    assert f"{out}: 0.75 s of sound at 24000 Hz" in said
    assert re.search(r"first audio after \d+ ms, all of it after \d\.\d\d s: real-time factor \d\.\d{3}", said)


def test_an_existing_file_is_overwritten(tmp_path):
    out = tmp_path / "x.wav"
    out.write_bytes(b"old")
    say("Hello.", "--out", out)
    assert out.read_bytes().startswith(b"RIFF")


def test_the_sound_is_the_same_when_the_text_is_passed_clause_by_clause(tmp_path):
    whole, pieces = tmp_path / "whole.wav", tmp_path / "pieces.wav"
    with scripted_voice(first_delay=0.001, chunk_delay=0.001):
        say("Well, yes. We open at ten.", "--out", whole)
        say("Well, yes. We open at ten.", "--clauses", "--out", pieces)
    assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  \n"], "The text is empty"),
        (["Hello.", "--voice", "nobody"], "no scripted voice 'nobody'; the voices are: tone"),
        (["Hello.", "--out", "no/such/folder/x.wav"], "there is no folder no/such/folder"),
        (["Hello.", "--out", str(ROOT)], "is a folder"),
    ],
)
def test_a_request_that_cannot_be_fulfilled_is_refused_with_a_reason(arguments, message):
    with pytest.raises(CommandError, match=message):
        say(*arguments)


def test_a_voice_that_fails_leaves_no_file(tmp_path):
    with scripted_voice(failures=[{"on": 1, "at": "middle"}]), pytest.raises(CommandError, match="as its script says"):
        say("Hello.", "--out", tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()


def test_ctrl_c_ends_the_command_with_one_line(monkeypatch, tmp_path):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("inference.management.commands.say.speak", interrupted)
    with pytest.raises(CommandError, match="Stopped") as end:
        say("Hello.", "--out", tmp_path / "x.wav")
    assert end.value.returncode == 130


def test_a_text_from_standard_input_is_spoken_by_the_voice_of_the_laptop_profile(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "say", "-", "--clauses"],
        cwd=tmp_path,
        env={**os.environ, "ENGINES_PROFILE": "laptop"},
        input="Good morning.\nWhat can I do for you?",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("say.wav: ")
    with wave.open(str(tmp_path / "say.wav")) as file:
        assert 1 < file.getnframes() / file.getframerate() < 6
