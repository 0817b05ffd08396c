"""Loads a checkpoint, chooses the device and estimates the memory."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
from pathlib import Path

from inference.cores import usable_cores
from inference.models.files import is_path
from inference.types import EngineError
from inference.whisper.mel import RATE_HZ
from inference.whisper.model import Model, advice
from inference.whisper.options import WhisperOptions

log = logging.getLogger(__name__)

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")
"""In the order of their dependency."""
CUDA_CONTEXT_BYTES = 2**29
"""The memory that CUDA itself takes for one process, by estimate."""
MOST_THREADS = 4
"""As many as CTranslate2 takes by itself."""
ROW_SHARE = 16
"""A row of 30 s needs about a sixteenth of the weights' memory in a pass (attention of 1500 by 1500 per head)."""
PARAMETERS = {
    "distil-small": 166e6,
    "distil-medium": 394e6,
    "distil-large": 756e6,
    "turbo": 809e6,
    "large": 1550e6,
    "medium": 769e6,
    "small": 244e6,
    "base": 74e6,
    "tiny": 39e6,
}
"""The parameters of models that are not downloaded yet, by the first of these names that the model's name contains.
Published files have two bytes for each."""


def load(options: WhisperOptions) -> Model:
    """
    Load a model by faster-whisper's name for it, by its name on the hub, or from a folder.

    A model that cannot be loaded raises a permanent ``EngineError`` that says what to do.
    """
    name, device = options.model, choose_device(options.device)
    check_folder(name)
    compute_type = options.compute_type
    if compute_type == "default":
        compute_type = "float16" if device == "cuda" else "int8"
    requirements = "requirements/stt.txt" if device == "cuda" else "requirements/cpu.txt"
    try:
        from faster_whisper import WhisperModel

        whisper = WhisperModel(
            name,
            device=device,
            device_index=options.device_index,
            compute_type=compute_type,
            cpu_threads=options.cpu_threads or min(usable_cores(), MOST_THREADS),
            num_workers=2 if device == "cpu" else 1,  # they share the weights
            download_root=options.download_root or None,
            local_files_only=options.local_files_only,
        )
    except ImportError as error:
        raise EngineError(
            f"faster-whisper is not installed (pip install -r {requirements}): {error}", permanent=True
        ) from error
    except Exception as error:  # the hub, the tokenizer and CTranslate2 each raise their own
        raise EngineError(
            f"Cannot load the Whisper model {name!r}: {error}. {advice(error)}", permanent=True
        ) from error
    if whisper.feature_extractor.sampling_rate != RATE_HZ:
        raise EngineError(f"The Whisper model {name!r} does not take sound of {RATE_HZ} Hz.", permanent=True)
    return Model(whisper, hotwords=options.hotwords)


def check_folder(name: str) -> None:
    """Raise a permanent ``EngineError`` if the name is meant as a folder and there is none, or one without a model."""
    folder = Path(name)
    if is_path(name) and not folder.is_dir():
        raise EngineError(
            f"The folder {name!r} of the option `model` does not exist (from {Path.cwd()}). "
            "Give the folder of a model that was converted for CTranslate2, or a name such as small.en.",
            permanent=True,
        )
    if folder.is_dir() and not (folder / "model.bin").is_file():
        raise EngineError(
            f"The folder {name!r} of the option `model` has no model.bin: it holds no model that was converted for "
            "CTranslate2.",
            permanent=True,
        )


def weights_bytes(name: str, download_root: str = "") -> int:
    """The size of the model's file, or an estimate by its name; 0 if neither is known. Downloads nothing."""
    folder = Path(name)
    with contextlib.suppress(Exception):  # not installed, not downloaded, an unknown name: each raises another error
        if not folder.is_dir():
            from faster_whisper.utils import download_model

            folder = Path(download_model(name, local_files_only=True, cache_dir=download_root or None))
        return (folder / "model.bin").stat().st_size
    short = name.rpartition("/")[2].removeprefix("faster-").replace("whisper-", "")
    return int(2 * next((count for size, count in PARAMETERS.items() if size in short), 0))


def memory_estimate(weights: int, *, device: str, max_rows: int) -> int:
    """Bytes for the weights and for one batch of 30 s; an estimate."""
    return weights + max_rows * weights // ROW_SHARE + (CUDA_CONTEXT_BYTES if device == "cuda" else 0)


def choose_device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise EngineError(f'The option `device` must be "auto", "cpu" or "cuda", not {device!r}.', permanent=True)
    if device == "cpu":
        return device
    cublas = _preload_cublas()  # before CTranslate2 is imported, which looks for it by its bare name
    try:
        from ctranslate2 import get_cuda_device_count
    except ImportError as error:
        raise EngineError(
            f"faster-whisper is not installed (pip install -r requirements/stt.txt): {error}", permanent=True
        ) from error
    gpus = get_cuda_device_count()
    if device == "cuda" and not gpus:
        raise EngineError(
            "No NVIDIA GPU is visible: check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or set the option `device` to "
            '"cpu".',
            permanent=True,
        )
    if not gpus or cublas:
        return "cuda" if gpus else "cpu"
    missing = "Whisper on the GPU needs cuBLAS of CUDA 12, whatever the driver: pip install -r requirements/stt.txt"
    if device == "cuda":
        raise EngineError(missing, permanent=True)
    log.warning("%s. Whisper runs on the processor instead.", missing)
    return "cpu"


def _preload_cublas() -> bool:
    """
    Load cuBLAS 12 from its wheel (nvidia-cublas-cu12), or else from the system. Returns whether it was found.

    CTranslate2's wheel opens ``libcublas.so.12`` by that name and looks in no other package. A copy that was loaded
    before is found without LD_LIBRARY_PATH.
    """
    found = importlib.util.find_spec("nvidia")
    roots = [Path(root) / "cublas" / "lib" for root in (found.submodule_search_locations or ())] if found else []
    folder = next((root for root in roots if (root / CUBLAS[0]).exists()), None)
    try:
        for library in CUBLAS:
            ctypes.CDLL(str(folder / library) if folder else library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
