"""The command that starts the language model on a GPU: well formed, and within the memory of its card."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from inference.chat.servers import SERVERS

SERVE = Path(__file__).parents[2] / "docker" / "vllm" / "serve"
VALUED = {
    *("--served-model-name", "--host", "--port", "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens"),
    *("--max-num-queued-reqs", "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--scheduling-policy"),
    *("--stream-interval", "--api-key"),
}
"""Options of ``vllm serve`` 0.33 that take a value; the others below take none."""
SWITCHES = {"--language-model-only", "--enable-prefix-caching", "--disable-uvicorn-access-log"}
FREE_GIB = {"80": 78.0, "48": 45.0, "24": 23.0}
"""Of a card, without what the driver keeps."""
WEIGHTS_GIB = {"80": 26.5, "48": 16.0, "24": 8.0}
OVERHEAD_GIB = {"80": 3.0, "48": 3.0, "24": 2.5}
SPEECH_GIB = {"80": 9.5, "48": 8.5, "24": 6.0}
"""CSM with its slots, and Whisper: estimates, as are those above."""


def serve(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], **env}
    return subprocess.run([SERVE, *arguments], env=clean, capture_output=True, text=True, check=False)


def options_of(card: str, *more: str) -> tuple[str, dict[str, str]]:
    """The checkpoint and the options of the printed command; the last of the same name counts."""
    printed = serve("--print", card, *more, MODEL="some/checkpoint" if card == "24" else "")
    assert printed.returncode == 0, printed.stderr
    priority, *command = shlex.split(printed.stdout)
    assert priority == "CUDA_MPS_CLIENT_PRIORITY=1"
    assert command[:2] == ["vllm", "serve"]
    options, words = {}, iter(command[3:])
    for word in words:
        assert word in VALUED | SWITCHES
        options[word] = next(words) if word in VALUED else ""
    return command[2], options


@pytest.mark.parametrize("card", FREE_GIB)
def test_the_model_its_cache_and_speech_fit_on_the_card_together(card):
    _, options = options_of(card)
    cache_gib = float(options["--kv-cache-memory-bytes"].removesuffix("G"))
    takes = WEIGHTS_GIB[card] + OVERHEAD_GIB[card] + cache_gib
    assert takes + SPEECH_GIB[card] <= FREE_GIB[card]
    # What vLLM wants to find free at its start must be there beside the speech engines, whoever starts first.
    assert float(options["--gpu-memory-utilization"]) * int(card) <= FREE_GIB[card] - SPEECH_GIB[card]


@pytest.mark.parametrize("card", FREE_GIB)
def test_calls_get_what_the_engine_counts_on(card):
    _, options = options_of(card)
    assert options["--served-model-name"] == "llm"
    assert options["--scheduling-policy"] == "priority"
    assert "--enable-prefix-caching" in options
    assert int(options["--max-num-queued-reqs"]) > int(options["--max-num-seqs"])
    # A conversation that outgrows this is refused, and the engine learns it; only on the small card should it have to.
    assert int(options["--max-model-len"]) >= (4096 if card == "24" else SERVERS["vllm"].context_tokens)


def test_the_precision_suits_the_card():
    assert "FP8" in options_of("80")[0]
    assert "w4a16" in options_of("48")[0]
    assert options_of("24")[0] == "some/checkpoint"


def test_an_operators_options_come_last_and_win():
    _, options = options_of("80", "--host", "0.0.0.0", "--api-key", "secret")
    assert options["--host"] == "0.0.0.0"
    assert options["--api-key"] == "secret"


@pytest.mark.parametrize(("arguments", "says"), [((), "usage"), (("64",), "usage"), (("--print", "24"), "MODEL=")])
def test_what_is_missing_is_said(arguments, says):
    failed = serve(*arguments)
    assert failed.returncode != 0
    assert says in failed.stderr


def test_without_print_the_command_is_run(tmp_path):
    """A stand-in for vLLM that shows what it was given."""
    (tmp_path / "vllm").write_text('#!/bin/sh\necho "$CUDA_MPS_CLIENT_PRIORITY $*"\n')
    (tmp_path / "vllm").chmod(0o755)
    ran = serve("48", PATH=f"{tmp_path}:{os.environ['PATH']}")
    shown = serve("--print", "48")
    assert ran.stdout == shown.stdout.replace("CUDA_MPS_CLIENT_PRIORITY=1 vllm", "1")
