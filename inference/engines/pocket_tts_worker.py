"""
The worker process of ``pocket_tts``, run as a script: one model, which speaks one clause at a time.

It is a process of its own because the package sets PyTorch to one thread for its whole process, and because a model can
speak only one clause at a time. It reads requests as lines of JSON from stdin and writes messages to stdout, each a
header (kind, length) and a payload. It ends when stdin ends, so it does not outlive the process that started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import sys
import threading
from typing import Any

HEADER = struct.Struct("<cI")
READY, SOUND, DONE, FAILED = b"r", b"s", b"d", b"f"
"""The kinds of messages: the model is loaded (JSON), samples as float32, the clause is over, an error (JSON)."""


class Worker:
    def __init__(self, options: dict[str, Any], out: int) -> None:
        self._out = out
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stop = threading.Event()
        self._number = 0
        """The clause that is spoken."""
        self._lock = threading.Lock()
        from pocket_tts import TTSModel  # type: ignore[import-not-found]

        given = {"config": options["config"]} if options["config"] else {"language": options["language"]}
        self._model = TTSModel.load_model(**given, temp=options["temperature"], quantize=options["quantize"])
        self._states = {name: self._model.get_state_for_audio_prompt(path) for name, path in options["voices"].items()}
        self.write(READY, json.dumps({"rate_hz": self._model.sample_rate}).encode())

    def serve(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        while (request := self._requests.get()) is not None:
            with self._lock:
                self._number = request["number"]
                self._stop.clear()
            try:
                self._say(request["text"], request["voice"])
                self.write(DONE)
            except Exception as error:
                self.write(FAILED, json.dumps(f"{type(error).__name__}: {error}").encode())

    def write(self, kind: bytes, payload: bytes = b"") -> None:
        message = HEADER.pack(kind, len(payload)) + payload
        while message:
            message = message[os.write(self._out, message) :]

    def _say(self, text: str, voice: str) -> None:
        for chunk in self._model.generate_audio_stream(self._states[voice], text, copy_state=True, stop=self._stop):
            self.write(SOUND, chunk.numpy().astype("<f4").tobytes())

    def _read(self) -> None:
        """Read requests while the model speaks, so that it can be stopped. Closing its iterator would not stop it."""
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if "text" in request:
                self._requests.put(request)
                continue
            with self._lock:
                if request["stop"] == self._number:
                    self._stop.set()
        self._requests.put(None)
        self._stop.set()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    out = os.dup(1)
    os.dup2(2, 1)  # what the package prints must not mix with the messages
    try:
        Worker(json.loads(sys.argv[1]), out).serve()
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        payload = json.dumps(f"{type(error).__name__}: {error}").encode()
        os.write(out, HEADER.pack(FAILED, len(payload)) + payload)
        sys.exit(1)


if __name__ == "__main__":
    main()
