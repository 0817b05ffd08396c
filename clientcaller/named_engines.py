"""
The engines that have a short name, as ``STT_ENGINE``, ``LLM_ENGINE`` and ``TTS_ENGINE`` take it.

Each engine is one line of ``ENGINES``: its kind, its name, its class, and the function that reads its options from the
environment. Another package names its engines by entry points of the group ``clientcaller.engines``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypedDict

from django.core.exceptions import ImproperlyConfigured

from clientcaller import environment, local_models
from clientcaller.local_models import fetched_or_name, path_of

KINDS = ("stt", "llm", "tts")
ENTRY_POINTS = "clientcaller.engines"
FALLBACKS = {
    "stt": "inference.engines.fallback.FallbackSpeechToText",
    "llm": "inference.engines.fallback.FallbackLanguageModel",
    "tts": "inference.engines.fallback.FallbackTextToSpeech",
}
GENERAL = frozenset(
    "STT_MODEL STT_BASE_URL STT_API_KEY LLM_MODEL LLM_SERVER TTS_MODEL TTS_VOICE TTS_BASE_URL TTS_API_KEY".split()
)
"""The variables for whatever engine is chosen. In a list of engines they are meant for the first one."""
OF_A_MEMBER = ("DEADLINE", "VOICES")
"""What a fallback must know of one of its engines. It stands among the options of that engine, in capitals."""
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-6-luna"
"""OpenAI's model that answers fast and costs little, as of November 2026. It must not think before it speaks."""


class EngineSetting(TypedDict):
    """An engine as ``inference.backends`` takes it."""

    BACKEND: str
    OPTIONS: dict[str, Any]


Options = Mapping[str, Any]


class Reader:
    """Reads the options of one engine from the environment, and notes which of those that it needs are not there."""

    def __init__(self, *, is_first: bool = True) -> None:
        self.missing: dict[str, str] = {}
        """The variables that the engine needs and that are not set, by option."""
        self._is_first = is_first

    def __call__(self, *variables: str) -> str:
        """The first of these variables that is set and meant for this engine; else an empty text."""
        values = (environment.text(each) for each in variables if self._is_first or each not in GENERAL)
        return next(filter(None, values), "")

    def needed(self, variable: str, *, option: str = "api_key") -> str:
        value = self(variable)
        if not value:
            self.missing[option] = variable
        return value


def no_options(read: Reader) -> Options:
    return {}


def _whisper(read: Reader) -> Options:
    return {"model": read("WHISPER_MODEL", "STT_MODEL")}


def _deepgram(read: Reader) -> Options:
    return {**_deepgram_account(read), "model": read("STT_MODEL")}


def _deepgram_account(read: Reader) -> Options:
    return {"api_key": read.needed("DEEPGRAM_API_KEY"), "base_url": read("DEEPGRAM_BASE_URL")}


def _openai_stt(read: Reader) -> Options:
    return {**_openai_account(read, "STT"), "model": read("STT_MODEL")}


def _openai_account(read: Reader, kind: str) -> Options:
    """A server of one's own gets no key but its own."""
    base_url = read(f"{kind}_BASE_URL")
    api_key = read(f"{kind}_API_KEY") or ("" if base_url else read.needed("OPENAI_API_KEY"))
    return {"base_url": base_url, "api_key": api_key}


def _openai_llm(read: Reader) -> Options:
    """OpenAI's own server; another one that ``OPENAI_BASE_URL`` names need not ask for a key, but has other models."""
    base_url, model = environment.base_url("OPENAI_BASE_URL", OPENAI_URL), read("LLM_MODEL")
    is_openai = base_url == OPENAI_URL
    return {
        "base_url": base_url,
        "api_key": read.needed("OPENAI_API_KEY") if is_openai else read("OPENAI_API_KEY"),
        "model": model or (OPENAI_MODEL if is_openai else read.needed("LLM_MODEL", option="model")),
        "extra_body": {} if model or not is_openai else {"reasoning_effort": "none"},
        **_model_server(read),
    }


def _openai_compatible(read: Reader) -> Options:
    base_url = read("OPENAI_BASE_URL") and environment.base_url("OPENAI_BASE_URL", "")
    return {"base_url": base_url, "api_key": read("OPENAI_API_KEY"), "model": read("LLM_MODEL"), **_model_server(read)}


def _model_server(read: Reader) -> Options:
    return {
        "server": read("LLM_SERVER"),
        "ca_file": read("OPENAI_CA_FILE"),
        "client_cert_file": read("OPENAI_CLIENT_CERT_FILE"),
        "client_key_file": read("OPENAI_CLIENT_KEY_FILE"),
    }


def _llama_cpp(read: Reader) -> Options:
    return {"model": read("LLM_MODEL") or local_models.choose_models().llm}


def _csm(read: Reader) -> Options:
    return {
        "model": read("CSM_MODEL", "TTS_MODEL"),
        "voices": read("CSM_VOICES"),
        "voice": read("CSM_VOICE", "TTS_VOICE"),
    }


def _voice(read: Reader) -> Options:
    return {"voice": read("TTS_VOICE")}


def _voice_and_model(read: Reader) -> Options:
    return {"voice": read("TTS_VOICE"), "model": read("TTS_MODEL")}


def _piper(read: Reader) -> Options:
    return _local_voice(read, local_models.choose_models().tts)


def _kokoro(read: Reader) -> Options:
    return _local_voice(read, "kokoro")


def _local_voice(read: Reader, default: str) -> Options:
    """
    A voice of the catalogue has weights of its own: its name may be given as the voice or as the model.

    With another model beside it, it is left to the engine, which says that this model has no such voice.
    """
    voice, model = read("TTS_VOICE"), read("TTS_MODEL")
    if local_models.is_known(voice) and model in ("", voice, path_of(voice)):
        voice, model = "", voice
    return {"voice": voice, "model": model or default}


def _pocket_tts(read: Reader) -> Options:
    """Its models are files that the package describes in YAML."""
    return {"voice": read("TTS_VOICE"), "config": read("TTS_MODEL")}


def _elevenlabs(read: Reader) -> Options:
    return {"api_key": read.needed("ELEVENLABS_API_KEY"), **_voice_and_model(read)}


def _cartesia(read: Reader) -> Options:
    return {"api_key": read.needed("CARTESIA_API_KEY"), **_voice_and_model(read)}


def _deepgram_tts(read: Reader) -> Options:
    """At Deepgram the name of the model is that of the voice."""
    return {**_deepgram_account(read), "voice": read("TTS_VOICE", "TTS_MODEL")}


def _openai_tts(read: Reader) -> Options:
    return {**_openai_account(read, "TTS"), **_voice_and_model(read)}


@dataclass(frozen=True, slots=True)
class NamedEngine:
    """An engine with a short name."""

    kind: str
    name: str
    path: str
    """The dotted path of its class."""
    options: Callable[[Reader], Options] = no_options
    """Reads its options from the environment. An empty one is left to the default."""
    weights: Callable[[str], str] | None = None
    """Finds the folder of weights if its option ``model`` is their name in the catalogue, wherever that is written."""


_FOLDER = "inference.engines"
ENGINES = (
    NamedEngine("stt", "sphinx", f"{_FOLDER}.sphinx.SphinxSpeechToText"),
    NamedEngine("stt", "whisper", f"{_FOLDER}.whisper.FasterWhisperSpeechToText", _whisper, fetched_or_name),
    NamedEngine("stt", "deepgram", f"{_FOLDER}.deepgram.DeepgramSpeechToText", _deepgram),
    NamedEngine("stt", "deepgram-flux", f"{_FOLDER}.deepgram_flux.DeepgramFluxSpeechToText", _deepgram),
    NamedEngine("stt", "openai-realtime", f"{_FOLDER}.openai_realtime.OpenAIRealtimeSpeechToText", _openai_stt),
    NamedEngine("stt", "openai-transcribe", f"{_FOLDER}.openai_transcribe.OpenAITranscribeSpeechToText", _openai_stt),
    NamedEngine("stt", "remote", f"{_FOLDER}.remote.RemoteSpeechToText"),
    NamedEngine("stt", "scripted", f"{_FOLDER}.scripted.ScriptedSpeechToText"),
    NamedEngine("stt", "echo", f"{_FOLDER}.echo.EchoSpeechToText"),
    NamedEngine("llm", "receptionist", f"{_FOLDER}.receptionist.ReceptionistLanguageModel"),
    NamedEngine("llm", "openai", f"{_FOLDER}.openai_compatible.OpenAICompatibleLanguageModel", _openai_llm),
    NamedEngine(
        "llm", "openai-compatible", f"{_FOLDER}.openai_compatible.OpenAICompatibleLanguageModel", _openai_compatible
    ),
    NamedEngine("llm", "llama-cpp", f"{_FOLDER}.llama_cpp.LlamaCppLanguageModel", _llama_cpp, path_of),
    NamedEngine("llm", "remote", f"{_FOLDER}.remote.RemoteLanguageModel"),
    NamedEngine("llm", "scripted", f"{_FOLDER}.scripted.ScriptedLanguageModel"),
    NamedEngine("llm", "echo", f"{_FOLDER}.echo.EchoLanguageModel"),
    NamedEngine("tts", "laptop-voice", f"{_FOLDER}.laptop_voice.LaptopTextToSpeech"),
    NamedEngine("tts", "espeak", f"{_FOLDER}.espeak.EspeakTextToSpeech", _voice),
    NamedEngine("tts", "flite", f"{_FOLDER}.flite.FliteTextToSpeech", _voice),
    NamedEngine("tts", "piper", f"{_FOLDER}.piper.PiperTextToSpeech", _piper, path_of),
    NamedEngine("tts", "kokoro", f"{_FOLDER}.kokoro.KokoroTextToSpeech", _kokoro, path_of),
    NamedEngine("tts", "pocket-tts", f"{_FOLDER}.pocket_tts.PocketTextToSpeech", _pocket_tts),
    NamedEngine("tts", "csm", f"{_FOLDER}.csm.CsmTextToSpeech", _csm),
    NamedEngine("tts", "elevenlabs", f"{_FOLDER}.elevenlabs.ElevenLabsTextToSpeech", _elevenlabs),
    NamedEngine("tts", "cartesia", f"{_FOLDER}.cartesia.CartesiaTextToSpeech", _cartesia),
    NamedEngine("tts", "aura", f"{_FOLDER}.deepgram_aura.AuraTextToSpeech", _deepgram_tts),
    NamedEngine("tts", "flux-tts", f"{_FOLDER}.deepgram_flux_tts.FluxTextToSpeech", _deepgram_tts),
    NamedEngine("tts", "openai-speech", f"{_FOLDER}.openai_speech.OpenAISpeechTextToSpeech", _openai_tts),
    NamedEngine("tts", "remote", f"{_FOLDER}.remote.RemoteTextToSpeech"),
    NamedEngine("tts", "scripted", f"{_FOLDER}.scripted.ScriptedTextToSpeech"),
    NamedEngine("tts", "echo", f"{_FOLDER}.echo.EchoTextToSpeech"),
)
NAMES = frozenset(engine.name for engine in ENGINES)


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, or several of which the next one takes over when one fails."""

    kind: str
    engines: tuple[NamedEngine, ...]
    defaults: Options = field(default_factory=dict)
    """Options of the first engine that the environment may replace."""

    def setting(self, added: Mapping[str, Options]) -> tuple[EngineSetting, list[str]]:
        """
        The setting with the options of ``ENGINES_OPTIONS``, and what is missing for it, in words.

        Options under the name of an engine are added to those of that engine, and options under the kind to those of
        the only engine, or of the fallback that combines several. What only a fallback must know of an engine is left
        out if there is none.
        """
        of_kind = added.get(self.kind, {})
        entries: list[dict[str, Any]] = []
        missing: list[str] = []
        for index, engine in enumerate(self.engines):
            is_only = len(self.engines) == 1
            read = Reader(is_first=index == 0)
            options = {name: value for name, value in engine.options(read).items() if value}
            options = {**(self.defaults if index == 0 else {}), **options}
            more = added.get(engine.name, {})
            options |= {name: value for name, value in more.items() if name not in OF_A_MEMBER}
            options |= of_kind if is_only else {}
            if engine.weights and isinstance(options.get("model"), str):
                options["model"] = engine.weights(options["model"])
            of_member = {name: value for name, value in more.items() if name in OF_A_MEMBER}
            entries.append({"BACKEND": engine.path, "OPTIONS": options, "NAME": engine.name, **of_member})
            missing += [
                f"{engine.name} needs {variable}"
                for option, variable in read.missing.items()
                if not options.get(option)
            ]
        if len(entries) == 1:
            return EngineSetting(BACKEND=entries[0]["BACKEND"], OPTIONS=entries[0]["OPTIONS"]), missing
        return EngineSetting(BACKEND=FALLBACKS[self.kind], OPTIONS={**of_kind, "engines": entries}), missing


def named(kind: str, name: str, **defaults: Any) -> Choice:
    """The engine of this name in ``ENGINES``, with defaults of a profile."""
    return Choice(kind, (next(each for each in ENGINES if (each.kind, each.name) == (kind, name)),), defaults)


def chosen(kind: str) -> Choice | None:
    """What ``STT_ENGINE``, ``LLM_ENGINE`` or ``TTS_ENGINE`` names; None if it is not set."""
    variable = f"{kind.upper()}_ENGINE"
    names = environment.items(variable)
    return Choice(kind, tuple(_find(kind, variable, name, names) for name in names)) if names else None


def _find(kind: str, variable: str, name: str, names: Sequence[str]) -> NamedEngine:
    known = {engine.name: engine for engine in ENGINES if engine.kind == kind}
    if engine := known.get(name.lower()):
        return engine
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        weights = next((engine.weights for engine in ENGINES if engine.path == name), None)
        return NamedEngine(kind, name, name, weights=weights)
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if point := others.get(name):
        return NamedEngine(kind, name, f"{point.module}.{point.attr}")
    wrong = f'{variable} is "{name}".' if len(names) == 1 else f'{variable} has "{name}" in its list.'
    raise ImproperlyConfigured(
        f"{wrong} Choose one of: {', '.join([*known, *others])}, a dotted path, or a comma-separated list."
    )
