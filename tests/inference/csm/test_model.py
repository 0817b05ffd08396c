"""Steps over many rows draw the codes that ``transformers`` draws for each row alone."""

import random

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inference.csm.context import sound_positions, text_positions
from inference.csm.model import ENDS, NOT_FINITE, CsmModel
from inference.csm.sampling import MOST_CANDIDATES, gumbel_terms, sample
from inference.csm.steps import Steps
from tests.inference.tiny_csm import AUDIO, AUDIO_EOS, CODEBOOKS, CODES, EOT, tiny_csm

POSITIONS = 160
BUCKETS = (1, 2, 4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def source():
    return tiny_csm()


def make(source, rows: int = 4) -> tuple[CsmModel, Steps]:
    model = CsmModel(source, rows=rows, positions=POSITIONS, device=torch.device("cpu"))
    return model, Steps(model, buckets=BUCKETS, chunks=(4, 16, 64), graphs=False)


def prompt(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(4, 290, length).tolist()


def generated(source, tokens: list[int], frames: int, **options) -> np.ndarray:
    """The codes that ``generate()`` draws greedily after the prompt, shape ``(frames, codebooks)``."""
    return generated_together(source, [tokens], frames, **options)[0]


def generated_together(source, prompts: list[list[int]], frames: int, **options) -> np.ndarray:
    """The same for many prompts at once, each as if it were alone."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(tokens)) + tokens for tokens in prompts])
    mask = torch.tensor([[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in prompts])
    return source.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        depth_decoder_do_sample=False,
        max_new_tokens=frames,
        **options,
    ).numpy()


FRAMES = 20
LENGTHS = (3, 16, 17, 40)


@pytest.fixture(scope="module")
def alone(source) -> dict[int, tuple[list[int], np.ndarray]]:
    """Sixteen prompts by number, the last four of the lengths above, and the codes of ``generate()`` for each."""
    chance = random.Random(2)
    lengths = [chance.randint(3, 40) for _ in range(12)] + list(LENGTHS)
    prompts = [prompt(length, seed=number) for number, length in enumerate(lengths)]
    return dict(enumerate(zip(prompts, generated_together(source, prompts, FRAMES), strict=True)))


def prefill(steps: Steps, row: int, positions: np.ndarray, chunk: int = 16) -> None:
    for start in range(0, len(positions), chunk):
        steps.prefill(row, positions[start : start + chunk])


def spoken(steps: Steps, row: int, frames: int) -> np.ndarray:
    codes = [steps.frame([row], [row] if not number else []).codes[row].copy() for number in range(frames)]
    return np.stack(codes)


@pytest.mark.parametrize("number", range(12, 16))
def test_one_row_draws_the_codes_of_generate(source, alone, number):
    _, steps = make(source)
    tokens, codes = alone[number]
    prefill(steps, 0, text_positions(tokens, CODEBOOKS))
    assert np.array_equal(spoken(steps, 0, FRAMES), codes)


@pytest.mark.parametrize("chunk", [1, 4, 5, 64])
def test_the_size_of_the_chunks_makes_no_difference(source, alone, chunk):
    tokens, codes = alone[15]
    _, steps = make(source)
    prefill(steps, 2, text_positions(tokens, CODEBOOKS), chunk)
    assert np.array_equal(spoken(steps, 2, 6), codes[:6])


def test_sound_in_the_context_has_the_same_effect_as_in_generate(source):
    sound = 0.1 * torch.randn(1, 1, 1920 * 7, generator=torch.Generator().manual_seed(3))
    codes = source.codec_model.encode(sound).audio_codes[0].T.numpy()
    before, after = prompt(6, seed=4), prompt(9, seed=5)
    reference = generated(
        source,
        [*before, *[AUDIO] * len(codes), AUDIO_EOS, *after],
        8,
        input_values=sound,
        input_values_cutoffs=torch.tensor([[sound.shape[-1]]]),
    )
    _, steps = make(source)
    parts = text_positions(before, CODEBOOKS), sound_positions(codes), text_positions(after, CODEBOOKS)
    prefill(steps, 0, np.concatenate(parts))
    assert np.array_equal(spoken(steps, 0, 8), reference)


def test_rows_that_come_and_go_and_are_swapped_draw_what_each_draws_alone(source, alone):
    """Twelve speakers on four rows: random joins, lengths, chunks and pauses, some broken off, rows swapped."""
    chance = random.Random(2)
    model, steps = make(source)
    jobs = [{"id": n, "tokens": alone[n][0], "frames": chance.randint(4, FRAMES), "codes": []} for n in range(12)]
    waiting, running = list(jobs), {}
    while waiting or running:
        for row in set(range(4)) - set(running):
            if waiting and chance.random() < 0.5:
                job = running[row] = waiting.pop()
                model.rewind(row, 0)
                model.mimi.reset(row)
                prefill(steps, row, text_positions(job["tokens"], CODEBOOKS), chance.choice([4, 16, 64]))
        if len(running) > 1 and chance.random() < 0.3:
            a, b = chance.sample(range(4), 2)
            model.swap_rows(a, b, positions=POSITIONS)
            running = {{a: b, b: a}.get(row, row): job for row, job in running.items()}
        due = [row for row in running if chance.random() < 0.8]
        if not due:
            continue
        made = steps.frame(due, [row for row in due if not running[row]["codes"]])
        for row in due:
            running[row]["codes"].append(made.codes[row].copy())
            if len(running[row]["codes"]) == running[row]["frames"]:
                del running[row]
    for job in jobs:
        assert np.array_equal(np.stack(job["codes"]), alone[job["id"]][1][: job["frames"]]), job["id"]


def test_a_row_can_be_rewound_and_fed_something_else(source, alone):
    model, steps = make(source)
    tokens, codes = alone[15]
    begin, wrong, right = tokens[:20], prompt(15, seed=7), tokens[20:]
    prefill(steps, 1, text_positions(begin + wrong, CODEBOOKS))
    spoken(steps, 1, 5)
    model.rewind(1, len(begin))
    prefill(steps, 1, text_positions(right, CODEBOOKS))
    assert np.array_equal(spoken(steps, 1, 10), codes[:10])


def test_a_second_clause_draws_what_it_would_if_all_were_prefilled_at_once(source):
    _, steps = make(source)
    first, second = text_positions(prompt(12, seed=9), CODEBOOKS), text_positions(prompt(9, seed=10), CODEBOOKS)
    prefill(steps, 0, first)
    codes = spoken(steps, 0, 8)
    prefill(
        steps, 0, np.concatenate([sound_positions(codes)[-2:], second])
    )  # the last frame was drawn, but not yet fed
    prefill(steps, 3, np.concatenate([first, sound_positions(codes), second]))
    assert np.array_equal(spoken(steps, 0, 8), spoken(steps, 3, 8))


def test_the_frame_of_zeros_that_ends_speech_is_flagged():
    source = tiny_csm(ends=True)
    model, steps = make(source)
    prefill(steps, 0, text_positions([*prompt(8, seed=1), EOT], CODEBOOKS))
    flags = []
    while not flags or not flags[-1] & ENDS:
        flags.append(int(steps.frame([0], [] if flags else [0]).flags[0]))
        assert len(flags) < 40
    assert len(flags) > 3
    assert not any(flags[:-1])
    assert model.length[0] == 9 + len(flags) - 1


def test_nan_is_flagged_only_for_its_own_row(source):
    model, steps = make(source)
    for row in (0, 1):
        prefill(steps, row, text_positions(prompt(5, seed=row), CODEBOOKS))
    model.hidden[1] = float("nan")
    made = steps.frame([0, 1], [0, 1])
    assert made.flags.tolist()[:2] == [0, NOT_FINITE]


def test_a_row_with_nan_recovers_when_it_is_rewound_to_its_beginning(source, alone):
    model, steps = make(source)
    tokens, codes = alone[13]
    prefill(steps, 0, text_positions(tokens, CODEBOOKS))
    for cache in model._cache:
        cache[0] = float("nan")
    assert steps.frame([0], []).flags[0] & NOT_FINITE
    model.rewind(0, 0)
    model.mimi.reset(0)
    prefill(steps, 0, text_positions(tokens, CODEBOOKS))
    assert np.array_equal(spoken(steps, 0, 5), codes[:5])


def test_reserved_ids_are_never_drawn():
    source = tiny_csm(reserved_ids=True)
    tokens = prompt(9, seed=0)
    assert generated(source, tokens, 8).max() >= CODES  # generate() does draw them
    model, steps = make(source)
    for row, temperature in ((0, 0.0), (1, 0.9)):
        model.set_sampling(row, temperature=temperature, top_k=50, gain=1.0)
        prefill(steps, row, text_positions(tokens, CODEBOOKS))
        assert spoken(steps, row, 8).max() < CODES


def test_it_also_speaks_in_bfloat16(source):
    """As on a GPU, the codec stays in float32."""
    model = CsmModel(source, rows=2, positions=POSITIONS, device=torch.device("cpu"), dtype=torch.bfloat16)
    steps = Steps(model, buckets=[2], chunks=[16], graphs=False)
    for row, temperature in ((0, 0.0), (1, 0.9)):
        model.set_sampling(row, temperature=temperature, top_k=50, gain=1.0)
        prefill(steps, row, text_positions(prompt(20, seed=row), CODEBOOKS))
    for number in range(3):
        made = steps.frame([0, 1], [] if number else [0, 1])
        assert made.pcm.dtype == np.int16
        assert not made.flags.any()
        assert made.codes.max() < CODES
        assert made.level_dbfs.min() > -40


class OnlyOnTheDevice(TorchDispatchMode):
    """Fails if a tensor of the host takes part in an operation."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} <= {"meta"}, function
        return function(*arguments, **(options or {}))


def test_no_step_copies_anything_to_or_from_the_device():
    """Only then it can be a CUDA graph. Reading a tensor on the meta device, which has no contents, is an error."""
    device = torch.device("meta")
    model = CsmModel(tiny_csm(), rows=4, positions=POSITIONS, device=device, dtype=torch.bfloat16)
    chunk, one = torch.zeros(16, CODEBOOKS + 1, dtype=torch.long, device=device), torch.ones_like(model.length[:1])
    with torch.no_grad(), OnlyOnTheDevice():
        frames = model.frame(2)
        model.prefill(chunk, one, one)
        model.rewind(1, 0)
        model.swap_rows(0, 2, positions=20)
    assert frames.pcm.shape == (2, 1920)
    with pytest.raises(RuntimeError, match="meta"):
        model.length[0].item()


def test_each_step_compiles_into_one_graph_and_draws_the_same_codes(source, alone):
    model, steps = make(source)
    for step in ("step_backbone", "step_depth"):
        compiled = torch.compile(getattr(model, step), backend="aot_eager", fullgraph=True, dynamic=False)
        setattr(model, step, compiled)
    tokens, codes = alone[12]
    prefill(steps, 0, text_positions(tokens, CODEBOOKS))
    assert np.array_equal(spoken(steps, 0, 3), codes[:3])


def test_the_smallest_bucket_that_holds_the_rows_is_used(source):
    _, steps = make(source)
    assert [steps.bucket(rows) for rows in (1, 2, 3, 4)] == [1, 2, 4, 4]
    for row in (0, 2):
        prefill(steps, row, text_positions(prompt(5, seed=row), CODEBOOKS))
    assert steps.frame([0], [0]).codes.shape == (1, CODEBOOKS)
    assert steps.frame([2], [2]).codes.shape == (4, CODEBOOKS)


def test_each_row_has_its_own_gain(source):
    model, steps = make(source)
    for row, gain in ((0, 1.0), (1, 0.1)):
        model.set_sampling(row, temperature=0.0, top_k=1, gain=gain)
        prefill(steps, row, text_positions(prompt(7, seed=1), CODEBOOKS))
    for number in range(4):
        made = steps.frame([0, 1], [0, 1] if not number else [])
    assert made.level_dbfs[0] - made.level_dbfs[1] == pytest.approx(20, abs=0.5)


class TestSampling:
    LOGITS = torch.randn(1, 100, generator=torch.Generator().manual_seed(0)) * 2

    def draw(self, temperature: float, top_k: int, times: int = 40_000) -> torch.Tensor:
        noise = torch.empty(times, MOST_CANDIDATES).exponential_(generator=torch.Generator().manual_seed(1))
        settings = torch.full((times,), temperature), torch.full((times,), top_k)
        drawn = sample(self.LOGITS.expand(times, -1), *gumbel_terms(noise, *settings))
        return torch.bincount(drawn, minlength=100) / times

    @pytest.mark.parametrize(("temperature", "top_k"), [(0.9, 50), (0.7, 5), (1.3, 64)])
    def test_it_draws_with_the_right_probabilities(self, temperature, top_k):
        logits = self.LOGITS[0] / temperature
        kept = logits >= logits.topk(top_k).values[-1]
        wanted = torch.softmax(logits.masked_fill(~kept, float("-inf")), -1)
        assert (self.draw(temperature, top_k) - wanted).abs().max() < 0.01

    def test_temperature_0_takes_the_likeliest(self):
        assert self.draw(0.0, 50, times=100)[self.LOGITS.argmax()] == 1

    def test_each_row_has_its_own_temperature_and_top_k(self):
        noise = torch.empty(2, MOST_CANDIDATES).exponential_()
        logits = self.LOGITS.expand(2, -1)
        drawn = sample(logits, *gumbel_terms(noise, torch.tensor([0.0, 5.0]), torch.tensor([50, 1])))
        assert drawn.tolist() == [self.LOGITS.argmax()] * 2
