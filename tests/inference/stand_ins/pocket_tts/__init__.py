"""
Stands in for the package ``pocket-tts`` 4.0 in its worker process: the same functions, tones for words, no PyTorch.

The text "forever" is spoken until ``stop`` is set, "die" ends the process, as a crash would, and after "hang" nothing
more happens.
"""

import os
import threading
from collections.abc import Iterator

import numpy as np

FRAME = 1920
VOICES = {"alba": 0.1, "marius": 0.6}


class Tensor:
    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples

    def numpy(self) -> np.ndarray:
        return self._samples


class TTSModel:
    sample_rate = 24_000

    @classmethod
    def load_model(
        cls,
        language: str | None = None,
        config: str | None = None,
        temp: float | None = None,
        sampler_decode_steps: int = 1,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        quantize: bool = False,
    ) -> "TTSModel":
        print("loading")  # the package also writes to stdout in places
        if os.environ.get("POCKET_HANGS"):
            threading.Event().wait()
        if config is not None and not os.path.exists(config):
            raise FileNotFoundError(config)
        return cls()

    def get_state_for_audio_prompt(self, audio_conditioning: str, truncate: bool = False) -> dict[str, float]:
        if audio_conditioning not in VOICES:
            raise ValueError(f"unknown voice {audio_conditioning}")
        return {"loudness": VOICES[audio_conditioning]}

    def generate_audio_stream(
        self,
        model_state: dict[str, float],
        text_to_generate: str,
        max_tokens: int = 50,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        stop: threading.Event | None = None,
    ) -> Iterator[Tensor]:
        if not text_to_generate.strip():
            raise ValueError("empty text")
        if "die" in text_to_generate.split():
            os._exit(3)
        time = np.arange(FRAME) / self.sample_rate
        silence = np.zeros(FRAME, np.float32)
        words = iter(lambda: "forever", None) if "forever" in text_to_generate else text_to_generate.split()
        yield Tensor(silence)
        for word in words:
            if word == "hang":
                threading.Event().wait()
            for _ in range(3):
                if stop is not None and stop.is_set():
                    return
                tone = np.sin(2 * np.pi * (200 + 20 * len(word)) * time)
                yield Tensor((model_state["loudness"] * tone).astype(np.float32))
        yield Tensor(silence)
