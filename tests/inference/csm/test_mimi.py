"""Mimi as a stream: sound in pieces, for calls that come and go, equals the sound of the whole."""

import random

import numpy as np
import pytest
import torch

from inference.csm.mimi import MimiDecoder, MimiEncoder, encode, move
from inference.types import EngineError
from tests.inference.tiny_csm import CODEBOOKS, CODES, tiny_csm

FRAME = 1920
LONG = 20
"""Frames: more than the 6 (12 positions) that the transformer of the tiny codec sees."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def codec():
    return tiny_csm().codec_model


def some_codes(seed: int, frames: int = LONG) -> torch.Tensor:
    return torch.randint(CODES, (frames, CODEBOOKS), generator=torch.Generator().manual_seed(seed))


def decoded_whole(codec, codes: torch.Tensor) -> torch.Tensor:
    return codec.decode(codes.T[None]).audio_values[0, 0]


def difference(sound: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the level."""
    assert sound.shape == expected.shape
    return float((sound - expected).abs().max() / expected.square().mean().sqrt())


class Calls:
    """Calls on the rows of one decoder: what each of them has to say, its row, and the sound that came."""

    def __init__(self, codec, slots: int) -> None:
        self.decoder = MimiDecoder(codec, slots)
        self.says: dict[int, torch.Tensor] = {}
        self.heard: dict[int, list[torch.Tensor]] = {}
        self.in_row: dict[int, int] = {}

    def call(self, number: int, row: int, codes: torch.Tensor) -> None:
        self.decoder.reset(row)
        self.says[number], self.heard[number], self.in_row[row] = codes, [], number

    def swap_rows(self, a: int, b: int) -> None:
        self.decoder.swap_rows(a, b)
        other, one = self.in_row.pop(a, None), self.in_row.pop(b, None)
        self.in_row |= {row: number for row, number in ((a, one), (b, other)) if number is not None}

    def tick(self, *rows: int, bucket: int | None = None) -> None:
        decoder = self.decoder.bucket(bucket or self.decoder.slots)
        codes = torch.randint(CODES, (decoder.slots, CODEBOOKS))  # anything for the rows that do not speak
        active = torch.zeros(decoder.slots, dtype=torch.bool)
        for row in rows:
            number = self.in_row[row]
            codes[row], active[row] = self.says[number][len(self.heard[number])], True
        sound = decoder.step(codes, active)
        for row in rows:
            self.heard[self.in_row[row]].append(sound[row])

    def check(self, codec) -> None:
        for number, heard in self.heard.items():
            if not heard:
                continue
            codes = self.says[number][: len(heard)]
            assert difference(torch.cat(heard), decoded_whole(codec, codes)) < 1e-4, f"call {number}"


def test_frame_by_frame_sound_equals_the_whole_even_past_the_window(codec):
    decoder = MimiDecoder(codec, 2)
    assert (decoder.rate_hz, decoder.frame_samples) == (24000, FRAME)
    codes = torch.stack([some_codes(1, 40), some_codes(2, 40)])
    both = torch.ones(2, dtype=torch.bool)
    sound = torch.cat([decoder.step(codes[:, frame], both) for frame in range(40)], dim=1)
    assert sound.dtype == torch.float32
    for row in (0, 1):
        assert difference(sound[row], decoded_whole(codec, codes[row])) < 1e-4


def test_calls_that_begin_at_different_times_do_not_mix(codec):
    calls = Calls(codec, 3)
    calls.call(1, 0, some_codes(1))
    for _ in range(5):
        calls.tick(0)
    calls.call(2, 2, some_codes(2))
    for _ in range(9):
        calls.tick(0, 2)
    calls.call(3, 1, some_codes(3))
    for _ in range(6):
        calls.tick(0, 1, 2)
    calls.check(codec)


def test_a_row_that_pauses_continues_where_it_was(codec):
    calls = Calls(codec, 2)
    calls.call(1, 0, some_codes(1))
    calls.call(2, 1, some_codes(2))
    for frame in range(LONG):
        calls.tick(*([0, 1] if frame % 3 == 0 else [1]))
    for _ in range(7):
        calls.tick(0)
    calls.check(codec)


def test_rows_are_swapped_in_mid_speech_and_a_smaller_bucket_continues_the_first_ones(codec):
    calls = Calls(codec, 4)
    for number, row in ((1, 0), (2, 1), (3, 3)):
        calls.call(number, row, some_codes(number))
    for _ in range(8):
        calls.tick(0, 1, 3)
    calls.swap_rows(0, 3)
    for _ in range(3):
        calls.tick(0, 1, 3)
    for _ in range(9):
        calls.tick(0, 1, bucket=2)
    assert [len(heard) for heard in calls.heard.values()] == [11, 20, 20]
    calls.check(codec)


def test_calls_come_go_pause_and_move_in_any_order(codec):
    dice, calls = random.Random(4), Calls(codec, 4)
    for number in range(60):
        row = dice.randrange(4)
        if number < 4 or dice.random() < 0.15:
            calls.call(number, row, some_codes(number, 60))
        if dice.random() < 0.3:
            calls.swap_rows(*dice.sample(range(4), 2))
        calls.tick(*(row for row in calls.in_row if dice.random() < 0.7))
    assert sum(map(len, calls.heard.values())) > 100
    calls.check(codec)


def test_a_reset_repairs_a_row_with_nan(codec):
    decoder, one = MimiDecoder(codec, 1), torch.ones(1, dtype=torch.bool)
    decoder._table = decoder._table.clone()
    decoder._table[0] = torch.nan
    codes = some_codes(1).clamp_min(1)
    assert decoder.step(torch.zeros(1, CODEBOOKS, dtype=torch.long), one).isnan().any()
    assert decoder.step(codes[:1], one).isnan().any()
    decoder.reset(0)
    sound = torch.cat([decoder.step(frame[None], one)[0] for frame in codes])
    assert difference(sound, decoded_whole(codec, codes)) < 1e-4


def test_a_bucket_is_made_once(codec):
    decoder = MimiDecoder(codec, 4)
    assert decoder.bucket(2) is decoder.bucket(2)
    assert decoder.bucket(4) is decoder


def test_a_step_compiles_into_one_graph(codec):
    step = torch.compile(MimiDecoder(codec, 2).step, backend="eager", fullgraph=True, dynamic=False)
    codes, both = torch.stack([some_codes(1), some_codes(2)]), torch.ones(2, dtype=torch.bool)
    sound = torch.cat([step(codes[:, frame], both) for frame in range(LONG)], dim=1)
    assert difference(sound[1], decoded_whole(codec, codes[1])) < 1e-4
    assert torch._dynamo.explain(step)(codes[:, 0], both).graph_break_count == 0


def test_another_kind_of_codec_is_refused(codec, monkeypatch):
    monkeypatch.setattr(codec.config, "use_causal_conv", False)
    with pytest.raises(EngineError, match="not a causal Mimi"):
        MimiDecoder(codec, 1)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """A voice-like sound of 16.5 frames with rising pitch and noise."""
    time = np.arange(int(16.5 * FRAME)) / 24000
    hum = sum(np.sin(2 * np.pi * (110 + 60 * time) * part * time) / part for part in range(1, 8))
    noise = np.random.default_rng(3).standard_normal(len(time))
    return (0.2 * hum * (1 + np.sin(9 * time)) + 0.05 * noise).astype(np.float32)


@pytest.mark.parametrize("piece", [160, FRAME, 2 * FRAME + 7, 10**6])
def test_sound_in_pieces_of_any_length_gives_the_codes_of_the_whole(codec, sound, piece):
    encoder = MimiEncoder(codec)
    pieces = [encoder.push(part) for part in torch.from_numpy(sound).split(piece)]
    codes = torch.cat([*pieces, encoder.flush()])
    assert codes.shape == (17, CODEBOOKS)
    assert len(codes.unique()) > 10
    assert np.array_equal(codes.numpy(), encode(codec, sound))


def test_after_a_flush_the_encoder_begins_a_new_stream(codec, sound):
    encoder = MimiEncoder(codec)
    first = torch.cat([encoder.push(torch.from_numpy(sound)), encoder.flush()])
    assert encoder.flush().shape == (0, CODEBOOKS)
    again = torch.cat([encoder.push(torch.from_numpy(sound)), encoder.flush()])
    assert torch.equal(first, again)


def test_the_codes_of_a_voice_are_those_of_transformers(codec, sound):
    whole = sound[: 16 * FRAME]
    expected = codec.encode(torch.from_numpy(whole)[None, None]).audio_codes[0].T
    codes = encode(codec, whole)
    assert codes.dtype == np.int16
    assert np.array_equal(codes, expected.numpy())


def test_a_codec_that_was_used_before_moves_with_all_its_tables():
    codec = tiny_csm().codec_model
    encode(codec, np.zeros(1920, np.float32))
    move(codec, torch.device("meta"))
    tables = [module.embed for module in codec.modules() if hasattr(module, "embed_sum")]
    assert tables
    assert {table.device.type for table in tables} == {"meta"}
