"""``manage.py models`` lists, fetches, checks and finds weights."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from inference.models.catalogue import CATALOGUE
from inference.models.choice import Machine
from inference.models.digests import digest_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of models, and a source with files in place of those of ``tiny.en``, which are too large."""
    source = tmp_path / "source" / "tiny.en"
    source.mkdir(parents=True)
    files = []
    for file in CATALOGUE["tiny.en"].files:
        (source / file.name).write_bytes(file.name.encode())
        files.append(replace(file, size=len(file.name), sha256=digest_of(source / file.name).hex))
    small = replace(CATALOGUE["tiny.en"], files=tuple(files))
    monkeypatch.setitem(CATALOGUE, "tiny.en", small)
    with override_settings(MODELS_FOLDER=tmp_path / "models", MODELS_HUB="http://127.0.0.1:1", MODELS_TOKEN=""):
        yield tmp_path


def run(*arguments: str | Path) -> str:
    out = StringIO()
    call_command("models", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_a_model_is_copied_listed_checked_and_found(folder):
    assert "tiny.en is complete" in run("fetch", "tiny.en", "--from", folder / "source")
    assert "is here already" in run("fetch", "tiny.en", "--from", folder / "source")
    assert run("where", "tiny.en").strip() == str(folder / "models" / "tiny.en")
    assert run("verify").count(": right") == 4
    assert run("verify", "tiny.en").count(": right") == 4


def test_the_list_names_licence_size_and_what_is_here(folder):
    run("fetch", "tiny.en", "--from", folder / "source")
    listed = {model["name"]: model for model in json.loads(run("list", "--json"))["models"]}
    assert set(listed) == set(CATALOGUE)
    assert listed["tiny.en"]["fetched"]
    assert not listed["base.en"]["fetched"]
    assert listed["base.en"]["licence"] == "MIT"
    assert listed["base.en"]["size_bytes"] > 10**8
    table = run("list")
    assert "Gemma Terms of Use" in " ".join(table.split())
    assert str(folder / "models") in table


def test_verify_names_each_bad_file_and_fails(folder):
    run("fetch", "tiny.en", "--from", folder / "source")
    (folder / "models" / "tiny.en" / "model.bin").write_bytes(b"damage!!!")
    (folder / "models" / "tiny.en" / "config.json").unlink()
    with pytest.raises(CommandError, match=r"(?s)model\.bin has sha256 .*config\.json is missing.*--renew"):
        run("verify")


def test_verify_without_any_model_says_so(folder):
    assert "There is no model in" in run("verify")


def test_without_names_the_models_that_fit_the_machine_are_fetched(folder, monkeypatch):
    monkeypatch.setattr("inference.management.commands.models.this_machine", lambda: Machine(2, 3 * 10**9))
    with pytest.raises(CommandError, match="has neither gemma3-270m-it/"):
        run("fetch", "--from", folder / "source")
    assert run("where", "tiny.en").strip() == str(folder / "models" / "tiny.en")


def test_an_unknown_name_is_refused_with_the_known_ones(folder):
    with pytest.raises(CommandError, match=r"There is no model 'tiny'\. Choose from: tiny\.en, "):
        run("fetch", "tiny")


def test_a_source_that_does_not_exist_is_named(folder):
    with pytest.raises(CommandError, match="there is no such folder"):
        run("fetch", "tiny.en", "--from", folder / "nowhere")


@pytest.mark.parametrize(
    ("source", "reason"), [("models.tar", "it is a file"), ("link", "is a link to /media/gone"), ("", "name a folder")]
)
def test_a_source_that_is_no_folder_says_why(folder, source, reason):
    (folder / "models.tar").touch()
    (folder / "link").symlink_to("/media/gone")
    with pytest.raises(CommandError, match=reason):
        run("fetch", "tiny.en", "--from", folder / source if source else "")


def test_a_source_may_be_in_the_home_of_the_user(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert "tiny.en is complete" in run("fetch", "tiny.en", "--from=~/source")


def test_where_says_how_to_fetch_what_is_not_here(folder):
    with pytest.raises(CommandError, match=r"models fetch base\.en"):
        run("where", "base.en")
    shown = json.loads(run("where", "base.en", "--json"))
    assert shown["folder"] == str(folder / "models" / "base.en")
    assert shown["files"][0]["url"].startswith("http://127.0.0.1:1/Systran/faster-whisper-base.en/resolve/")


def test_a_hub_that_cannot_be_reached_ends_the_command_with_what_to_do(folder, monkeypatch):
    monkeypatch.setattr("inference.models.download.ATTEMPTS", 1)
    with pytest.raises(CommandError, match=r"(?s)The connection to 127\.0\.0\.1:1 failed.*save these files"):
        run("fetch", "smart-turn")
