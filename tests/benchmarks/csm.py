"""
CSM's speed: frames, first sound and calls at once on a GPU, and what the host adds to each tick.

    python -m tests.benchmarks.csm                          # all that fits into nine minutes; on a CPU a self-check
    python -m tests.benchmarks.csm --quick                  # four minutes, without compiling
    python -m tests.benchmarks.csm --host                   # only the host's part, which needs no GPU
    python -m tests.benchmarks.csm --contended              # and once more beside a process that eats memory bandwidth
    python -m tests.benchmarks.csm --only talking capacity --slots 64

On CUDA the model has the true size (csm-1b with Mimi) and random weights: backbone and depth decoder in bfloat16, the
codec in float32. On a CPU it is the tests' tiny model, which shows that the script works and nothing else. Every figure
is the median of several taken in this run, or a percentile where it says so. What fails is told and the rest goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import wave
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from inference.csm import checkpoint as checkpoints
from inference.csm.context import Context, ContextSegment
from inference.csm.engine import CsmThread, deliver_items
from inference.csm.loading import CHUNKS
from inference.csm.mimi import MimiDecoder
from inference.csm.model import CsmModel
from inference.csm.options import CsmOptions
from inference.csm.replies import Clause, SpokenReply
from inference.csm.scheduler import Scheduler
from inference.csm.steps import HostFrames, Steps, capture
from inference.engines.csm import CsmTextToSpeech
from inference.types import AudioChunk, EngineFull
from tests.inference.tiny_csm import SENTENCES, tiny_csm, tiny_tokenizer

LEVEL_RMS = 0.1
"""-20 dBFS: what random weights say must count as speech."""
CLAUSES = (
    "Would you like to change your booking, or shall I cancel it for you now?",
    "One moment please, I am looking for the number of your booking.",
    "Thank you for calling, how can I help you today, and what is your name?",
)
NEWCOMER = "Hello, this is a test call."
VOICE_SECONDS = 8
TARGETS = {
    "frame, 32 rows, graph": "target 12",
    "first sound, 31 others speak, p95": "target 60",
    "64 calls speaking: underruns": "target 0",
    "ours over generate(), 1 rows": "target 20",
    "host, a tick for 32 calls": "target 0.5",
}
COLUMNS = ("what", "value", "unit", "note")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    buckets: tuple[int, ...]
    chunks: tuple[int, ...]
    slots: int
    others: int
    trials: int
    capacities: tuple[int, ...]
    capacity_seconds: float
    repeats: int
    generated: int
    """HostFrames of ``generate()``."""
    batch: int
    """Rows of ``generate()`` beside one."""


GPU = Sizes((1, 2, 4, 8, 16, 32, 64), (16, 64, 128, 256), 128, 31, 60, (32, 64, 96, 128), 10.0, 7, 12, 32)
QUICK = Sizes((1, 8, 32, 64), (16, 128), 64, 31, 50, (64,), 8.0, 5, 8, 32)
CPU = Sizes((1, 2, 4), (16, 64), 4, 2, 4, (2,), 2.0, 3, 3, 4)


class Run:
    """What was asked for, what is shared, and what came out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.sizes = CPU if not self.cuda else QUICK if options.quick else GPU
        self.slots = options.slots or self.sizes.slots
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.console = Console(width=130)
        self.rows: list[dict[str, Any]] = []
        self._until = time.monotonic() + options.budget
        self._json = options.json
        self.source: Any = None
        self.frame_ms: dict[int, float] = {}
        """By rows, as the engine runs them."""

    def tell(self, what: str, value: float | str, unit: str = "", note: str = "") -> None:
        shown = value if isinstance(value, str) else f"{value:.4g}"
        target = TARGETS.get(what) if self.cuda or what.startswith("host") else None
        note = "; ".join(filter(None, (target, note)))
        self.rows.append({"what": what, "value": value, "unit": unit, "note": note})
        print(f"{what:<58} {shown:>10} {unit:<6} {note}", flush=True)
        if self._json:
            Path(self._json).write_text(json.dumps(self.rows, indent=1))

    @property
    def left(self) -> float:
        return self._until - time.monotonic()

    @contextmanager
    def section(self, name: str, *, needs: float = 0.0) -> Iterator[bool]:
        """Yields whether there is time for it; its failure is told, and is not that of the others."""
        if self.left < needs:
            self.tell(f"{name}: left out", f"{self.left:.0f}", "s", f"are left, it needs some {needs:.0f}")
            yield False
            return
        began = time.monotonic()
        self.console.rule(f"{name} ({self.left:.0f} s left)", align="left")
        try:
            yield True
        except Exception as error:
            traceback.print_exc()
            self.tell(f"{name}: failed", type(error).__name__, "", str(error)[:60].partition("\n")[0])
        finally:
            gc.collect()
            if self.cuda:
                torch.cuda.empty_cache()
            print(f"-- {time.monotonic() - began:.1f} s", flush=True)

    def table(self) -> None:
        table = Table(title="CSM")
        for column in COLUMNS:
            table.add_column(column, justify="right" if column == "value" else "left")
        for row in self.rows:
            value = row["value"] if isinstance(row["value"], str) else f"{row['value']:.4g}"
            table.add_row(row["what"], value, row["unit"], row["note"])
        self.console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="fewer sizes, nothing compiled")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--contended", action="store_true", help="measure frames beside a bandwidth hog, too")
    parser.add_argument("--host", action="store_true", help="only what the host adds")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="these sections alone")
    parser.add_argument("--slots", type=int, default=0, help="places for calls in the engine")
    parser.add_argument("--budget", type=float, default=0.0, help="seconds; what no longer fits is left out")
    parser.add_argument("--json", default="", metavar="FILE")
    options = parser.parse_args()
    options.budget = options.budget or (220.0 if options.quick else 520.0)
    torch.set_grad_enabled(False)
    if options.device == "cpu":
        torch.set_num_threads(1)
    run = Run(options)
    wanted = ["host"] if options.host else options.only or list(SECTIONS)
    if options.quick or options.no_compile or not run.cuda:
        wanted = [name for name in wanted if name != "compiled" or options.only]
    if not options.contended:
        wanted = [name for name in wanted if name != "contended" or options.only]
    try:
        for name in wanted:
            section, needs = SECTIONS[name]
            with run.section(name, needs=needs if run.cuda else 0.0) as there_is_time:
                if there_is_time:
                    if name != "host":
                        build(run)
                    section(run)
    finally:
        run.table()


# The model


def build(run: Run) -> None:
    if run.source is not None:
        return
    from transformers.utils import logging

    logging.set_verbosity_error()
    began = time.monotonic()
    run.source = true_size(run.device) if run.cuda else tiny_csm()
    run.tell("versions", torch.__version__, "torch", torch.cuda.get_device_name() if run.cuda else "CPU, tiny model")
    run.tell("model built", time.monotonic() - began, "s", "on the device, random weights")


def true_size(device: torch.device) -> Any:
    """csm-1b with random weights that sound: made on the device, for 6 GB through the host would take a minute."""
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
        if hasattr(module, "embed_sum"):  # of zeros, where every code sounds the same
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
    """All rows speak, from half way on."""
    positions = 1024 if run.cuda else 256
    model = CsmModel(run.source, rows=rows, positions=positions, device=run.device, dtype=run.dtype)
    model.row_masks[0] = True
    model.length.fill_(positions // 2)
    model.temperature.fill_(0.9)
    return model


# Time


def milliseconds(run: Run, step: Callable[[], Any], *, times: int = 10, repeats: int = 0) -> float:
    """The median over some repetitions of ``times`` steps, with the device done."""
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
    """Makes a step one CUDA graph; on a CPU it stays what it is."""

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


# Sections


def frames(run: Run) -> None:
    """Each part of a frame for each number of rows, as one graph and without."""
    model, grapher = make_model(run, run.sizes.buckets[-1]), Grapher(run)
    if run.cuda:
        torch.backends.cuda.enable_cudnn_sdp(False)
    for rows in reversed(run.sizes.buckets):
        for name, step in parts(model, rows).items():
            if run.cuda:
                graphed = grapher(step)
                value = milliseconds(run, graphed)
                run.tell(f"{name}, {rows} rows, graph", value, "ms", f"launched in {launched(run, graphed):.0f} µs")
                if name == "frame":
                    run.frame_ms[rows] = value
            value = milliseconds(run, step, times=2, repeats=3)
            run.tell(f"{name}, {rows} rows, eager", value, "ms")
            if name == "frame":
                run.frame_ms.setdefault(rows, value)


def launched(run: Run, step: Callable[[], Any]) -> float:
    """Microseconds until the host may go on."""
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
            what = np.random.default_rng(0).integers(0, 64, (chunk, model.codebooks + 1)).astype(np.int32)
            what[:, -1] = 0

            def feed(steps: Steps = steps, model: CsmModel = model, what: Any = what) -> None:
                model.rewind(0, 100)
                steps.prefill(0, what)

            value = milliseconds(run, feed, times=5)
            run.tell(f"prefill of {chunk} positions, {'graph' if graphs else 'eager'}", value, "ms")


def memory(run: Run) -> None:
    """What stays on the device: weights, state, graphs; and the most there ever was."""
    if not run.cuda:
        model = make_model(run, 4)
        run.tell("state per call", (model.state_bytes + model.mimi.state_bytes) / 4 / 2**20, "MiB", "256 positions")
        return
    rows = run.sizes.buckets[-1]
    torch.cuda.reset_peak_memory_stats()
    source = torch.cuda.memory_allocated()
    model = make_model(run, rows)
    state = model.state_bytes + model.mimi.state_bytes
    lifted = torch.cuda.memory_allocated() - source - state
    before = torch.cuda.memory_reserved()
    steps = Steps(model, buckets=run.sizes.buckets, chunks=CHUNKS, graphs=True)
    gib = 2**30
    run.tell("weights as transformers has them", source / gib, "GiB", "stay on the host in the engine")
    run.tell("weights and tables of the engine", lifted / gib, "GiB", "some are shared with those here")
    run.tell("state per call", state / rows / 2**20, "MiB", "1024 positions, with the codec's")
    graphs = torch.cuda.memory_reserved() - before
    run.tell("graphs and what they work in", graphs / gib, "GiB", f"{len(steps.buckets) + len(CHUNKS)} graphs")
    run.tell("most that was reserved", torch.cuda.max_memory_reserved() / gib, "GiB")


def generate(run: Run) -> None:
    """Against ``transformers``' own loop, on the same weights."""
    for rows in (1, run.sizes.batch):
        # Some frames and some more: what the prompt takes cancels out.
        few, many = 2, 2 + run.sizes.generated
        _generated(run, rows, few)
        seconds = {n: statistics.median(_generated(run, rows, n) for _ in range(3)) for n in (few, many)}
        theirs = (seconds[many] - seconds[few]) / (many - few) * 1000
        run.tell(f"transformers' generate(), {rows} rows", theirs, "ms", "a frame")
        ours = run.frame_ms.get(rows)
        if ours is None:
            model, grapher = make_model(run, rows), Grapher(run)
            ours = run.frame_ms[rows] = milliseconds(run, grapher(lambda model=model, rows=rows: model.frame(rows)))
        run.tell(f"ours over generate(), {rows} rows", theirs / ours, "times", f"{ours:.2f} ms a frame, sound included")


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
    """The largest first that matter most; each takes most of a minute to compile."""
    from torch._dynamo.utils import counters

    model, grapher = make_model(run, run.sizes.buckets[-1]), Grapher(run)
    Steps(model, buckets=run.sizes.buckets, chunks=CHUNKS, graphs=False, compiled=True)  # compiles at the first use
    took = 60.0 if run.cuda else 0.0
    for rows in sorted(run.sizes.buckets, key=lambda rows: (rows != 32, rows != 1, -rows)):
        if run.left < 1.3 * took + 5:
            run.tell(f"compiled, {rows} rows: left out", f"{run.left:.0f}", "s", "are left")
            continue
        began = time.monotonic()
        steps = {name: grapher(step) for name, step in parts(model, rows).items()}
        took = time.monotonic() - began
        for name, step in steps.items():
            run.tell(f"{name}, {rows} rows, compiled graph", milliseconds(run, step), "ms", f"compiled in {took:.0f} s")
    run.tell("graphs compiled", float(counters["stats"]["unique_graphs"]), "", "three for each number of rows")
    run.tell("breaks in what was compiled", float(sum(counters["graph_break"].values())))


def contended(run: Run) -> None:
    """The same frames while another process reads and writes all of the memory that it can."""
    model, grapher = make_model(run, 32), Grapher(run)
    graphs = {rows: grapher(lambda rows=rows: model.frame(rows)) for rows in (1, 32)}
    alone = {rows: milliseconds(run, step) for rows, step in graphs.items()}
    hog = subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE)
    try:
        assert hog.stdout is not None
        if not hog.stdout.readline():
            raise RuntimeError("the hog did not start")
        for rows, step in graphs.items():
            value = milliseconds(run, step)
            run.tell(f"frame, {rows} rows, graph, contended", value, "ms", f"{alone[rows]:.2f} ms alone")
    finally:
        hog.kill()
        hog.wait()


HOG = """
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


# Calls


@contextmanager
def stored(run: Run) -> Iterator[CsmOptions]:
    """Options with which the engine finds the model that is here already, and a voice."""
    load = checkpoints.load_checkpoint
    found = checkpoints.Checkpoint(run.source, tiny_tokenizer())
    checkpoints.load_checkpoint = lambda name, **_: found
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds = VOICE_SECONDS if run.cuda else 2
            noise = 3000 * np.random.default_rng(0).standard_normal(24000 * seconds)
            with wave.open(f"{folder}/ann.wav", "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(24000)
                file.writeframes(noise.clip(-30000, 30000).astype("<i2").tobytes())
            Path(folder, "ann.txt").write_text(" ".join(SENTENCES))
            yield CsmOptions(
                model="random weights",
                voices=folder,
                device=str(run.device),
                slots=run.slots,
                positions=1024 if run.cuda else 512,
                stall_timeout=30.0,
            )
    finally:
        checkpoints.load_checkpoint = load


@dataclass
class Load:
    """The share of the time in which the engine's thread works on the model."""

    thread: CsmThread
    busy: float = 0.0
    ticks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = self.thread._steps
        for name in ("frame", "prefill"):
            setattr(steps, name, self._timed(getattr(steps, name), name == "frame"))

    def _timed(self, step: Callable[..., Any], tick: bool) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            done = step(*arguments)
            took = time.perf_counter() - began
            self.busy += took
            if tick:
                self.ticks.append(took)
            return done

        return timed


class Speakers:
    """Calls that speak without a pause. What random weights say never ends by itself: the guards end each clause."""

    def __init__(self, engine: CsmTextToSpeech) -> None:
        self._engine = engine
        self._tasks: list[asyncio.Task[None]] = []
        self.seconds = 0.0
        self.refused = ""

    @property
    def calls(self) -> int:
        return len(self._tasks)

    async def grow(self, calls: int) -> None:
        """Not all in the same moment: as calls come."""
        while self.calls < calls:
            try:
                speech = self._engine.open()
            except EngineFull as error:
                self.refused = str(error)
                return
            self._tasks.append(asyncio.create_task(self._talk(speech, self.calls)))
            await asyncio.sleep(0.03)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if broken := [error for error in ended if isinstance(error, Exception)]:
            raise broken[0]

    async def _talk(self, speech: Any, number: int) -> None:
        chance = random.Random(number)
        try:
            while True:
                async with aclosing(speech.speak(clauses(chance.sample(CLAUSES, 3)))) as chunks:
                    async for chunk in chunks:
                        self.seconds += len(chunk.pcm) / 24000
        finally:
            await speech.close()


async def clauses(texts: Sequence[str]) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def first_sound(speech: Any) -> float:
    """Seconds from the text to the first sound on the event loop; the call is over then."""
    began = time.perf_counter()
    async with aclosing(speech.speak(clauses([NEWCOMER]))) as chunks:
        async for chunk in chunks:
            if len(chunk.pcm):
                break
    took = time.perf_counter() - began
    await speech.close()
    return took


def talking(run: Run) -> None:
    """How long a new call waits for its first sound while others speak."""
    with stored(run) as options:
        asyncio.run(_talking(run, CsmTextToSpeech(options)))


async def _talking(run: Run, engine: CsmTextToSpeech) -> None:
    began = time.monotonic()
    await engine.start()
    run.tell("engine started", time.monotonic() - began, "s", "voice and graphs included, weights there already")
    thread = engine._loaded.thread
    load, speakers = Load(thread), Speakers(engine)
    counters = thread.scheduler.counters
    try:
        await _waits(run, engine, "alone", run.sizes.trials // 3 + 1)
        await speakers.grow(run.sizes.others)
        await asyncio.sleep(2.0)
        counters.underruns = 0
        load.busy, load.ticks, since = 0.0, [], time.perf_counter()
        others = f"{speakers.calls} others speak"
        await _waits(run, engine, others, run.sizes.trials)
        await _waits(run, engine, f"{others}, voice not fed yet", run.sizes.trials, cold=True)
        share = load.busy / (time.perf_counter() - since)
        run.tell("the engine's work on the model meanwhile", 100 * share, "%", f"{len(load.ticks)} ticks")
        run.tell("a tick meanwhile", 1000 * statistics.median(load.ticks), "ms", f"most {1000 * max(load.ticks):.1f}")
        run.tell("underruns meanwhile", float(counters.underruns), "", f"how clauses ended: {engine.counts}")
    finally:
        await speakers.stop()
        await engine.close()


async def _waits(run: Run, engine: Any, when: str, trials: int, *, cold: bool = False) -> None:
    chance, taken = random.Random(1), []
    for _ in range(trials):
        speech = engine.open()
        if not cold:
            await asyncio.sleep(0.25 + 0.1 * chance.random())  # the caller is still speaking
        taken.append(1000 * await first_sound(speech))
        await asyncio.sleep(0.1 * chance.random())
    taken.sort()
    p50, p95 = (taken[round(share * (len(taken) - 1))] for share in (0.5, 0.95))
    run.tell(f"first sound, {when}, p50", p50, "ms", f"{trials} calls, to the event loop")
    run.tell(f"first sound, {when}, p95", p95, "ms", f"most {taken[-1]:.1f}")


def capacity(run: Run) -> None:
    """How many calls speak at once, without a pause, and none runs out of sound."""
    with stored(run) as options:
        asyncio.run(_capacity(run, CsmTextToSpeech(options)))


async def _capacity(run: Run, engine: CsmTextToSpeech) -> None:
    await engine.start()
    thread = engine._loaded.thread
    load, speakers = Load(thread), Speakers(engine)
    counters = thread.scheduler.counters
    try:
        for calls in run.sizes.capacities:
            if calls > run.slots or run.left < run.sizes.capacity_seconds + 10:
                break
            await speakers.grow(calls)
            if speakers.calls < calls:
                run.tell(f"more than {speakers.calls} calls", "refused", "", speakers.refused[:60])
                break
            await asyncio.sleep(2.0)
            counters.underruns, before = 0, (counters.ticks, counters.batch)
            load.busy, load.ticks, said, since = 0.0, [], speakers.seconds, time.perf_counter()
            await asyncio.sleep(run.sizes.capacity_seconds)
            passed = time.perf_counter() - since
            ticks, batch = counters.ticks - before[0], counters.batch - before[1]
            pace = (speakers.seconds - said) / passed / calls
            run.tell(f"{calls} calls speaking: underruns", float(counters.underruns), "", f"in {passed:.0f} s")
            run.tell(f"{calls} calls speaking: sound", pace, "s/s", f"a call; ticks of {batch / max(ticks, 1):.0f}")
            run.tell(f"{calls} calls speaking: load", 100 * load.busy / passed, "%", "of the engine's time")
            if counters.underruns:
                break
    finally:
        await speakers.stop()
        await engine.close()


# The host


class Free:
    """In the place of model and steps: any frame at once, so that only the host's work is left."""

    positions, codebooks, device = 1024, 32, torch.device("cpu")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.buckets = [2**n for n in range(rows.bit_length())]
        self.mimi = SimpleNamespace(rate_hz=24000, frame_samples=1920, reset=lambda row: None)
        dice = np.random.default_rng(0)
        self._frames = [
            HostFrames(
                dice.integers(-3000, 3000, (rows, 1920)).astype(np.int16),
                dice.integers(1, 2048, (rows, 32)),
                np.full(rows, -20.0, np.float32),
                np.zeros(rows, np.int64),
            )
            for _ in range(97)
        ]
        self._number = 0

    def bucket(self, rows: int) -> int:
        return next(bucket for bucket in self.buckets if bucket >= rows)

    def frame(self, rows: Sequence[int], fresh: Sequence[int]) -> HostFrames:
        self._number += 1
        return self._frames[self._number % 97]

    def prefill(self, row: int, positions: Any) -> None: ...

    def rewind(self, row: int, length: int) -> None: ...

    def swap_rows(self, a: int, b: int, *, positions: int) -> None: ...

    def set_sampling(self, row: int, *, temperature: float, top_k: int, gain: float) -> None: ...


class Later:
    """In the place of an event loop: keeps what it is to call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def call_soon_threadsafe(self, *call: Any) -> None:
        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for function, *arguments in calls:
            function(*arguments)


class Driven(CsmThread):
    """Driven by this thread, on a clock that jumps to whatever it would wait for."""

    def __init__(self, calls: int) -> None:
        self.now, self.waited = 0.0, 0
        machine: Any = Free(calls)
        super().__init__(
            lambda: (machine, machine),
            Scheduler(calls, buckets=machine.buckets),
            tokenize=lambda text: tuple(range(4, 4 + len(text) // 4)),
            temperature=0.9,
            top_k=50,
            clock=lambda: self.now,
        )
        self._build()
        self._thread = threading.current_thread()

    def _do_posted(self, *, block: bool = True, timeout: float | None = None) -> bool:
        if not block:
            return super()._do_posted(block=False)
        self.waited += 1
        self.now += timeout or 0.0
        return True


def host(run: Run) -> None:
    """What the engine's thread does in Python for each tick, with a model that takes no time."""
    ticks = 400 if run.cuda else 150
    for calls in (32, 64):
        total, by_part = _ticked(calls, ticks)
        note = ", ".join(f"{name} {value:.0f}" for name, value in sorted(by_part.items(), key=lambda item: -item[1]))
        run.tell(f"host, a tick for {calls} calls", statistics.median(total) / 1000, "ms", f"µs: {note}")
        run.tell(f"host, a tick for {calls} calls, p95", sorted(total)[round(0.95 * (len(total) - 1))] / 1000, "ms")
    for name, value in asyncio.run(_wake_up()).items():
        run.tell(name, value, "µs")


def _ticked(calls: int, ticks: int) -> tuple[list[float], dict[str, float]]:
    """Microseconds of each tick, and of its parts in the mean of as many ticks more."""
    thread, loop = Driven(calls), Later()
    prompt = ContextSegment(tuple(range(4, 44)), np.random.default_rng(1).integers(1, 2048, (100, 32)).astype(np.int16))
    over: list[Any] = []

    def speak(call: Any) -> None:
        reply = SpokenReply(lambda item: over.append(call) if item is None else None)
        thread.begin_reply(call, reply)
        starts = 0
        for text in CLAUSES:
            thread.add_clauses(call, reply, [Clause(text, thread._tokenize(text), starts)])
            starts += len(text)
        thread.end_text(call, reply)

    for number in range(calls):
        context = Context(prompt, codebooks=32, positions=1023, most_seconds=24.0, keep_seconds=16.0)
        over.append(thread.join(context, gain=1.0, loop=loop))  # type: ignore[arg-type]
        thread.now += 0.01 * (number % 8)

    def tick() -> float:
        """From waking up to the next wait."""
        for call in over:
            speak(call)
        over.clear()
        waited, before, took = thread.waited, thread.scheduler.counters.frames, 0.0
        while thread.waited == waited:
            began = time.perf_counter()
            thread.round()
            took += time.perf_counter() - began
            thread.now += 0.001
        loop.run()
        return took * 1e6 if thread.scheduler.counters.frames - before >= calls else 0.0

    full: list[float] = []
    while len(full) < ticks:
        if took := tick():
            full.append(took)
    spent: dict[str, float] = defaultdict(float)
    _watch(thread, spent)
    number = 0
    while number < ticks:
        number += bool(tick())
    return full[20:], {name: 1e6 * seconds / ticks for name, seconds in spent.items()}


def _watch(thread: CsmThread, spent: dict[str, float]) -> None:
    """Adds up what the parts take, watching included."""
    for owner, name in (
        (thread.scheduler, "plan"),
        (thread.scheduler, "record_tick"),
        (thread, "_make_frames"),
        (thread, "_prefill"),
        (thread, "_hand_out"),
        *((slot.speaker, "_begin_clause") for slot in thread._slots.values()),
        *((slot.speaker, "_prefill_context") for slot in thread._slots.values()),
    ):
        if method := getattr(owner, name, None):
            setattr(owner, name, _added(method, name.strip("_"), spent))


def _added(method: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def added(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - began

    return added


async def _wake_up() -> dict[str, float]:
    """What it costs the engine's thread to wake the event loop, and how long the sound of 32 calls takes to arrive."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
    chunk = AudioChunk(np.zeros(1920, np.int16), 0)
    items = [(SpokenReply(queue.put_nowait), chunk) for _ in range(32)]
    cost, arrival = [], []

    def wake() -> float:
        began = time.perf_counter()
        loop.call_soon_threadsafe(deliver_items, items)
        cost.append(time.perf_counter() - began)
        return began

    for _ in range(200):
        woken = asyncio.get_running_loop().run_in_executor(None, wake)
        for _ in items:
            await queue.get()
        ended = time.perf_counter()
        arrival.append(ended - await woken)
    return {
        "host, waking the event loop": 1e6 * statistics.median(cost),
        "host, until 32 calls have their sound": 1e6 * statistics.median(arrival),
    }


SECTIONS: dict[str, tuple[Callable[[Run], None], float]] = {
    # The seconds that each needs at least, by estimate.
    "host": (host, 5),
    "frames": (frames, 20),
    "generate": (generate, 20),
    "talking": (talking, 60),
    "capacity": (capacity, 40),
    "prefill": (prefill, 15),
    "memory": (memory, 15),
    "contended": (contended, 20),
    "compiled": (compiled, 60),
}


if __name__ == "__main__":
    main()
