import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from media.phone.network import PhoneNetwork
from tests.media.phone.doubles import Application, FakeGateway, open_network
from tests.web import serving


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    application = Application()
    async with serving(application.serve) as application.url:
        yield application


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def network(app: Application, gateway: FakeGateway) -> AsyncIterator[PhoneNetwork]:
    async with open_network(app, gateway) as network:
        yield network


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections: bound, so that nothing else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
