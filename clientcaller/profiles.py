"""The profiles of ``ENGINES_PROFILE``: the engines of each, with the options that the environment sets."""

from collections.abc import Collection
from typing import Any, TypedDict

from django.core.exceptions import ImproperlyConfigured

from clientcaller import environment


class EngineSetting(TypedDict):
    """An engine as ``inference.backends`` takes it."""

    BACKEND: str
    OPTIONS: dict[str, Any]


Profile = dict[str, EngineSetting]
"""An engine for each of ``stt``, ``llm`` and ``tts``, and for ``turn`` if there is a turn model."""


def _engine(backend: str, /, **options: Any) -> EngineSetting:
    return {"BACKEND": backend, "OPTIONS": options}


def engine_profiles(turn_model: str) -> dict[str, Profile]:
    """
    Every profile, with ``ENGINES_OPTIONS`` in each: a command can be told to use another profile than its process does.

    ``turn_model`` is the file of the turn model; without one, no profile has such an engine.
    """
    turn = _turn_model(turn_model)
    added = _added_options({"stt", "llm", "tts", *turn})
    return {
        name: {
            alias: _engine(engine["BACKEND"], **(engine["OPTIONS"] | added.get(alias, {})))
            for alias, engine in (profile | turn).items()
        }
        for name, profile in _profiles().items()
    }


def _turn_model(path: str) -> Profile:
    """The turn model runs in the process that takes the call, whatever the profile."""
    return {"turn": _engine("inference.engines.smart_turn.SmartTurnModel", model=path)} if path else {}


def _profiles() -> dict[str, Profile]:
    whisper = "inference.engines.whisper.FasterWhisperSpeechToText"
    whisper_model = environment.text("WHISPER_MODEL")
    laptop_voice = _engine("inference.engines.laptop_voice.LaptopTextToSpeech")
    vllm = _language_model(default_url="http://127.0.0.1:8001/v1", default_model="llm", default_server="vllm")
    return {
        "laptop": {
            "stt": _engine("inference.engines.sphinx.SphinxSpeechToText"),
            "llm": _engine("inference.engines.receptionist.ReceptionistLanguageModel"),
            "tts": laptop_voice,
        },
        "cpu": {
            "stt": _engine(whisper, model=whisper_model or "small.en", device="cpu"),
            "llm": _language_model(default_url="http://127.0.0.1:11434/v1", default_model="gemma3:1b"),
            "tts": laptop_voice,
        },
        "gpu": {
            "stt": _engine(whisper, model=whisper_model or "large-v3-turbo", device="cuda"),
            "llm": vllm,
            "tts": _engine(
                "inference.engines.csm.CsmTextToSpeech",
                model=environment.text("CSM_MODEL", "sesame/csm-1b"),
                voices=environment.text("CSM_VOICES"),
                voice=environment.text("CSM_VOICE"),
                device="cuda",
            ),
        },
        # Every engine is reached through Redis, so that a pod needs no open port. A language model whose URL is set is
        # called directly.
        "remote": {
            "stt": _engine("inference.engines.remote.RemoteSpeechToText"),
            "llm": vllm
            if environment.text("OPENAI_BASE_URL")
            else _engine("inference.engines.remote.RemoteLanguageModel"),
            "tts": _engine("inference.engines.remote.RemoteTextToSpeech"),
        },
        "scripted": {
            "stt": _engine("inference.engines.scripted.ScriptedSpeechToText"),
            "llm": _engine("inference.engines.scripted.ScriptedLanguageModel"),
            "tts": _engine("inference.engines.scripted.ScriptedTextToSpeech"),
        },
        "echo": {
            "stt": _engine("inference.engines.echo.EchoSpeechToText"),
            "llm": _engine("inference.engines.echo.EchoLanguageModel"),
            "tts": _engine("inference.engines.echo.EchoTextToSpeech"),
        },
    }


def _language_model(*, default_url: str, default_model: str, default_server: str = "") -> EngineSetting:
    """An OpenAI-compatible model server: the profile's, unless the environment names another."""
    optional = {
        "server": environment.text("LLM_SERVER", default_server),
        "ca_file": environment.text("OPENAI_CA_FILE"),
        "client_cert_file": environment.text("OPENAI_CLIENT_CERT_FILE"),
        "client_key_file": environment.text("OPENAI_CLIENT_KEY_FILE"),
    }
    return _engine(
        "inference.engines.openai_compatible.OpenAICompatibleLanguageModel",
        base_url=environment.base_url("OPENAI_BASE_URL", default_url),
        api_key=environment.text("OPENAI_API_KEY"),
        model=environment.text("LLM_MODEL", default_model),
        **{option: value for option, value in optional.items() if value},
    )


def _added_options(known: Collection[str]) -> dict[str, dict[str, Any]]:
    options = environment.json_object("ENGINES_OPTIONS")
    if "turn" in options and "turn" not in known:
        raise ImproperlyConfigured(
            "ENGINES_OPTIONS has options of a turn model, but TURN_MODEL is not set. Set it to the model's file."
        )
    if unknown := sorted(set(options) - {*known}):
        raise ImproperlyConfigured(
            f"ENGINES_OPTIONS has the keys {', '.join(unknown)}. Use only stt, llm, tts and turn."
        )
    if wrong := [alias for alias, value in options.items() if not isinstance(value, dict)]:
        raise ImproperlyConfigured(
            f"The value of {', '.join(wrong)} in ENGINES_OPTIONS is not an object. "
            'Write one object per engine, as in {"stt": {"final_delay": 0.1}}.'
        )
    return options
