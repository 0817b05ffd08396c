"""What the doctor says of each Redis that the settings name: which one is at fault, and what to do."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
import redis

from clientcaller.doctor import stores
from tests.doctor.faults import World, lines, look
from tests.real_services import RedisServer, reserve_port

SETTINGS = ("REDIS_URL", "CELERY_BROKER_URL", "STREAM_REDIS_URL")


def name(world: World, setting: str, *urls: str) -> None:
    """Let the setting name these servers, which is a list for streams alone."""
    world.settings.__setattr__(
        *(("STREAM_REDIS_URLS", [*urls]) if setting.startswith("STREAM") else (setting, urls[0]))
    )


@pytest.fixture
def whole(world: World, redis_server: RedisServer) -> World:
    """A deployment with three servers by name (databases of one), none of which is at fault."""
    for number, setting in enumerate(SETTINGS):
        name(world, setting, _url(redis_server, number))
    return world


def _url(server: RedisServer, database: int = 0, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{server.port}/{database}"


# --- Faults ------------------------------------------------------------------------------------------------

Break = Callable[[World], str]
"""It breaks a server and returns its URL."""


def _configured(world: World, **values: str) -> RedisServer:
    server: RedisServer = world.request.getfixturevalue("own_redis")
    with redis.Redis.from_url(server.url) as client:
        for key, value in values.items():
            client.config_set(key.replace("_", "-"), value)
    return server


def dead(world: World) -> str:
    return f"redis://127.0.0.1:{reserve_port()}/0"


def silent(world: World) -> str:
    world.monkeypatch.setattr(stores, "REDIS_TIMEOUT", 0.2)
    server = socket.create_server(("127.0.0.1", 0))
    world.request.addfinalizer(server.close)
    return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def without_password(world: World) -> str:
    return _configured(world, requirepass="secret").url


def wrong_password(world: World) -> str:
    return _url(_configured(world, requirepass="secret"), login=":guessed@")


def user_without_rights(world: World) -> str:
    server = _configured(world)
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">secret", "+ping", "+info", "+select", "+client")
    return _url(server, login="weak:secret@")


def replica(world: World) -> str:
    server = _configured(world)
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", reserve_port())
    return server.url


def full(world: World) -> str:
    return _configured(world, maxmemory_policy="noeviction", maxmemory="1").url


def unable_to_save(world: World) -> str:
    return _configured(world, min_replicas_to_write="1").url


def evicting(world: World) -> str:
    return _configured(world, maxmemory="100mb", maxmemory_policy="allkeys-lru").url


class _NoRedis(socketserver.BaseRequestHandler):
    """It answers as nginx does to what is no HTTP."""

    def handle(self) -> None:
        self.request.recv(1000)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def web_server(world: World) -> str:
    server = socketserver.TCPServer(("127.0.0.1", 0), _NoRedis)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    world.request.addfinalizer(lambda: (server.shutdown(), thread.join(), server.server_close()))
    return f"redis://127.0.0.1:{server.server_address[1]}/0"


def wrong_url(world: World) -> str:
    return "http://user:secret@127.0.0.1:6379/0"


def missing_database(world: World) -> str:
    return _url(world.request.getfixturevalue("redis_server"), 99)


FAULTS: list[tuple[Break, str, str]] = [
    (dead, "Redis does not answer", "Start Redis, or correct {}"),
    (silent, "Timeout", "Start Redis, or correct {}"),
    (without_password, "Redis refuses the login", "user and password into {}"),
    (wrong_password, "Redis refuses the login", "user and password into {}"),
    (user_without_rights, "Redis refuses commands to this user", "ACL SETUSER"),
    (replica, "Redis is a replica", "Name the primary in {}"),
    (web_server, "what answers is no Redis", "host and port in {}"),
    (missing_database, "Redis refuses to work", "Correct {}"),
]
"""What is wrong, and what must be said, of a server for any purpose."""
FAULTS_OF_KEYS: list[tuple[Break, str, str]] = [
    (full, "memory of Redis is full", "Raise maxmemory"),
    (unable_to_save, "Redis refuses what is written", "log of Redis"),
    (evicting, "deletes messages of calls (maxmemory-policy allkeys-lru)", "Set maxmemory-policy noeviction"),
]
"""Those that matter where keys are kept. Messages of streams only pass."""
CASES = [(setting, *fault) for setting in SETTINGS for fault in FAULTS]
CASES += [(setting, *fault) for setting in SETTINGS[:2] for fault in FAULTS_OF_KEYS]
CASES += [(setting, wrong_url, "is not the URL of a Redis", "rediss://user:password@") for setting in SETTINGS[::2]]


@pytest.mark.parametrize(
    ("setting", "fault", "says", "remedy"), CASES, ids=[f"{case[0]}-{case[1].__name__}" for case in CASES]
)
def test_the_server_at_fault_is_named_and_the_others_are_green(
    whole: World, setting: str, fault: Break, says: str, remedy: str
):
    name(whole, setting, fault(whole))
    result = look("redis", whole.deployment)
    (bad,) = [one for one in result.findings if one.level == "red"]
    assert says in bad.text, bad
    assert setting in bad.text
    assert remedy.format(setting) in bad.remedy
    for other in {*SETTINGS} - {setting}:
        assert any(one.level == "green" and other in one.text for one in result.findings), lines(result)
    assert "secret" not in str(result.findings)
    assert "guessed" not in str(result.findings)


@pytest.mark.parametrize("fault", [full, evicting], ids=lambda fault: fault.__name__)
def test_memory_does_not_matter_to_a_server_of_streams_alone(whole: World, fault: Break):
    name(whole, "STREAM_REDIS_URL", fault(whole))
    assert look("redis").level == "green", lines(look("redis"))


# --- Which servers -----------------------------------------------------------------------------------------


def test_a_server_that_several_settings_name_is_tried_once(world: World, redis_server: RedisServer):
    for setting in SETTINGS:
        name(world, setting, redis_server.url)
    (finding,) = look("redis").findings
    assert finding.level == "green"
    assert finding.text.endswith("(REDIS_URL)")


def test_one_of_several_servers_of_streams_is_named_by_its_number(whole: World, redis_server: RedisServer):
    name(whole, "STREAM_REDIS_URL", _url(redis_server, 2), dead(whole))
    bad = [one.text for one in look("redis").findings if one.level == "red"]
    assert len(bad) == 1
    assert "(number 2 of STREAM_REDIS_URL)" in bad[0]


def test_a_broker_without_redis_url_is_tried_and_another_kind_of_broker_is_not(world: World):
    world.settings.REDIS_URL = ""
    name(world, "CELERY_BROKER_URL", dead(world))
    assert look("redis").level == "red"
    name(world, "CELERY_BROKER_URL", "amqp://127.0.0.1:1")
    assert look("redis").level == "not checked"


def test_many_dead_servers_take_the_time_of_one(whole: World):
    with closing(_Listeners(5)) as silent_servers:
        name(whole, "STREAM_REDIS_URL", *silent_servers.urls)
        whole.monkeypatch.setattr(stores, "REDIS_TIMEOUT", 1.0)
        result = look("redis")
    assert [one.level for one in result.findings].count("red") == 5
    assert result.seconds < 4  # one after the other they take 5 s


class _Listeners:
    """Ports that accept a connection and never answer."""

    def __init__(self, count: int) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.urls = [f"redis://127.0.0.1:{one.getsockname()[1]}/0" for one in self._sockets]

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def test_a_server_that_is_far_away_is_yellow(world: World, redis_server: RedisServer):
    world.settings.REDIS_URL = redis_server.url
    world.monkeypatch.setattr(stores, "SLOW_REDIS", 0.0)
    (finding,) = look("redis").findings
    assert finding.level == "yellow"
    assert "near the web processes" in finding.remedy


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis+socket:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("rediss://h:1/2?ssl_cert_reqs=CERT_NONE", {"host": "h", "port": 1, "db": 2, "ssl_cert_reqs": "none"}),
    ],
    ids=["socket", "certificate"],
)
def test_urls_in_the_spelling_of_celery_are_understood(url: str, wanted: dict[str, object]):
    with stores._redis_client(stores.RedisUse(url, "CELERY_BROKER_URL", keeps=True)) as client:
        found = client.connection_pool.connection_kwargs
    assert {key: found[key] for key in wanted} == wanted
