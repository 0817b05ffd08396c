"""``make talk`` and ``make demo``: weights, engines, and a server that never outlives the command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from inference.models.catalogue import CATALOGUE, ModelFile
from inference.models.digests import digest_of
from media.management import local_server
from media.management.commands import demo, talk
from media.phone.live import SoundError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database with an agent, to be copied."""
    folder = tmp_path_factory.mktemp("talk")
    variables = {**os.environ, "VAR_DIR": str(folder)}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=variables, check=True)
    return folder / "db.sqlite3"


@pytest.fixture
def start(database, tmp_path):
    """Starts ``manage.py talk`` as a process, with engines that load at once."""
    shutil.copy(database, tmp_path)

    def start(script: str, **environment: str) -> subprocess.Popen[str]:
        (tmp_path / "call.txt").write_text(script)
        return subprocess.Popen(
            [sys.executable, "-u", "manage.py", "talk", "--script", str(tmp_path / "call.txt")],
            cwd=ROOT,
            env={**os.environ, "VAR_DIR": str(tmp_path), "ENGINES_PROFILE": "echo", **environment},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return start


def is_listening(url: str) -> bool:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no {pattern!r} in:\n{seen}")


def test_a_script_talks_and_nothing_is_left_running(start):
    process = start("wait 0.5\nhang up\n")
    url = read_until(process, r"Calling .* at (http://\S+)")[1]
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "The call is over: completed" in rest
    assert not is_listening(url)


def test_a_command_that_is_ended_takes_its_server_along(start):
    process = start("wait 60\n")
    url = read_until(process, r"Calling .* at (http://\S+)")[1]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not is_listening(url)


def test_ctrl_c_hangs_up_and_the_figures_are_shown(start):
    process = start("wait 60\n")
    url = read_until(process, r"Calling .* at (http://\S+)")[1]
    read_until(process, "in-progress")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and all that is in its group
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "The call is over" in rest
    assert not is_listening(url)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"STT_ENGINE": "nowhere.Engine"}, "nowhere"),
        ({"STT_ENGINE": "whisper", "WHISPER_MODEL": str(ROOT / "docs")}, "has no model.bin"),
    ],
)
def test_engines_that_do_not_start_end_the_command_with_their_reason(start, environment, reason):
    process = start("hang up\n", **environment)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "The server cannot take a call" in output
    assert reason in output


# --- Weights -----------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of models, and a source of weights; every model of the profile has one small file."""
    engines: dict[str, Any] = {}
    for kind, name in (("stt", "tiny.en"), ("llm", "gemma3-270m-it"), ("tts", "piper-joe")):
        (tmp_path / "source" / name).mkdir(parents=True)
        file = tmp_path / "source" / name / "weights"
        file.write_bytes(name.encode())
        small = ModelFile("weights", "weights", len(name), digest_of(file).hex)
        monkeypatch.setitem(CATALOGUE, name, replace(CATALOGUE[name], files=(small,)))
        options = {"model": str(tmp_path / "models" / name)}
        engines[kind] = {"BACKEND": f"inference.engines.scripted.{kind}", "OPTIONS": options}
    profiles = {**settings.ENGINES_PROFILES, "talk": engines}
    changes = {"MODELS_FOLDER": tmp_path / "models", "MODELS_HUB": "http://127.0.0.1:1", "ENGINES_PROFILES": profiles}
    with override_settings(**changes, ENGINES_PROFILE_IS_SET=False, ENGINES_PROFILE="laptop"):
        yield tmp_path


@pytest.fixture
def calls(monkeypatch):
    """The calls that the command would make, in place of a server and a phone."""
    made: list[tuple[Any, ...]] = []

    @local_server.contextmanager
    def server(name: str, **options: Any) -> Any:
        made.append(("server", options["variables"]))
        yield "http://server"

    monkeypatch.setattr(talk, "running_server", server)
    monkeypatch.setattr(talk, "call_command", lambda *arguments, **_: made.append(arguments))
    return made


def run(*arguments: str | Path) -> str:
    out = StringIO()
    call_command("talk", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_missing_weights_are_fetched_before_the_server_starts_with_them(weights, calls):
    shown = run("--type", "--from", weights / "source")
    assert "Fetching" in shown
    assert "Gemma Terms of Use" in shown, "the licence is shown before the download"
    assert (weights / "models" / "piper-joe" / "weights").read_bytes() == b"piper-joe"
    assert calls == [("server", {"ENGINES_PROFILE": "talk"}), ("phone", "--url", "http://server", "--type")]
    assert "Fetching" not in run("--type")


def test_the_choice_is_said(weights, calls):
    shown = run("--type", "--from", weights / "source")
    assert re.search(r"on this machine \(\d+ cores?, [\d.]+ GB of memory free\), profile talk", shown)
    assert "thinks: llm gemma3-270m-it" in shown


def test_weights_that_cannot_be_fetched_end_the_command(weights, calls, monkeypatch):
    monkeypatch.setattr("inference.models.download.ATTEMPTS", 1)
    with pytest.raises(CommandError, match=r"(?s)The connection to 127\.0\.0\.1:1 failed.*--from FOLDER"):
        run("--type")
    assert calls == []


@pytest.mark.parametrize(
    ("source", "reason"), [("none", "there is no such folder"), ("models.tar", "it is a file"), ("link", "/media/gone")]
)
def test_a_source_that_is_no_folder_is_named_before_anything_is_copied(weights, calls, source, reason):
    (weights / "models.tar").touch()
    (weights / "link").symlink_to("/media/gone")
    with pytest.raises(CommandError, match=f"Nothing can be copied from {weights / source}: .*{reason}"):
        run("--type", "--from", weights / source)
    assert not (weights / "models").exists()
    assert calls == []


def test_a_source_is_not_looked_at_where_nothing_is_missing(weights, calls, monkeypatch):
    monkeypatch.setenv("HOME", str(weights))
    run("--type", "--from=~/source")
    assert "Fetching" not in run("--type", "--from", weights / "unplugged")


def test_a_model_of_ones_own_is_not_fetched_but_must_be_there(weights, calls):
    own = weights / "own.gguf"
    profiles = {**settings.ENGINES_PROFILES}
    llm = {"BACKEND": "inference.engines.llama_cpp.LlamaCppLanguageModel", "OPTIONS": {"model": str(own)}}
    profiles["talk"] = {**profiles["talk"], "llm": llm}
    with override_settings(ENGINES_PROFILES=profiles):
        with pytest.raises(CommandError, match=r"the file .*own\.gguf is missing"):
            run("--type", "--from", weights / "source")
        own.write_bytes(b"gguf")
        assert "own.gguf" in run("--type", "--from", weights / "source")


def test_without_a_microphone_the_person_types_and_is_told_so(weights, calls, monkeypatch):
    def no_devices() -> None:
        raise SoundError("No microphone was found.")

    monkeypatch.setattr(talk, "_find_devices", no_devices)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    shown = run("--from", weights / "source")
    assert "There is no microphone to talk with: No microphone was found. So you type" in shown
    assert calls[-1] == ("phone", "--url", "http://server", "--type")
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match=r"Without a terminal, use --script FILE or --scripted"):
        run()


def test_a_script_is_passed_on(weights, calls):
    run("--from", weights / "source", "--script", "call.txt")
    assert calls[-1] == ("phone", "--url", "http://server", "--script", "call.txt")


# --- make demo ---------------------------------------------------------------------------------------------


def test_the_demonstration_uses_models_that_are_here(weights, calls):
    assert demo.choose_profile() == "laptop"
    assert "make talk" in " ".join(demo.describe_choice("laptop"))
    run("--type", "--from", weights / "source")
    assert demo.choose_profile() == "talk"
    assert "ENGINES_PROFILE=laptop make demo" in " ".join(demo.describe_choice("talk"))
    with override_settings(ENGINES_PROFILE_IS_SET=True):
        assert demo.choose_profile() == "laptop", "the operator has said so"


def test_the_demonstration_can_be_stopped_without_a_traceback(monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "running_server", stop)
    with pytest.raises(CommandError, match=r"^Stopped\.$") as stopped:
        call_command("demo")
    assert stopped.value.returncode == 130


def test_a_server_that_stops_while_starting_is_reported_with_the_end_of_its_log(tmp_path):
    with (
        override_settings(VAR_DIR=tmp_path),
        pytest.raises(CommandError, match=r"(?s)The server stopped while it was starting.*DEBUG is \"maybe\""),
        local_server.running_server("test", variables={"DEBUG": "maybe"}),
    ):
        pytest.fail("it is not ready")
    assert (tmp_path / "test-server.log").exists()


def test_the_end_of_the_log_does_not_consist_of_the_questions_whether_it_is_ready(tmp_path):
    log = tmp_path / "server.log"
    question = "2026-11-29 12:00:00,000 ERROR   django.request: Service Unavailable: /readyz\n"
    log.write_text("the reason\n" + question * 100)
    assert local_server._end_of(log) == "the reason"
