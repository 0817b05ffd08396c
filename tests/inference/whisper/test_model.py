"""Checkpoints of each kind, and rows of a batch that do not affect each other."""

import ctypes
import importlib.util
import itertools
from dataclasses import replace

import numpy as np
import pytest

from inference.types import EngineError
from inference.whisper import loading
from inference.whisper import model as module
from inference.whisper.loading import load, memory_estimate, weights_bytes
from inference.whisper.mel import RATE_HZ, LogMel
from inference.whisper.model import Model, Piece, window_for
from inference.whisper.options import WhisperOptions
from tests.inference.contract import band_noise
from tests.inference.tiny_whisper import HIGH_SENTENCE, LOW_SENTENCE, make_tiny_whisper

LOW, HIGH = band_noise(100, 1500, 1.2, RATE_HZ), band_noise(2200, 3900, 1.2, RATE_HZ)
LANGUAGES = ("en", "de", "ja")


def loaded(folder, **options) -> Model:
    return load(WhisperOptions(model=str(folder), device="cpu", cpu_threads=1, **options))


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    return loaded(make_tiny_whisper(tmp_path_factory.mktemp("english")))


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    return make_tiny_whisper(folder, mels=128, languages=LANGUAGES, random=True)


def piece(model: Model, pcm: np.ndarray, language: str = "en", prefix: tuple[int, ...] = ()) -> Piece:
    mel = LogMel(model.filters)
    mel.add(pcm)
    return Piece(mel.cut(), len(pcm) / RATE_HZ, language, prefix)


def noises(model: Model) -> list[Piece]:
    """Pieces of many lengths in all languages, some with a prefix. Two differ from the first by one of these only."""
    chance, pieces = np.random.default_rng(5), []
    for row, seconds in enumerate((1.2, 3.0, 7.5, 0.5, 5.0, 2.0, 2.0)):
        pcm = (6000 * chance.standard_normal(int(seconds * RATE_HZ))).clip(-32768, 32767).astype(np.int16)
        pieces.append(piece(model, pcm, LANGUAGES[row % 3], (5, 6, 7)[: row % 3]))
    return [*pieces, replace(pieces[0], language="de"), replace(pieces[0], prefix=(9,))]


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("languages", [("en",), LANGUAGES])
def test_each_kind_of_checkpoint_recognises_both_sentences(tmp_path, mels, languages):
    model = loaded(make_tiny_whisper(tmp_path, mels=mels, languages=languages))
    assert model.filters.shape == (mels, 201)
    heard = model.transcribe([piece(model, LOW, languages[-1]), piece(model, HIGH)])
    assert [one.text for one in heard] == [LOW_SENTENCE, HIGH_SENTENCE]
    assert all(one.logprob > -0.5 and one.no_speech < 0.1 for one in heard)


def test_repetitions_are_penalised_in_short_texts_only(english, monkeypatch):
    class Spied:
        def __getattr__(self, name):
            return getattr(model, name)

        def generate(self, *args, **options):
            penalties.append(options["repetition_penalty"])
            return model.generate(*args, **options)

    model, penalties = english._whisper.model, []
    monkeypatch.setattr(english._whisper, "model", Spied())
    for seconds in (3, 12, 14, 25):
        english.transcribe([piece(english, np.resize(LOW, seconds * RATE_HZ))])
    assert penalties == [module.REPETITION_PENALTY, module.REPETITION_PENALTY, 1.0, 1.0]


@pytest.mark.parametrize(
    ("asked", "others", "found", "probability", "spoken"),
    [
        ("en", {"de"}, "de", 0.9, "de"),
        ("en", {"de"}, "de", module.SURE_LANGUAGE - 0.01, "en"),
        ("en", {"de"}, "fr", 0.99, "en"),
        ("en", {"de"}, "en", 0.99, "en"),
        ("auto", set(), "fr", 0.3, "fr"),
    ],
)
def test_words_are_in_another_language_only_if_it_may_be_spoken_and_is_sure(asked, others, found, probability, spoken):
    one = Piece(LogMel(np.zeros((80, 201), np.float32)).cut(), 1.0, asked, others=frozenset(others))
    told = module._with_language(one, f"<|{found}|>", probability)
    assert (told.language, told.found, told.found_probability) == (spoken, found, probability)


def test_a_row_that_looks_for_no_language_is_recognised_the_same_beside_one_that_does(random_folder):
    model = loaded(random_folder)
    quiet, looking = piece(model, LOW), replace(piece(model, HIGH), others=frozenset(("de", "ja")))
    alone = model.transcribe([quiet])
    heard, found = model.transcribe([quiet, looking])
    assert [heard] == alone
    assert (heard.found, heard.found_probability) == ("", 0.0)
    assert found.found in LANGUAGES
    assert 0 < found.found_probability <= 1


@pytest.mark.parametrize("frames", module.WINDOWS)
def test_sound_in_each_window_is_recognised(english, frames):
    sound = np.zeros((frames - module.MARGIN) * 160 - 400, np.int16)
    sound[-len(LOW) :] = LOW
    heard = piece(english, sound)
    assert heard.shape[0] == frames
    assert english.transcribe([heard])[0].text == LOW_SENTENCE


def test_a_window_leaves_a_margin_of_two_seconds():
    assert [window_for(frames) for frames in (1, 800, 801, 1300, 1301, 1800, 2300, 2800, 2802)] == [
        1000, 1000, 1500, 1500, 2000, 2000, 2500, 3000, 3000,
    ]  # fmt: skip


def test_a_second_attempt_has_the_next_larger_window():
    assert [window_for(frames, plain=True) for frames in (1, 801, 1301, 1801, 2801)] == [1500, 2000, 2500, 3000, 3000]


def test_the_window_grows_without_a_leap():
    windows = [window_for(frames) for frames in range(500, 2800, 100)]
    assert all(later <= 1.5 * before for before, later in itertools.pairwise(windows))
    assert windows[-1] == 3000


def test_each_row_of_a_batch_is_recognised_exactly_as_if_it_were_alone(random_folder):
    model = loaded(random_folder)  # int8
    pieces = noises(model)
    alone = [model.transcribe([one])[0] for one in pieces]
    assert model.transcribe(pieces) == alone
    assert model.transcribe(pieces[::-1]) == alone[::-1]
    # The test would prove nothing if all rows had the same text, or none ended.
    assert len({one.tokens for one in alone if not one.runaway}) > 3
    assert {one.runaway for one in alone} == {True, False}
    assert alone[0].tokens != alone[-2].tokens
    assert alone[0].tokens != alone[-1].tokens


def test_in_floating_point_the_words_are_also_the_same(random_folder):
    model = loaded(random_folder, compute_type="float32")
    pieces = noises(model)
    alone, batch = [model.transcribe([one])[0] for one in pieces], model.transcribe(pieces)
    assert [(one.text, one.tokens, one.runaway) for one in batch] == [
        (one.text, one.tokens, one.runaway) for one in alone
    ]
    assert [one.logprob for one in batch] == pytest.approx([one.logprob for one in alone], abs=1e-4)


def test_a_text_begins_with_its_prefix(english):
    whole = english.transcribe([piece(english, LOW)])[0]
    for length in (1, 3):
        heard = english.transcribe([piece(english, LOW, "en", whole.tokens[:length])])[0]
        assert heard.tokens == whole.tokens
    other = english.transcribe([piece(english, HIGH)])[0]
    forced = english.transcribe([piece(english, HIGH, "en", whole.tokens[:2])])[0]
    assert forced.tokens == whole.tokens[:2] + other.tokens[2:]


def test_a_text_may_have_at_most_twelve_tokens_a_second(english):
    # One second may have 28. The tiny model ends after 6, and the end of the text counts as one.
    text = english.transcribe([piece(english, LOW)])[0]
    assert len(text.tokens) == 6
    heard = piece(english, LOW)
    assert heard.max_tokens == 12 * len(heard.spectrum.rows) // 100 + 16
    long = [
        english.transcribe([replace(heard, prefix=text.tokens * 3)])[0],
        english.transcribe([replace(heard, prefix=text.tokens * 9)])[0],
    ]
    assert [one.runaway for one in long] == [False, True]
    assert long[1].text == ""


def test_a_language_that_is_spelled_by_the_byte_may_fill_the_context(tmp_path):
    model = loaded(make_tiny_whisper(tmp_path, languages=("en", "hi")), hotwords="please")
    heard = piece(model, LOW, "hi")
    text = model.transcribe([piece(model, LOW)])[0].tokens
    full = 448 - len(model.hotwords) - 4
    rows = [replace(heard, prefix=(text * 200)[: full - short]) for short in (2, 1, 0)]
    assert [len(one.tokens) for one in model.transcribe(rows)] == [full - 1, 0, 0]
    assert [one.runaway for one in model.transcribe(rows)] == [False, True, True]


def test_many_hotwords_do_not_cut_a_short_answer(tmp_path):
    words = "moment " * 190
    model = loaded(make_tiny_whisper(tmp_path, before_prompt=191), hotwords=words)
    assert len(model.hotwords) == 191
    assert model.transcribe([piece(model, LOW[: RATE_HZ // 2])])[0].text == LOW_SENTENCE


def test_hotwords_come_before_the_prompt_of_every_row(tmp_path):
    words = "moment time"
    english = loaded(make_tiny_whisper(tmp_path / "plain"))
    count = 1 + len(english._tokens.encode(f" {words}", add_special_tokens=False).ids)
    model = loaded(make_tiny_whisper(tmp_path / "shifted", before_prompt=count), hotwords=words)
    rows = [piece(model, LOW), piece(model, HIGH)]
    assert [one.text for one in model.transcribe(rows)] == [LOW_SENTENCE, HIGH_SENTENCE]
    # Without them the prompt is shorter, so those rows need a batch of their own.
    plain = replace(rows[0], plain=True)
    assert plain.shape != rows[0].shape
    assert model.transcribe([plain])[0].text != LOW_SENTENCE


def test_keyterms_come_behind_the_hotwords_of_their_row(tmp_path):
    count = 1 + 2
    model = loaded(make_tiny_whisper(tmp_path, before_prompt=count), hotwords="moment")
    terms = model.encode_keyterms(("time",))
    assert len(model.hotwords) + len(terms) == count
    expecting = replace(piece(model, LOW), keyterms=terms)
    assert model.transcribe([expecting])[0].text == LOW_SENTENCE
    # Rows whose prompts have different lengths need batches of their own; a plain row has no keyterms.
    assert expecting.shape != piece(model, LOW).shape
    assert replace(expecting, plain=True).shape == replace(piece(model, LOW), plain=True).shape


def test_each_row_with_keyterms_is_recognised_as_if_it_were_alone(random_folder):
    model = loaded(random_folder)
    terms = model.encode_keyterms(("please", "hold"))
    other = model.encode_keyterms(("moment", "time"))
    pieces = [replace(one, keyterms=terms if at % 2 else other) for at, one in enumerate(noises(model))]
    assert model.transcribe(pieces) == [model.transcribe([one])[0] for one in pieces]
    assert model.transcribe(pieces) != model.transcribe(noises(model))
    told = loaded(random_folder, hotwords="please hold")
    assert told.transcribe(noises(told)) == model.transcribe([replace(one, keyterms=terms) for one in noises(model)])


def test_keyterms_for_which_there_is_no_room_are_left_out(random_folder):
    model = loaded(random_folder, hotwords="please hold")
    terms = model.encode_keyterms(tuple(f"zyxw{number}" for number in range(500)))
    assert 0 < len(terms) <= 200 - len(model.hotwords)
    assert terms[: len(model.encode_keyterms(("zyxw0",)))] == model.encode_keyterms(("zyxw0",))
    assert model.encode_keyterms((" ", "")) == ()


def test_a_special_token_among_the_keyterms_is_left_out(random_folder):
    model = loaded(random_folder)
    (row,) = noises(model)[:1]
    assert model.transcribe([replace(row, keyterms=model.encode_keyterms(("<|endoftext|>",)))])


def test_with_hotwords_each_row_is_also_recognised_as_if_it_were_alone(random_folder):
    model, without = loaded(random_folder, hotwords="please hold"), loaded(random_folder)
    pieces = noises(model)
    assert model.transcribe(pieces) == [model.transcribe([one])[0] for one in pieces]
    assert model.transcribe(pieces) != without.transcribe(pieces)
    plain = [replace(one, plain=True) for one in pieces]
    assert model.transcribe(plain) == without.transcribe(plain) != without.transcribe(pieces)


def test_a_second_attempt_has_no_three_tokens_twice(random_folder, monkeypatch):
    monkeypatch.setattr(module, "REPETITION_PENALTY", 0.7)  # so that the model repeats itself
    model = loaded(random_folder)

    def repeats(pieces: list[Piece]) -> list[bool]:
        tokens = [one.tokens for one in model.transcribe(pieces)]
        threes = [list(zip(each, each[1:], each[2:], strict=False)) for each in tokens]
        return [len(set(each)) < len(each) for each in threes]

    pieces = noises(model)
    assert any(repeats(pieces))
    assert not any(repeats([replace(one, plain=True) for one in pieces]))


def test_hotwords_that_fill_the_context_are_refused(random_folder):
    with pytest.raises(EngineError, match="`hotwords` is too long") as refusal:
        loaded(random_folder, hotwords="zyxw " * 100)
    assert refusal.value.permanent


def test_a_forced_prefix_ends_before_the_last_agreed_word(english):
    def tokens(text):
        return english._tokens.encode(f" {text}", add_special_tokens=False).ids

    before, after = tokens("please hold the line"), tokens("please hold the line one moment")
    assert english._tokens.decode(english.safe_prefix(before, after, "en")) == " please hold the"
    assert english.safe_prefix(tokens("what"), after, "en") == ()
    # Each of these characters is three tokens here. No character is cut.
    before, after = (english._tokens.encode(text, add_special_tokens=False).ids for text in ("明日の", "明日のよ"))
    assert english._tokens.decode(english.safe_prefix(before, after, "ja")) == "明日"


def test_a_forced_prefix_has_no_special_token(english):
    said, special = english._tokens.encode(" please hold the", add_special_tokens=False).ids, english._end
    before, after = [*said, special, *said], [*said, special, *said, *said]
    assert english.safe_prefix(before, after, "en") == tuple(said[:-1])
    assert english.safe_prefix(before, after, "ja") == tuple(said[:-2])


def test_the_confidence_of_a_text_leaves_out_forced_tokens(english):
    # Three of the four tokens are forced. The fourth and the end of the text share -2.
    heard = english._hypothesis(piece(english, LOW, "en", (1, 2, 3)), [1, 2, 3, 4], -0.5, 0.0)
    assert heard.logprob == pytest.approx(-1.0)


def test_the_languages_of_the_checkpoint_are_known(english, random_folder):
    assert [english.language(tag) for tag in ("en", "en-GB", "EN_us", "de")] == ["en", "en", "en", ""]
    several = loaded(random_folder)
    assert [several.language(tag) for tag in ("de-AT", "ja", "fr", "xx")] == ["de", "ja", "", ""]


@pytest.mark.parametrize(("tag", "code"), [("nb-NO", "no"), ("fil", "tl")])
def test_languages_are_found_by_whispers_own_codes(tmp_path, tag, code):
    assert loaded(make_tiny_whisper(tmp_path, languages=("en", "no", "tl"))).language(tag) == code


def test_a_model_warms_up(english):
    english.warm_up(4)


def test_the_error_of_a_model_that_does_not_run_says_what_to_do(english, monkeypatch):
    def fail(pieces):
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(english, "transcribe", fail)
    with pytest.raises(EngineError, match="`max_batch`") as refusal:
        english.warm_up(4)
    assert refusal.value.permanent


def test_the_error_for_an_unsupported_compute_type_names_the_option(random_folder):
    with pytest.raises(EngineError, match="another `compute_type`"):
        loaded(random_folder, compute_type="float16")


def test_on_a_gpu_each_window_is_tried_with_several_numbers_of_rows(english, monkeypatch):
    tried = []
    monkeypatch.setattr(english, "device", "cuda")
    monkeypatch.setattr(english, "transcribe", lambda pieces: tried.append((pieces[0].shape[0], len(pieces))))
    english.warm_up(6)
    assert tried == [(window, rows) for window in module.WINDOWS for rows in (1, 2, 4, 6)]


def test_the_error_for_a_missing_model_says_what_to_do(tmp_path):
    for name in ("small.en", "no-such-size", str(tmp_path)):
        with pytest.raises(EngineError, match="option `model`") as refusal:
            load(WhisperOptions(model=name, device="cpu", download_root=str(tmp_path), local_files_only=True))
        assert refusal.value.permanent
        assert name in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./whisper", "../models/tiny.en", "models/whisper/tiny.en", "tiny/"]
)
def test_a_folder_that_does_not_exist_is_not_taken_for_a_name_on_the_hub(name, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(EngineError, match=f"The folder '{name}' of the option `model` does not exist") as refusal:
        load(WhisperOptions(model=name, device="cpu"))
    assert refusal.value.permanent


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").touch()
    with pytest.raises(EngineError, match=r"has no model\.bin"):
        load(WhisperOptions(model=str(tmp_path), device="cpu"))


class TestDevice:
    """The choice of the device, which a test can simulate without a GPU."""

    @pytest.fixture
    def gpus(self, monkeypatch):
        import ctranslate2

        def set_to(count: int, *, cublas: bool) -> None:
            monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: count)
            monkeypatch.setattr(loading, "_preload_cublas", lambda: cublas)

        return set_to

    def test_a_wrong_name_is_refused(self):
        with pytest.raises(EngineError, match="not 'gpu'"):
            load(WhisperOptions(model="small", device="gpu"))

    def test_cuda_without_a_gpu_is_refused(self, gpus):
        gpus(0, cublas=True)
        with pytest.raises(EngineError, match="nvidia-smi") as refusal:
            load(WhisperOptions(model="small", device="cuda"))
        assert refusal.value.permanent

    def test_cuda_without_cublas_is_refused_with_what_to_install(self, gpus):
        gpus(1, cublas=False)
        with pytest.raises(EngineError, match=r"requirements/stt\.txt") as refusal:
            load(WhisperOptions(model="small", device="cuda"))
        assert refusal.value.permanent

    @pytest.mark.parametrize(("count", "cublas", "device"), [(0, True, "cpu"), (1, True, "cuda"), (1, False, "cpu")])
    def test_auto_takes_the_gpu_only_if_cublas_is_there(self, gpus, count, cublas, device):
        gpus(count, cublas=cublas)
        assert loading.choose_device("auto") == device

    def test_cublas_is_loaded_from_its_wheel_or_else_from_the_system(self, tmp_path, monkeypatch):
        opened = []
        monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: opened.append(name))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert loading._preload_cublas()
        folder = tmp_path / "nvidia" / "cublas" / "lib"
        folder.mkdir(parents=True)
        for library in loading.CUBLAS:
            (folder / library).touch()
        spec = importlib.util.spec_from_loader("nvidia", None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "nvidia")]
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        assert loading._preload_cublas()
        assert opened == [*loading.CUBLAS, *(str(folder / library) for library in loading.CUBLAS)]


def test_memory_is_estimated_from_the_file_or_the_name(random_folder, tmp_path):
    size = (random_folder / "model.bin").stat().st_size
    assert weights_bytes(str(random_folder)) == size
    assert weights_bytes("large-v3-turbo", str(tmp_path)) == 1618e6
    assert weights_bytes("distil-whisper/distil-large-v3.5-ct2", str(tmp_path)) == 1512e6
    assert weights_bytes("small.en", str(tmp_path)) == 488e6
    assert weights_bytes("no-such-size", str(tmp_path)) == 0
    gigabytes = memory_estimate(int(1618e6), device="cuda", max_rows=16) / 2**30
    assert 3 < gigabytes < 4
