"""The engines keep the contract of ``inference/interfaces.py``."""

from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from inference.chat.options import ModelServerOptions
from inference.engines import flite
from inference.engines.echo import STORE, EchoLanguageModel, EchoSpeechToText, EchoTextToSpeech
from inference.engines.espeak import EspeakTextToSpeech
from inference.engines.kokoro import KokoroOptions, KokoroTextToSpeech
from inference.engines.laptop_voice import LaptopTextToSpeech
from inference.engines.openai_compatible import OpenAICompatibleLanguageModel
from inference.engines.piper import PiperOptions, PiperTextToSpeech
from inference.engines.pocket_tts import PocketOptions, PocketTextToSpeech
from inference.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
)
from inference.engines.whisper import FasterWhisperSpeechToText
from inference.whisper.options import WhisperOptions
from tests.inference.contract import LanguageModelContract, SpeechToTextContract, TextToSpeechContract
from tests.inference.model_server import ModelServer
from tests.inference.tiny_kokoro import make_tiny_kokoro
from tests.inference.tiny_piper import make_tiny_piper
from tests.inference.tiny_whisper import make_tiny_whisper


class TestScriptedSpeechToText(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        # The shorter of the two utterances is a backchannel.
        return partial(ScriptedSpeechToText, final_delay=0.001, partials=True, backchannel_below=0.8)


class TestScriptedLanguageModel(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return partial(ScriptedLanguageModel, first_delay=0.001, token_delay=0.0005)


class TestScriptedTextToSpeech(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return partial(ScriptedTextToSpeech, first_delay=0.001, chunk_delay=0.0005)


class TestEchoSpeechToText(SpeechToTextContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return EchoSpeechToText

    @classmethod
    def words(cls, transcript):
        # Each utterance has a name of its own. The sound that it stands for must be equal.
        return tuple(sound.tobytes() for sound in STORE.find_sounds(transcript.text))


class TestEchoLanguageModel(LanguageModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return EchoLanguageModel


class TestEchoTextToSpeech(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return EchoTextToSpeech


class TestFasterWhisper(SpeechToTextContract):
    heeds_keyterms = True

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory):
        folder = make_tiny_whisper(tmp_path_factory.mktemp("whisper"))
        return partial(FasterWhisperSpeechToText, WhisperOptions(model=str(folder), device="cpu", cpu_threads=1))


class TestOpenAICompatible(LanguageModelContract):
    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def make(cls):
        async with ModelServer().serving() as server:
            yield partial(OpenAICompatibleLanguageModel, ModelServerOptions(base_url=server.base_url))


class TestEspeak(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return EspeakTextToSpeech


@pytest.mark.skipif(not flite.is_installed(), reason="Flite (Debian's libflite1) is not installed")
class TestFlite(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return flite.FliteTextToSpeech


class TestPiper(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory):
        folder = make_tiny_piper(tmp_path_factory.mktemp("piper"))
        return partial(PiperTextToSpeech, PiperOptions(model=str(folder), noise_scale=0.0, noise_w=0.0))


class TestPiperThatSamples(TestPiper):
    length_tolerance = 0.1

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory):
        folder = make_tiny_piper(tmp_path_factory.mktemp("piper"), cuttable=False)
        return partial(PiperTextToSpeech, PiperOptions(model=str(folder), threads=2))


class TestKokoro(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory):
        folder = make_tiny_kokoro(tmp_path_factory.mktemp("kokoro"))
        return partial(KokoroTextToSpeech, KokoroOptions(model=str(folder)))


class TestPocketTts(TextToSpeechContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parent / "stand_ins"))
            yield partial(PocketTextToSpeech, PocketOptions(slots=2))


class TestLaptopVoice(TextToSpeechContract):
    refuses_unknown_voices = False

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls):
        return LaptopTextToSpeech
