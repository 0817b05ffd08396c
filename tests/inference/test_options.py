"""Options written in a setting become the fields of a dataclass, and mistakes in them are named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from inference.backends import make_engine
from inference.options import PATH, parse_options
from inference.types import EngineError


@dataclass(frozen=True, kw_only=True)
class Options:
    url: str
    retries: int = 3
    """Zero would give up at the first error."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise EngineError("retries cannot be negative", permanent=True)


class Engine:
    options_class: ClassVar[type[Options]] = Options

    def __init__(self, options: Options) -> None:
        self.options = options


SETTING = {"BACKEND": f"{__name__}.Engine"}


def test_given_options_are_set_and_the_others_keep_their_defaults():
    assert parse_options(Options, {"url": "http://model"}, engine="E") == Options(url="http://model", retries=3)


def test_an_unknown_option_is_named_beside_those_that_exist():
    with pytest.raises(EngineError) as refusal:
        parse_options(Options, {"url": "http://model", "retry": 1, "ur": ""}, engine="ENGINES['llm']: some.Engine")
    assert str(refusal.value) == (
        "ENGINES['llm']: some.Engine has no option 'retry', 'ur'. Its options are: retries, url."
    )
    assert refusal.value.permanent


def test_a_missing_option_without_a_default_is_named():
    with pytest.raises(EngineError, match=r"^E needs the option 'url'") as refusal:
        parse_options(Options, {}, engine="E")
    assert refusal.value.permanent


def test_an_engine_with_an_options_class_gets_an_instance_of_it():
    engine = make_engine("llm", {**SETTING, "OPTIONS": {"url": "http://model", "retries": 0}})
    assert engine.options == Options(url="http://model", retries=0)


def test_the_setting_is_named_where_an_option_is_wrong():
    with pytest.raises(EngineError, match=r"ENGINES\['llm'\]: .*\.Engine has no option 'uri'"):
        make_engine("llm", {**SETTING, "OPTIONS": {"uri": "http://model"}})


def test_a_value_that_cannot_work_is_refused_by_the_engine():
    with pytest.raises(EngineError, match="negative"):
        make_engine("llm", {**SETTING, "OPTIONS": {"url": "http://model", "retries": -1}})


# --- Paths -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Files:
    model: str = field(default="small.en", metadata=PATH)
    voices: Mapping[str, str] = field(default_factory=dict, metadata=PATH)
    marker: str = ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/weights", "/home/anna/weights"),
        ("~", "/home/anna"),
        (Path("~/weights"), "/home/anna/weights"),
        ("/weights/~old", "/weights/~old"),
        ("small.en", "small.en"),
        ("~no-such-user/weights", "~no-such-user/weights"),
        ("", ""),
        (None, None),
    ],
)
def test_a_tilde_at_the_beginning_of_a_path_is_the_home_of_the_user(monkeypatch, given, expected):
    monkeypatch.setenv("HOME", "/home/anna")
    assert parse_options(Files, {"model": given}, engine="E").model == expected


def test_the_paths_of_a_mapping_are_expanded_and_its_names_are_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    options = parse_options(Files, {"voices": {"~bob": "~/bob.onnx", "carl": "carl"}}, engine="E")
    assert options.voices == {"~bob": "/home/anna/bob.onnx", "carl": "carl"}


def test_what_is_no_path_keeps_its_tilde():
    assert parse_options(Files, {"marker": "~end"}, engine="E").marker == "~end"
