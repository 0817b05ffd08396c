from functools import partial

import pytest

pytest.importorskip("xllamacpp", reason="xllamacpp is needed (requirements/talk.txt)")
pytest.importorskip("gguf", reason="gguf is needed (requirements/dev.txt)")
from inference.engines.llama_cpp import LlamaCppLanguageModel
from inference.llama.options import LlamaCppOptions
from tests.inference.tiny_gguf import CONTEXT, make_tiny_gguf


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The path of a tiny model."""
    return make_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def make_engine(path, **options) -> LlamaCppLanguageModel:
    defaults = {"threads": 1, "context_tokens": CONTEXT}
    return LlamaCppLanguageModel(LlamaCppOptions(model=str(path), **(defaults | options)))


@pytest.fixture
async def load(tiny):
    """Makes a started engine with the tiny model, and closes it at the end."""
    engines = []

    async def load(**options):
        engine = make_engine(tiny, **options)
        engines.append(engine)
        await engine.start()
        return engine

    yield load
    for engine in engines:
        await engine.close()


@pytest.fixture
def unstarted(tiny):
    return partial(make_engine, tiny)
