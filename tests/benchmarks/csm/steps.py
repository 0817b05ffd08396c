"""The steps of the model on the device: frames, prefill, memory, and a comparison with ``generate()``."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from inference.csm.loading import CHUNKS
from inference.csm.mimi import MimiDecoder
from inference.csm.model import CsmModel
from inference.csm.steps import Steps, capture
from tests.benchmarks.csm.run import Run
from tests.inference.tiny_csm import tiny_csm

LEVEL_RMS = 0.1
"""-20 dBFS: the sound of random weights must be loud enough to count as speech."""


# -- the model


def build(run: Run) -> None:
    if run.source is not None:
        return
    from transformers.utils import logging

    logging.set_verbosity_error()
    began = time.monotonic()
    run.source = real_size(run.device) if run.cuda else tiny_csm()
    run.report("versions", torch.__version__, "torch", torch.cuda.get_device_name() if run.cuda else "CPU, tiny model")
    run.report("model built", time.monotonic() - began, "s", "on the device, random weights")


def real_size(device: torch.device) -> Any:
    """csm-1b with random weights that make sound. Made on the device: moving 6 GB from the host would take a minute."""
    from transformers import CsmConfig, CsmForConditionalGeneration, GenerationConfig

    config = CsmConfig(codec_config={"model_type": "mimi", "frame_rate": 12.5, "num_quantizers": 32})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = CsmForConditionalGeneration(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    codec = model.codec_model.float()
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            scale = parameter[0].numel() ** -0.5 if name.startswith("codec_model") else 0.02
            parameter.normal_(0, scale)
        elif "layer_scale" in name:
            parameter.fill_(0.3)
    for module in codec.modules():
        if hasattr(module, "embed_sum"):  # it is made of zeros, so that every code would sound the same
            module.embed_sum.normal_()
            module.cluster_usage.fill_(1.0)
    decoder, active = MimiDecoder(codec, 1), torch.ones(1, dtype=torch.bool, device=device)
    sound = [decoder.step(torch.randint(2048, (1, config.num_codebooks), device=device), active) for _ in range(25)]
    last = codec.decoder.decoder_seanet.layers[-1].conv
    louder = LEVEL_RMS / float(torch.cat(sound[5:]).square().mean().sqrt())
    last.weight.mul_(louder)
    last.bias.mul_(louder)
    model.generation_config = GenerationConfig(
        do_sample=True, bos_token_id=config.bos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def make_model(run: Run, rows: int) -> CsmModel:
    """A model of which all rows speak, each with half of its positions fed."""
    positions = 1024 if run.cuda else 256
    model = CsmModel(run.source, rows=rows, positions=positions, device=run.device, dtype=run.dtype)
    model.row_masks[0] = True
    model.length.fill_(positions // 2)
    model.temperature.fill_(0.9)
    return model


# -- time


def milliseconds(run: Run, step: Callable[[], Any], *, times: int = 10, repeats: int = 0) -> float:
    """The median over several repetitions of ``times`` steps, each until the device is done."""
    taken = []
    for number in range((repeats or run.sizes.repeats) + 1):
        synchronize(run)
        began = time.perf_counter()
        for _ in range(times):
            step()
        synchronize(run)
        if number:
            taken.append((time.perf_counter() - began) / times * 1000)
    return statistics.median(taken)


def synchronize(run: Run) -> None:
    if run.cuda:
        torch.cuda.synchronize()


class Grapher:
    """Turns a step into one CUDA graph; on a CPU it returns the step itself."""

    def __init__(self, run: Run) -> None:
        self._cuda = run.cuda
        if run.cuda:
            self._stream, self._pool = torch.cuda.Stream(priority=-1), torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Any]) -> Callable[[], Any]:
        if not self._cuda:
            step()
            return step
        replay: Callable[[], Any] = capture(step, self._pool, self._stream).graph.replay
        return replay


def parts(model: CsmModel, rows: int) -> dict[str, Callable[[], Any]]:
    codec = model.step_codec.get(rows, model.mimi.bucket(rows).step)
    return {
        "frame": lambda: model.frame(rows),
        "backbone": lambda: model.step_backbone(rows),
        "depth": lambda: model._draw(rows),
        "codec": lambda: codec(model.codes[:rows], model.row_masks[0, :rows]),
    }


# -- sections


def frames(run: Run) -> None:
    """Each part of a frame for each number of rows, as one graph and as plain calls."""
    model, grapher = make_model(run, run.sizes.buckets[-1]), Grapher(run)
    if run.cuda:
        torch.backends.cuda.enable_cudnn_sdp(False)
    for rows in reversed(run.sizes.buckets):
        for name, step in parts(model, rows).items():
            if run.cuda:
                graphed = grapher(step)
                value = milliseconds(run, graphed)
                run.report(f"{name}, {rows} rows, graph", value, "ms", f"launched in {launched(run, graphed):.0f} µs")
                if name == "frame":
                    run.frame_ms[rows] = value
            value = milliseconds(run, step, times=2, repeats=3)
            run.report(f"{name}, {rows} rows, eager", value, "ms")
            if name == "frame":
                run.frame_ms.setdefault(rows, value)


def launched(run: Run, step: Callable[[], Any]) -> float:
    """Microseconds until the call returns to the host."""
    taken = []
    for _ in range(5):
        synchronize(run)
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)


def prefill(run: Run) -> None:
    chunks = [chunk for chunk in run.sizes.chunks if chunk in CHUNKS]
    for graphs in [False, True] if run.cuda else [False]:
        model = make_model(run, 2)
        steps = Steps(model, buckets=[2], chunks=chunks, graphs=graphs)
        for chunk in chunks:
            positions = np.random.default_rng(0).integers(0, 64, (chunk, model.codebooks + 1)).astype(np.int32)
            positions[:, -1] = 0

            def feed_chunk(steps: Steps = steps, model: CsmModel = model, positions: Any = positions) -> None:
                model.rewind(0, 100)
                steps.prefill(0, positions)

            value = milliseconds(run, feed_chunk, times=5)
            run.report(f"prefill of {chunk} positions, {'graph' if graphs else 'eager'}", value, "ms")


def state_bytes(model: CsmModel) -> int:
    """The memory of what is kept per call, over all rows."""
    return sum(state.nbytes for state in (*model._cache, *model._depth_cache, *model.mimi._states))


def memory(run: Run) -> None:
    """The memory of weights, state and graphs on the device, and the peak."""
    if not run.cuda:
        model = make_model(run, 4)
        run.report("state per call", state_bytes(model) / 4 / 2**20, "MiB", "256 positions")
        return
    rows = run.sizes.buckets[-1]
    torch.cuda.reset_peak_memory_stats()
    source = torch.cuda.memory_allocated()
    model = make_model(run, rows)
    state = state_bytes(model)
    lifted = torch.cuda.memory_allocated() - source - state
    before = torch.cuda.memory_reserved()
    steps = Steps(model, buckets=run.sizes.buckets, chunks=CHUNKS, graphs=True)
    gib = 2**30
    run.report("weights as transformers has them", source / gib, "GiB", "the engine keeps them on the host")
    run.report("weights and tables of the engine", lifted / gib, "GiB", "some are shared with those above")
    run.report("state per call", state / rows / 2**20, "MiB", "1024 positions, with the codec's")
    graphs = torch.cuda.memory_reserved() - before
    run.report("graphs and their working memory", graphs / gib, "GiB", f"{len(steps.buckets) + len(CHUNKS)} graphs")
    run.report("most memory that was reserved", torch.cuda.max_memory_reserved() / gib, "GiB")


def generate(run: Run) -> None:
    """Compares with the loop of ``transformers`` on the same weights."""
    for rows in (1, run.sizes.batch):
        # The difference between two lengths does not contain the time of the prompt.
        few, many = 2, 2 + run.sizes.generated
        _generated(run, rows, few)
        seconds = {n: statistics.median(_generated(run, rows, n) for _ in range(3)) for n in (few, many)}
        theirs = (seconds[many] - seconds[few]) / (many - few) * 1000
        run.report(f"transformers' generate(), {rows} rows", theirs, "ms", "a frame")
        ours = run.frame_ms.get(rows)
        if ours is None:
            model, grapher = make_model(run, rows), Grapher(run)
            ours = run.frame_ms[rows] = milliseconds(run, grapher(lambda model=model, rows=rows: model.frame(rows)))
        run.report(f"ours over generate(), {rows} rows", theirs / ours, "times", f"{ours:.2f} ms a frame with sound")


def _generated(run: Run, rows: int, frames: int) -> float:
    chance = random.Random(rows)
    lengths = [chance.randint(8, 24) for _ in range(rows)]
    ids = torch.tensor([[0] * (24 - n) + [chance.randrange(4, 290) for _ in range(n)] for n in lengths])
    mask = torch.tensor([[0] * (24 - n) + [1] * n for n in lengths])
    synchronize(run)
    began = time.perf_counter()
    run.source.generate(
        input_ids=ids.to(run.device),
        attention_mask=mask.to(run.device),
        do_sample=False,
        depth_decoder_do_sample=False,
        max_new_tokens=frames,
    )
    synchronize(run)
    return time.perf_counter() - began


def compiled(run: Run) -> None:
    """The most important sizes first, because each takes most of a minute to compile."""
    from torch._dynamo.utils import counters

    model, grapher = make_model(run, run.sizes.buckets[-1]), Grapher(run)
    Steps(model, buckets=run.sizes.buckets, chunks=CHUNKS, graphs=False, compiled=True)  # compiles at the first use
    took = 60.0 if run.cuda else 0.0
    for rows in sorted(run.sizes.buckets, key=lambda rows: (rows != 32, rows != 1, -rows)):
        if run.left < 1.3 * took + 5:
            run.report(f"compiled, {rows} rows: left out", f"{run.left:.0f}", "s", "left")
            continue
        began = time.monotonic()
        steps = {name: grapher(step) for name, step in parts(model, rows).items()}
        took = time.monotonic() - began
        for name, step in steps.items():
            run.report(
                f"{name}, {rows} rows, compiled graph", milliseconds(run, step), "ms", f"compiled in {took:.0f} s"
            )
    run.report("graphs compiled", float(counters["stats"]["unique_graphs"]), "", "three for each number of rows")
    run.report("graph breaks while compiling", float(sum(counters["graph_break"].values())))


def contended(run: Run) -> None:
    """The same frames while another process copies memory as fast as it can."""
    model, grapher = make_model(run, 32), Grapher(run)
    graphs = {rows: grapher(lambda rows=rows: model.frame(rows)) for rows in (1, 32)}
    alone = {rows: milliseconds(run, step) for rows, step in graphs.items()}
    competitor = subprocess.Popen([sys.executable, "-c", COMPETITOR], stdout=subprocess.PIPE)
    try:
        assert competitor.stdout is not None
        if not competitor.stdout.readline():
            raise RuntimeError("the process that uses up bandwidth did not start")
        for rows, step in graphs.items():
            value = milliseconds(run, step)
            run.report(f"frame, {rows} rows, graph, contended", value, "ms", f"{alone[rows]:.2f} ms alone")
    finally:
        competitor.kill()
        competitor.wait()


COMPETITOR = """
import torch
a = torch.empty(2**30, device="cuda", dtype=torch.uint8)
b = torch.empty_like(a)
b.copy_(a)
torch.cuda.synchronize()
print("ready", flush=True)
while True:
    for _ in range(20):
        b.copy_(a)
    torch.cuda.synchronize()
"""
