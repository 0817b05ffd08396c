"""Defines the ``OPTIONS`` of ``FasterWhisperSpeechToText``."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.options import PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperOptions:
    model: str = field(default="small.en", metadata=PATH)
    """The name of a faster-whisper model, such as ``large-v3-turbo``, or the folder of a converted one. The default is
    the largest English model that a laptop's processor can run in time."""

    device: str = "auto"
    """``cuda``, ``cpu`` or ``auto``, which chooses CUDA if a GPU and cuBLAS are found."""

    device_index: int = 0
    """The number of the GPU."""

    compute_type: str = "default"
    """The number format of CTranslate2; ``default`` is float16 on a GPU and int8 on a processor."""

    cpu_threads: int = 0
    """Threads on a processor. 0: as many as there are cores, at most 4. CTranslate2 by itself takes four also where
    there are fewer cores, and answers later: after 520 instead of 409 ms in the median of twelve, on two busy cores."""

    download_root: str = field(default="", metadata=PATH)
    """The folder in which a model is looked for, or to which it is downloaded; by default the hub's usual cache."""

    local_files_only: bool = False
    """Whether to load the model from this machine only, without asking the hub."""

    partials: bool = True
    """Whether words are reported while the caller is still speaking."""

    partial_seconds: float = 0.6
    """A partial is made each time the utterance has grown by so many seconds. Shorter steps give words sooner and
    cost more passes."""

    unhurried_partial_seconds: float = 3.0
    """The same while the caller has the floor. Only an answer that fails or is late is then replaced by a partial. If
    this is more than ``partial_seconds``, the next partial is made when the utterance is also twice as long, so that
    partials of a long utterance do not cost several times what its final words do."""

    hotwords: str = ""
    """Names and words that the model should expect on every call."""

    max_batch: int = 0
    """Utterances that are recognised in one pass at most; 0 chooses by the device: 16 on a GPU, 2 on a processor."""

    gather: float = 0.003
    """Seconds for which an answer waits so that others can join its pass. Callers do not notice 3 ms, and calls that
    end a sentence at the same moment share one pass."""

    max_utterances: int = 256
    """Open utterances; more are refused. Far beyond what one device can recognise in time."""

    max_waiting: int = 32
    """Answers that wait for the model; more are refused, because they would come too late."""
