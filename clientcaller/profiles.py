"""The profiles of ``ENGINES_PROFILE``: the engines of each, with the options that the environment sets."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from clientcaller import environment, local_models
from clientcaller.named_engines import FALLBACKS, KINDS, NAMES, Choice, EngineSetting, chosen, named

Profile = dict[str, EngineSetting]
"""An engine for each of ``stt``, ``llm`` and ``tts``, and for ``turn`` if there is a turn model."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Every profile: a command can be told to use another one than its process does."""

    settings: dict[str, Profile] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    """For each profile what its engines lack, in words such as ``deepgram needs DEEPGRAM_API_KEY``."""


def engine_profiles(turn_model: str) -> Profiles:
    """
    Make every profile, with the engines of ``STT_ENGINE``, ``LLM_ENGINE``, ``TTS_ENGINE`` in each.

    The options of ``ENGINES_OPTIONS`` are in each as well. ``turn_model`` is the file of the turn model; without one,
    no profile has such an engine.
    """
    replaced = {kind: choice for kind in KINDS if (choice := chosen(kind))}
    names = NAMES | {engine.name for choice in replaced.values() for engine in choice.engines}
    added = _added_options({*KINDS, *(("turn",) if turn_model else ())}, names)
    profiles = Profiles()
    for name, choices in _profiles().items():
        made = {choice.kind: choice.setting(added) for choice in [replaced.get(each.kind, each) for each in choices]}
        profiles.settings[name] = {kind: setting for kind, (setting, _) in made.items()}
        profiles.missing[name] = [what for _, missing in made.values() for what in missing]
        if turn_model:
            # The turn model runs in the process that takes the call, whatever the profile.
            profiles.settings[name]["turn"] = EngineSetting(
                BACKEND="inference.engines.smart_turn.SmartTurnModel",
                OPTIONS={"model": turn_model, **added.get("turn", {})},
            )
    return profiles


def is_remote(setting: EngineSetting) -> bool:
    """Whether the engine, or one of a fallback, runs in a worker elsewhere."""
    entries = setting["OPTIONS"].get("engines", ()) if setting["BACKEND"] in FALLBACKS.values() else [setting]
    return any(entry["BACKEND"].startswith("inference.engines.remote.") for entry in entries)


def _profiles() -> dict[str, tuple[Choice, Choice, Choice]]:
    sphinx, receptionist, laptop_voice = (
        named("stt", "sphinx"),
        named("llm", "receptionist"),
        named("tts", "laptop-voice"),
    )
    vllm = named("llm", "openai-compatible", base_url="http://127.0.0.1:8100/v1", model="llm", server="vllm")
    return {
        "laptop": (sphinx, receptionist, laptop_voice),
        "cpu": (
            named("stt", "whisper", model="small.en", device="cpu"),
            named("llm", "openai-compatible", base_url="http://127.0.0.1:11434/v1", model="gemma3:1b"),
            laptop_voice,
        ),
        "talk": _talk(),
        "gpu": (
            named("stt", "whisper", model="large-v3-turbo", device="cuda"),
            vllm,
            named("tts", "csm", model="sesame/csm-1b", device="cuda"),
        ),
        # Only keys are needed.
        "hosted": (
            named("stt", "deepgram"),
            named("llm", "openai"),
            # Either account will do.
            named(
                "tts",
                "elevenlabs"
                if environment.text("ELEVENLABS_API_KEY") and not environment.text("CARTESIA_API_KEY")
                else "cartesia",
            ),
        ),
        # Every engine is reached through Redis, so that a pod needs no open port. A language model whose URL is set is
        # called directly.
        "remote": (
            named("stt", "remote"),
            vllm if environment.text("OPENAI_BASE_URL") else named("llm", "remote"),
            named("tts", "remote"),
        ),
        "scripted": (named("stt", "scripted"), named("llm", "scripted"), named("tts", "scripted")),
        "echo": (named("stt", "echo"), named("llm", "echo"), named("tts", "echo")),
    }


def _talk() -> tuple[Choice, Choice, Choice]:
    """Small models with weights, all in one process, as they fit this machine."""
    models = local_models.choose_models()
    return (
        named("stt", "whisper", model=local_models.path_of(models.stt), device="cpu"),
        named("llm", "llama-cpp", model=local_models.path_of(models.llm)),
        named("tts", "piper", model=local_models.path_of(models.tts)),
    )


def _added_options(kinds: Collection[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
    options = environment.json_object("ENGINES_OPTIONS")
    if "turn" in options and "turn" not in kinds:
        raise ImproperlyConfigured(
            "ENGINES_OPTIONS has options of a turn model, but TURN_MODEL is not set. Set it to the model's file."
        )
    if unknown := sorted(set(options) - {*kinds, *names}):
        raise ImproperlyConfigured(
            f"ENGINES_OPTIONS has the keys {', '.join(unknown)}. Use only stt, llm, tts, turn and names of engines."
        )
    if wrong := [name for name, value in options.items() if not isinstance(value, dict)]:
        raise ImproperlyConfigured(
            f"The value of {', '.join(wrong)} in ENGINES_OPTIONS is not an object. "
            'Write one object per engine, as in {"stt": {"final_delay": 0.1}}.'
        )
    return options
