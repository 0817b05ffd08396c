"""
CSM's speed: frames, first sound and calls at once on a GPU, and what the host adds to each tick.

    python -m tests.benchmarks.csm                          # all that fits into nine minutes; on a CPU, a self-check
    python -m tests.benchmarks.csm --quick                  # four minutes, without compiling
    python -m tests.benchmarks.csm --host                   # only the host's part, which needs no GPU
    python -m tests.benchmarks.csm --contended              # also beside a process that uses up memory bandwidth
    python -m tests.benchmarks.csm --only talking capacity --slots 64

On CUDA the model has its real size (csm-1b with Mimi) and random weights: backbone and depth decoder in bfloat16, the
codec in float32. On a CPU it is the tests' tiny model, which only shows that the script works. Every figure is the
median of several measurements of this run, or a percentile if it says so. A section that fails is reported, and the
other sections still run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from tests.benchmarks.csm.calls import capacity, talking
from tests.benchmarks.csm.host import host
from tests.benchmarks.csm.run import Run
from tests.benchmarks.csm.steps import build, compiled, contended, frames, generate, memory, prefill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="measure fewer sizes and compile nothing")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled steps")
    parser.add_argument("--contended", action="store_true", help="also beside a process that uses up memory bandwidth")
    parser.add_argument("--host", action="store_true", help="measure only what the host adds to each tick")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="run only these sections")
    parser.add_argument("--slots", type=int, default=0, help="slots of the engine (default: as many as the sizes say)")
    parser.add_argument("--budget", type=float, default=0.0, help="seconds; sections that no longer fit are left out")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the results to this file")
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


SECTIONS: dict[str, tuple[Callable[[Run], None], float]] = {
    # With the seconds that each section needs at least, by estimate.
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
