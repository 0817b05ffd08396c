"""Channel layers for the tests of the remote engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import channel_layers

from tests.inference.remote.clients import LossyLayer
from tests.inference.remote.serving import layers


@pytest.fixture
def memory_layers() -> Iterator[tuple[Any, Any]]:
    with layers() as made:
        yield made


@pytest.fixture
def redis_layers(redis_server) -> Iterator[tuple[Any, Any]]:
    """Layers for several workers: in memory only one of them would read the channel of placements."""
    with layers(redis_server.url) as made:
        yield made


@pytest.fixture
def lossy_layer(memory_layers) -> LossyLayer:
    """The layer of open sessions, which loses the packets that a test chooses."""
    layer = LossyLayer(memory_layers[1])
    channel_layers.set("stream", layer)
    return layer
