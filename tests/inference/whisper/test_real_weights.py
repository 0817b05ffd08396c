"""Whisper tiny.en with real weights: what people say is heard, and nothing is invented on a line without words."""

import numpy as np
import pytest

from inference.engines.whisper import FasterWhisperSpeechToText
from inference.types import Pcm
from inference.whisper.options import WhisperOptions
from tests.inference import line_sounds
from tests.inference.human_speech import Recording, by_telephone, recordings
from tests.inference.word_errors import NO_ERRORS, plain_words, word_errors
from tests.sounds import read
from tests.thorough import size

pytestmark = pytest.mark.weights

NAMES = "Okafor, Mountain View"
HARD = ("mfa__cold_corpus3", "mfa__mfa_long", "mfa__mfa_internalsil", "google-samples__commercial_mono")
"""They take long, or their words are not those of a language."""
EACH = size(2, 1)
"""
Each sound is heard, or every second one. Then each recording is heard either loud or quiet, and each sound of a line at
each of its levels, but at one of two lengths, because the numbers of those sounds and of the levels are odd.
"""


async def engine(folder, **options) -> FasterWhisperSpeechToText:
    made = FasterWhisperSpeechToText(
        WhisperOptions(model=str(folder / "tiny.en"), device="cpu", cpu_threads=1, partials=False, **options)
    )
    await made.start()
    return made


@pytest.fixture
async def whisper(models_dir):
    made = await engine(models_dir)
    yield made
    await made.close()


@pytest.fixture
async def with_names(models_dir):
    made = await engine(models_dir, hotwords=NAMES)
    yield made
    await made.close()


async def heard(engine: FasterWhisperSpeechToText, sound: Pcm) -> str:
    utterance = engine.open()
    for start in range(0, len(sound), 1600):
        utterance.push(sound[start : start + 1600])
    return (await utterance.finish()).text


def digits_and_turns(folder) -> list[Recording]:
    """Each fourth digit, and the sentences that are not hard."""
    found = [recording for recording in recordings(folder) if not recording.name.startswith(HARD)]
    digits = [recording for recording in found if recording.kind == "digit"]
    return [recording for recording in found if recording.kind != "digit"] + digits[::4]


@pytest.mark.human
@pytest.mark.parametrize(("first", "gain_db", "most"), [(0, 0, 20), (1, -20, 24)])
async def test_people_are_heard_however_quiet_they_are(whisper, speech_dir, first, gain_db, most):
    errors, empty = NO_ERRORS, []
    for recording in digits_and_turns(speech_dir)[first % EACH :: EACH]:
        text = await heard(whisper, by_telephone(recording.pcm, gain_db=gain_db))
        errors += word_errors(recording.said, text)
        empty += [recording.name] if not plain_words(text) else []
    assert errors.rate < most, errors
    assert len(empty) <= 1, empty


@pytest.mark.human
async def test_an_utterance_that_ends_in_a_loop_is_heard(whisper, speech_dir):
    text = await heard(whisper, by_telephone(read(speech_dir / "mfa__mfa_uhuh.wav"), gain_db=3))
    assert text.startswith("Montreal")
    assert whisper.counts["retried"] == 1


@pytest.mark.human
async def test_a_caller_who_says_only_the_expected_name_is_heard(with_names, speech_dir):
    pcm = read(speech_dir / "google-samples__mountain_view.wav")
    for gain_db in (0, -20):
        assert plain_words(await heard(with_names, by_telephone(pcm, gain_db=gain_db))) == ["mountain", "view"]


async def test_nothing_is_invented_on_a_line_without_words(whisper):
    for name, pcm in [*line_sounds.sounds(lengths=(0.3, 3.0))][::EACH]:
        assert await heard(whisper, by_telephone(pcm)) == "", name


async def test_no_expected_name_is_heard_on_a_line_without_words(with_names):
    for name, pcm in [*line_sounds.sounds(lengths=(1.0, 8.0), levels=(-20,))][::EACH]:
        assert await heard(with_names, by_telephone(pcm)) == "", name


async def test_nothing_is_heard_in_silence(whisper):
    assert await heard(whisper, np.zeros(48000, np.int16)) == ""


@pytest.mark.human
async def test_a_multilingual_model_finds_the_language_of_people(models_dir, speech_dir):
    folder = models_dir / "base"
    if not folder.is_dir():
        pytest.skip("the folder of the models has no base")
    made = FasterWhisperSpeechToText(WhisperOptions(model=str(folder), device="cpu", cpu_threads=1))
    await made.start()
    for name in ("openai-whisper__jfk", "google-samples__brooklyn", "speechbrain__spk1_snt2"):
        utterance = made.open(language="auto")
        utterance.push(by_telephone(read(speech_dir / f"{name}.wav")))
        final = await utterance.finish()
        assert final.language == "en", name
        assert len(plain_words(final.text)) > 3
    await made.close()
