"""``manage.py engines`` shows what the engines are and what they need, and tries them."""

import json
import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

ROOT = Path(__file__).parents[2]


def run_here(*arguments: str) -> str:
    out = StringIO()
    call_command("engines", *arguments, stdout=out)
    return out.getvalue()


def run_as_a_process(
    *arguments: str, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "engines", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("profile", [name for name in settings.ENGINES_PROFILES if name != "hosted"])
def test_the_engines_of_every_profile_are_described_without_loading_them(profile):
    shown = json.loads(run_here("--no-check", "--json", "--profile", profile))
    assert shown["profile"] == profile
    assert [engine["alias"] for engine in shown["engines"]] == ["stt", "llm", "tts"]
    for engine in shown["engines"]:
        assert engine["backend"] == settings.ENGINES_PROFILES[profile][engine["alias"]]["BACKEND"]
        assert engine["weights"]
        assert engine["device"]
        assert engine["memory_bytes"] >= 0
        # A remote engine learns it from its worker.
        assert engine["may_speculate"] in (True, False) or "Remote" in engine["backend"]
        assert engine["load_seconds"] is engine["words"] is engine["error"] is None


@override_settings(ENGINES_MISSING={"hosted": ["deepgram needs DEEPGRAM_API_KEY"]})
def test_a_profile_whose_keys_are_not_set_is_told_which():
    with pytest.raises(CommandError, match=r"profile hosted\)\. Not set: deepgram needs DEEPGRAM_API_KEY\.$"):
        run_here("stt", "--no-check", "--profile", "hosted")


def test_an_engine_is_tried_by_its_name():
    done = run_as_a_process("llm", "--json", ENGINES_PROFILE="scripted", LLM_ENGINE="receptionist")
    assert done.returncode == 0
    (llm,) = json.loads(done.stdout)["engines"]
    assert llm["backend"] == "inference.engines.receptionist.ReceptionistLanguageModel"
    assert llm["words"]


def test_a_missing_key_ends_the_command_with_its_name():
    done = run_as_a_process("stt", ENGINES_PROFILE="scripted", STT_ENGINE="deepgram")
    assert done.returncode == 1
    assert "The chosen engines need what is not set: deepgram needs DEEPGRAM_API_KEY." in done.stderr


def test_the_hosted_engines_are_described_without_showing_a_key():
    keys = {name: f"s3cret-{name}" for name in ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY")}
    for arguments in (["--no-check"], ["--no-check", "--json"]):
        done = run_as_a_process(*arguments, ENGINES_PROFILE="hosted", LOG_LEVEL="DEBUG", **keys)
        assert done.returncode == 0, done.stderr
        assert "DeepgramSpeechToText" in done.stdout
        assert "s3cret" not in done.stdout + done.stderr


def test_the_table_names_engine_weights_and_memory():
    shown = run_here("--no-check", "--profile", "laptop")
    assert "inference.engines.sphinx.SphinxSpeechToText" in shown
    assert "pocketsphinx wheel" in shown
    assert "116 MB" in shown
    assert "loaded in" not in shown


def test_the_engines_of_the_laptop_profile_speak_hear_and_answer():
    by_alias = {engine["alias"]: engine for engine in json.loads(run_here("--json", "--profile", "laptop"))["engines"]}
    assert "opening" in by_alias["stt"]["words"]
    assert by_alias["stt"]["real_time_factor"] > 0
    assert by_alias["llm"]["words"].strip()
    assert 0 < by_alias["tts"]["first_seconds"] <= by_alias["tts"]["seconds"]
    assert all(engine["load_seconds"] >= 0 for engine in by_alias.values())


def test_only_the_named_engines_are_tried_and_a_recogniser_needs_no_voice():
    (stt,) = json.loads(run_here("stt", "--json", "--profile", "laptop"))["engines"]
    assert stt["words"] == "what are your opening hours"


def test_an_engine_that_does_not_work_is_shown_with_its_error():
    broken = {**settings.ENGINES_PROFILES["scripted"], "tts": {"BACKEND": "inference.engines.nowhere.Voice"}}
    out = StringIO()
    with (
        override_settings(ENGINES=broken, ENGINES_PROFILE="scripted"),
        pytest.raises(CommandError, match=r"Not ready: tts \(1 of 3, profile scripted\)"),
    ):
        call_command("engines", stdout=out)
    shown = " ".join(out.getvalue().split())
    assert "cannot load BACKEND 'inference.engines.nowhere.Voice'" in shown
    assert "heard What time do you open?" in shown


def test_the_engines_of_a_list_are_shown_with_their_health_or_tried_one_by_one():
    options = {"ENGINES_OPTIONS": '{"scripted": {"failures": [{"on": 1}]}}'}
    chosen = {"ENGINES_PROFILE": "laptop", "LLM_ENGINE": "scripted,receptionist", **options}
    done = run_as_a_process("llm", **chosen)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert shown.startswith("Engines of the profile laptop with LLM_ENGINE=scripted,receptionist ")
    assert "llm engine 1 (scripted): ready (0 served, 1 failed, 0 timed out, 0 skipped); last error: scripted" in shown
    assert "llm engine 2 (receptionist): ready (1 served, 0 failed, 0 timed out, 0 skipped)" in shown
    done = run_as_a_process("llm", "--each", "--json", **chosen)
    assert done.returncode == 1
    assert [(each["member"], bool(each["error"])) for each in json.loads(done.stdout)["engines"]] == [
        ("scripted", True),
        ("receptionist", False),
    ]
    assert "Not ready: llm scripted (1 of 2, profile laptop)." in done.stderr


def test_a_turn_model_is_tried_where_there_is_one():
    with pytest.raises(CommandError, match="The profile scripted has no engine turn"):
        run_here("turn", "--profile", "scripted")
    turn = {"BACKEND": "inference.engines.scripted.ScriptedTurnModel", "OPTIONS": {"scores": [0.9]}}
    with override_settings(ENGINES={**settings.ENGINES_PROFILES["scripted"], "turn": turn}, ENGINES_PROFILE="scripted"):
        shown = " ".join(run_here().split())
    assert "scored 90 % that the caller has finished" in shown
    assert "heard" in shown


@pytest.mark.parametrize("wrong", [["ears"], ["--profile", "quantum"]])
def test_an_engine_or_profile_that_does_not_exist_is_refused(wrong):
    with pytest.raises(CommandError, match=r"stt, llm, tts|laptop"):
        call_command("engines", *wrong)


def test_a_script_gets_only_json_and_an_exit_status():
    done = run_as_a_process("--json", ENGINES_PROFILE="scripted")
    assert done.returncode == 0
    assert json.loads(done.stdout)["profile"] == "scripted"
    assert done.stderr == ""

    options = '{"llm": {"failures": [{"on": 1}]}}'
    done = run_as_a_process("llm", "--json", ENGINES_PROFILE="scripted", ENGINES_OPTIONS=options)
    assert done.returncode == 1
    assert json.loads(done.stdout)["engines"][0]["error"] == "scripted reply 1 fails, as its script says"
    assert done.stderr == "CommandError: Not ready: llm (1 of 1, profile scripted).\n"


def test_the_progress_is_shown_on_a_terminal():
    terminal, end = pty.openpty()
    try:
        done = run_as_a_process("llm", stderr=end, ENGINES_PROFILE="scripted", TERM="xterm", COLUMNS="100")
        assert done.returncode == 0
        assert b"trying ScriptedLanguageModel" in os.read(terminal, 100_000)
    finally:
        os.close(end)
        os.close(terminal)


def test_engines_are_measured_and_shown_as_a_table_and_as_json():
    arguments = ("stt", "llm", "tts", "--profile", "scripted", "--bench", "2")
    measured = json.loads(run_here(*arguments, "--json"))
    assert measured["rounds"] == 2
    figures = {engine["alias"]: engine["figures"] for engine in measured["engines"]}
    assert figures["stt"]["final after speech"]["rounds"] == 2
    assert figures["llm"]["first token"]["median"] > 0
    assert figures["tts"]["first audio"]["p95"] >= figures["tts"]["first audio"]["median"]
    shown = run_here(*arguments)
    assert "ScriptedTextToSpeech" in shown
    assert "final after speech" in shown


def test_an_engine_that_cannot_be_measured_is_named():
    engines = {**settings.ENGINES_PROFILES["scripted"], "tts": {"BACKEND": "no.such.Engine"}}
    with override_settings(ENGINES=engines), pytest.raises(CommandError, match="Not measured to the end: tts"):
        run_here("tts", "--bench", "1", "--profile", settings.ENGINES_PROFILE)


@pytest.mark.parametrize("rounds", ["0", "-1", "many"])
def test_a_number_of_rounds_that_is_none_is_refused(rounds):
    with pytest.raises(CommandError, match="number of rounds"):
        run_here("--bench", rounds)
