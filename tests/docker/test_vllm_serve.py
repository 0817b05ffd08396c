"""The command that starts vLLM is well formed, and its memory fits on the GPU beside the speech engines."""

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
"""The memory of a card without that of the driver."""
WEIGHTS_GIB = {"80": 26.5, "48": 16.0, "24": 8.0}
OVERHEAD_GIB = {"80": 3.0, "48": 3.0, "24": 2.5}
SPEECH_GIB = {"80": 9.5, "48": 8.5, "24": 6.0}
"""The memory of CSM with its slots and of Whisper. Like those above, these are estimates."""


def serve(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], **env}
    return subprocess.run([SERVE, *arguments], env=clean, capture_output=True, text=True, check=False)


def options_of(card: str, *more: str) -> tuple[str, dict[str, str]]:
    """The checkpoint and the options of the printed command. The last of several options of one name counts."""
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
def test_the_model_its_cache_and_the_speech_engines_fit_on_the_card(card):
    _, options = options_of(card)
    cache_gib = float(options["--kv-cache-memory-bytes"].removesuffix("G"))
    needed_gib = WEIGHTS_GIB[card] + OVERHEAD_GIB[card] + cache_gib
    assert needed_gib + SPEECH_GIB[card] <= FREE_GIB[card]
    # vLLM demands this much free memory at its start, also if the speech engines have started before.
    assert float(options["--gpu-memory-utilization"]) * int(card) <= FREE_GIB[card] - SPEECH_GIB[card]


@pytest.mark.parametrize("card", FREE_GIB)
def test_the_server_has_the_options_that_the_engine_relies_on(card):
    _, options = options_of(card)
    assert options["--served-model-name"] == "llm"
    assert options["--scheduling-policy"] == "priority"
    assert "--enable-prefix-caching" in options
    assert int(options["--max-num-queued-reqs"]) > int(options["--max-num-seqs"])
    # vLLM refuses a longer conversation, and the engine then learns this limit. Only the small card may come to that.
    assert int(options["--max-model-len"]) >= (4096 if card == "24" else SERVERS["vllm"].context_tokens)


def test_the_checkpoint_suits_the_card():
    assert "FP8" in options_of("80")[0]
    assert "w4a16" in options_of("48")[0]
    assert options_of("24")[0] == "some/checkpoint"


def test_the_options_of_an_operator_override_the_defaults():
    _, options = options_of("80", "--host", "0.0.0.0", "--api-key", "secret")
    assert options["--host"] == "0.0.0.0"
    assert options["--api-key"] == "secret"


@pytest.mark.parametrize(("arguments", "message"), [((), "usage"), (("64",), "usage"), (("--print", "24"), "MODEL=")])
def test_a_missing_argument_is_named(arguments, message):
    failed = serve(*arguments)
    assert failed.returncode != 0
    assert message in failed.stderr


def test_without_print_the_command_is_run(tmp_path):
    """A script in place of vLLM prints its arguments."""
    (tmp_path / "vllm").write_text('#!/bin/sh\necho "$CUDA_MPS_CLIENT_PRIORITY $*"\n')
    (tmp_path / "vllm").chmod(0o755)
    ran = serve("48", PATH=f"{tmp_path}:{os.environ['PATH']}")
    shown = serve("--print", "48")
    assert ran.stdout == shown.stdout.replace("CUDA_MPS_CLIENT_PRIORITY=1 vllm", "1")
