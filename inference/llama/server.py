"""
llama.cpp in this process: one model, and the threads that compute it.

Of the two packages that bring llama.cpp to Python, only xllamacpp can be installed without a compiler (llama-cpp-python
publishes its source; its wheels are elsewhere). xllamacpp wraps llama.cpp's own server: replies are decoded together,
each slot keeps its prompt, and a request can be cancelled between two steps. Both are under the MIT licence.

No socket is used: a request is a call that blocks a thread of ours, and each event of its reply a call back. The server
nevertheless insists on listening somewhere. It gets a Unix socket in a folder that only this user can open and that is
removed as soon as the server runs, and a random key that nobody knows.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from inference.llama.gguf import ModelFile
from inference.llama.options import LlamaCppOptions, spare_cores
from inference.types import EngineError

PLAIN_TEMPLATE = (
    "{%- for turn in messages -%}{%- if turn['role'] == 'system' -%}{{ turn['content'] + '\n\n' }}{%- else -%}"
    "{{ ('Assistant: ' if turn['role'] == 'assistant' else 'User: ') + turn['content'] | trim + '\n' }}"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}"
)
"""The chat template that models without one get: the dialogue as a book would print it. The control tokens of any other
template are words that such a model has never seen. With Gemma's, Gemma 3 270M (base) wrote the names of roles behind
words of other languages that mean these tokens to it ("mendatang buyinguser")."""


class LlamaServer:
    """
    A loaded model. Made by ``load``, which blocks.

    The package keeps Python's global lock while it reads the weights, so that everything else in the process stands
    still for as long: 1.3 s with a model of 250 MB. Engines are loaded before calls are taken.
    """

    def __init__(self, server: Any, slots: int) -> None:
        self._server = server
        # A cancelled request keeps its thread until the step that is computed has ended, and the next one has begun.
        self._threads = ThreadPoolExecutor(2 * slots + 1, thread_name_prefix="llama")
        self._running: set[_Request] = set()

    @classmethod
    def load(cls, file: ModelFile, options: LlamaCppOptions, *, chat_template: str) -> LlamaServer:
        """Raises a permanent ``EngineError``."""
        try:
            import xllamacpp
        except ImportError as error:
            raise EngineError(
                f"xllamacpp is not installed ({error}): pip install -r requirements/talk.txt", permanent=True
            ) from error
        folder = tempfile.mkdtemp(prefix="llama-")
        try:
            parameters = _parameters(xllamacpp, file.path, options, chat_template, folder)
            return cls(xllamacpp.Server(parameters), options.slots)
        except RuntimeError as error:
            raise EngineError(
                f"llama.cpp cannot load {file.path}, a model of the architecture {file.architecture}: it wrote the "
                "reason to stderr. Usually the file was downloaded in part, or xllamacpp is older than the model",
                permanent=True,
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def events(self, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """
        Complete a chat and yield the payloads of its events.

        Leaving the iteration ends the request at the next step of the model, and returns at once.
        """
        request = _Request(asyncio.get_running_loop())
        self._running.add(request)
        computing = self._threads.submit(self._compute, msgspec.json.encode(body), request)
        computing.add_done_callback(request.end)
        try:
            while (event := await request.events.get()) is not None:
                yield event
            if request.cancelled:
                raise EngineError("the language model has been closed")
            if error := computing.exception():
                raise EngineError(f"llama.cpp failed: {error!r}") from error
        finally:
            request.cancelled = True
            self._running.discard(request)

    def _compute(self, body: bytes, request: _Request) -> None:
        if not request.cancelled:
            self._server.handle_chat_completions(body, request.take)

    def close(self) -> None:
        """End all requests and release the model. Blocks for about 0.2 s."""
        for request in tuple(self._running):
            request.cancelled = True
        self._threads.shutdown()
        self._server = None


class _Request:
    """What a request's thread passes to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        """The payloads of events, then None."""
        self.cancelled = False
        self._loop = loop

    def take(self, event: bytes) -> bool:
        """Called on the request's thread. Returns whether the request is to end."""
        self._pass_on(event)
        return self.cancelled

    def end(self, _: object) -> None:
        self._pass_on(None)

    def _pass_on(self, event: bytes | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:  # the loop is closed
            self.cancelled = True


def _parameters(xllamacpp: Any, path: Path, options: LlamaCppOptions, chat_template: str, folder: str) -> Any:
    threads = options.threads or spare_cores()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.hostnames, parameters.port = [f"{folder}/llama.sock"], 1
    parameters.api_keys, parameters.n_threads_http, parameters.ui = [secrets.token_hex(32)], 1, False
    parameters.n_parallel, parameters.n_ctx = options.slots, options.slots * options.context_tokens
    parameters.n_batch = parameters.n_ubatch = options.batch_tokens
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    # A slot keeps its whole prompt: with a sliding window only a prompt that goes on exactly as before would be found.
    parameters.swa_full, parameters.kv_unified = True, False
    # Neither are slots emptied into a cache of up to 8 GB when another one is used.
    parameters.cache_ram_mib, parameters.cache_idle_slots = 0, False
    # The first request, at the start, warms the model up without keeping Python's lock.
    parameters.warmup, parameters.fit_params, parameters.verbosity = False, False, 1
    parameters.use_jinja, parameters.enable_reasoning, parameters.force_pure_content_parser = True, 0, True
    parameters.prefill_assistant = False
    if chat_template:
        parameters.chat_template = chat_template
    return parameters
