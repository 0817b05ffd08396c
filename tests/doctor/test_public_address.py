"""What the doctor says of the public address: through a real TLS front, which is wrong in one way after another."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from calls import callbacks, signatures
from calls.services import readiness
from clientcaller.doctor import media_path, public
from clientcaller.doctor.deployment import Deployment
from tests.doctor.authority import HOST, Authority
from tests.doctor.faults import Fault, Faults, World, assert_found, lines, look
from tests.doctor.front import Background, Behaviour, Front, application, listening
from tests.real_services import reserve_port

pytestmark = pytest.mark.django_db(transaction=True)
FAULTS = Faults()


@dataclass
class Line:
    """The way from Twilio to the application, with a front in between."""

    authority: Authority
    background: Background
    front: Front
    stack: ExitStack = field(default_factory=ExitStack)

    def listen(self, **certificate: object) -> tuple[str, int]:
        """Let the front listen with a certificate of this kind. Where it listens."""
        context = self.authority.context(**certificate)
        return "127.0.0.1", self.stack.enter_context(listening(self.background, self.front, context))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with application() as port:
        background = Background()
        yield Line(Authority(tmp_path_factory.mktemp("authority")), background, Front(port))
        background.close()


@pytest.fixture
def line(base: Line, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The front without a fault, and a deployment that connects to it."""
    base.front.behaviour = Behaviour()
    monkeypatch.setattr(public, "resolve", lambda host: ["93.184.215.14"])
    with ExitStack() as base.stack:
        world.deployment = Deployment(ca_file=base.authority.file, connect_to=base.listen())
        world.line = base
        yield base


def behave(world: World, **behaviour: object) -> None:
    world.line.front.behaviour = Behaviour(**behaviour)


def certificate(world: World, **kind: object) -> None:
    world.deployment.connect_to = world.line.listen(**kind)


def replace(old: str, new: str):
    """Change the head of each request."""
    return lambda head: head.replace(old, new)


def without(name: str):
    """Remove a header."""
    return lambda head: "\r\n".join(line for line in head.split("\r\n") if not line.lower().startswith(f"{name}:"))


def answer(status: str, *headers: str, body: str = "", to: str = " "):
    """Answer requests whose head contains ``to``, in place of the application."""
    text = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body])
    return lambda head: text if to in head else head


# --- The name ----------------------------------------------------------------------------------------------


@FAULTS.add("dns", "red", "has no address", "A record")
def _name_does_not_exist(world: World) -> None:
    def fail(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    world.monkeypatch.setattr(public, "resolve", fail)


@FAULTS.add("dns", "red", "10.0.0.5 here, which Twilio does not reach", "public address")
def _name_is_private(world: World) -> None:
    world.monkeypatch.setattr(public, "resolve", lambda host: ["10.0.0.5"])


@FAULTS.add("dns", "red", "IPv6 addresses only", "A record")
def _name_is_ipv6_only(world: World) -> None:
    world.monkeypatch.setattr(public, "resolve", lambda host: ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"])


# --- TLS ---------------------------------------------------------------------------------------------------


@FAULTS.add("tls", "red", "the certificate has expired on", "11236")
def _certificate_has_expired(world: World) -> None:
    certificate(world, days=(-90, -1))


@FAULTS.add("tls", "red", "the certificate of the issuer Old intermediate has expired", "11236")
def _intermediate_has_expired(world: World) -> None:
    certificate(world, old_intermediate=True)


@FAULTS.add("tls", "red", "not valid yet", "clock")
def _certificate_is_not_valid_yet(world: World) -> None:
    certificate(world, days=(2, 90))


@FAULTS.add("tls", "red", f"is for other.example.com and not for {HOST}", "11235")
def _certificate_is_for_another_name(world: World) -> None:
    certificate(world, name="other.example.com")


@FAULTS.add("tls", "red", f"is signed by {HOST}, which Twilio does not trust", "public authority")
def _certificate_is_self_signed(world: World) -> None:
    certificate(world, self_signed=True)


@FAULTS.add("tls", "red", "the certificate of Intermediate of the tests is not sent", "fullchain.pem")
def _chain_is_incomplete(world: World) -> None:
    certificate(world, complete=False)


@FAULTS.add("tls", "yellow", "holds for 9 days", "should have been renewed")
def _certificate_was_not_renewed(world: World) -> None:
    certificate(world, days=(-80, 9.5))


@FAULTS.add("tls", "red", "does not speak TLS", "11220")
def _port_has_no_tls(world: World) -> None:
    port = world.line.stack.enter_context(listening(world.line.background, world.line.front, None))
    world.deployment.connect_to = "127.0.0.1", port


@FAULTS.add("tls", "red", "connection refused", "firewall")
def _nothing_listens(world: World) -> None:
    world.deployment.connect_to = "127.0.0.1", reserve_port()


@FAULTS.add("tls", "red", "has no TLS", "Caddy")
def _public_address_has_no_tls(world: World) -> None:
    world.settings.PUBLIC_BASE_URL = "http://phone.example.com"


# --- HTTP --------------------------------------------------------------------------------------------------


@FAULTS.add("http", "red", "/healthz is redirected to https://www.phone.example.com/", "PUBLIC_BASE_URL")
def _everything_is_redirected_to_another_host(world: World) -> None:
    behave(world, alter=answer("301 Moved Permanently", "Location: https://www.phone.example.com/"))


@FAULTS.add("http", "red", "/twilio/voice/ is redirected to /twilio/voice (HTTP 308)", "with and without its slash")
def _slash_is_redirected(world: World) -> None:
    moved = answer("308 Permanent Redirect", "Location: /twilio/voice", to=" /twilio/voice/ ")
    behave(world, alter=moved)


@FAULTS.add("http", "red", "asks for a login", "Except /twilio/")
def _proxy_wants_a_login(world: World) -> None:
    behave(world, alter=answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"'))


@FAULTS.add("http", "red", "is forbidden", "no fixed addresses")
def _firewall_forbids(world: World) -> None:
    behave(world, alter=answer("403 Forbidden", body="Request blocked"))


@FAULTS.add("http", "red", "Tunnel phone.example.com not found", "pass every path on")
def _tunnel_is_closed(world: World) -> None:
    behave(world, alter=answer("404 Not Found", body="Tunnel phone.example.com not found"))


@FAULTS.add("http", "red", "no answer from the web process (HTTP 502", "make serve")
def _web_process_is_down(world: World) -> None:
    behave(world, alter=answer("502 Bad Gateway"))


@FAULTS.add("http", "red", "another server answers /healthz (HTTP 200)", "page of the tunnel")
def _tunnel_shows_a_page_first(world: World) -> None:
    behave(world, alter=answer("200 OK", body="<html>You are about to visit this site</html>"))


@FAULTS.add("http", "red", "does not answer to the Host", "pass the Host header on")
def _proxy_changes_the_host(world: World) -> None:
    behave(world, alter=replace(f"Host: {HOST}", "Host: backend"))


@FAULTS.add("http", "red", "takes no calls: engines: no worker serves them", "its log")
def _web_process_is_not_ready(world: World) -> None:
    world.request.addfinalizer(readiness.add_readiness_check(lambda: "engines: no worker serves them"))


# --- The signature -----------------------------------------------------------------------------------------


@FAULTS.add(
    "signature", "red", "the proxy changes /twilio/echo/…/?stream=1 to /twilio/echo/…?stream=1", "on as they are"
)
def _proxy_removes_the_slash(world: World) -> None:
    behave(world, alter=replace("/?stream", "?stream"))


@FAULTS.add("signature", "red", "the proxy changes /twilio/echo/…/?stream=1 to /twilio/echo/…/", "on as they are")
def _proxy_removes_the_query(world: World) -> None:
    behave(world, alter=replace("?stream=1", ""))


@FAULTS.add("signature", "red", "removes the header X-Twilio-Signature", "all headers")
def _proxy_removes_the_signature(world: World) -> None:
    behave(world, alter=without("x-twilio-signature"))


@FAULTS.add("signature", "red", "its form arrives changed", "body on as it is")
def _proxy_changes_the_form(world: World) -> None:
    behave(world, alter_body=lambda body: body.replace(b"doctor", b"d0ct0r"))


@FAULTS.add("signature", "red", "the web process has PUBLIC_BASE_URL=https://old.example.com", "same PUBLIC_BASE_URL")
def _web_process_has_another_public_url(world: World) -> None:
    theirs = SimpleNamespace(
        PUBLIC_BASE_URL="https://old.example.com", TWILIO_AUTH_TOKENS=world.settings.TWILIO_AUTH_TOKENS
    )
    world.monkeypatch.setattr(signatures, "settings", theirs)
    world.monkeypatch.setattr(callbacks, "settings", theirs)


@FAULTS.add("signature", "red", "another TWILIO_ACCOUNT_SID or TWILIO_AUTH_TOKEN", "Restart the web process")
def _web_process_has_an_old_token(world: World) -> None:
    theirs = SimpleNamespace(PUBLIC_BASE_URL=world.settings.PUBLIC_BASE_URL, TWILIO_AUTH_TOKENS=["the-old-token"])
    world.monkeypatch.setattr(signatures, "settings", theirs)
    world.monkeypatch.setattr(public, "account_marks", lambda: ["of the new token"])


@FAULTS.add("signature", "red", "what answers is not this deployment", "SECRET_KEY")
def _another_deployment_answers(world: World) -> None:
    world.monkeypatch.setattr(signatures, "settings", SimpleNamespace(PUBLIC_BASE_URL="x", TWILIO_AUTH_TOKENS=["x"]))
    world.monkeypatch.setattr(callbacks.echoes, "valid_echo_token", lambda token: False)


@FAULTS.add("signature", "red", "a wrongly signed request is accepted", "Something else")
def _everything_is_accepted(world: World) -> None:
    behave(world, alter=answer("204 No Content"))


@FAULTS.add("signature", "red", "TWILIO_AUTH_TOKEN is not set", "primary token")
def _no_token_is_set(world: World) -> None:
    world.settings.TWILIO_AUTH_TOKENS = []


# --- The media socket --------------------------------------------------------------------------------------


@FAULTS.add("websocket", "red", "31920, HTTP 404", "Upgrade and Connection")
def _proxy_drops_the_upgrade(world: World) -> None:
    behave(world, alter=without("upgrade"))


@FAULTS.add("websocket", "red", "31920, HTTP 426", "Upgrade and Connection")
def _proxy_speaks_http_1_0(world: World) -> None:
    behave(world, alter=answer("426 Upgrade Required", to="Upgrade"))


@FAULTS.add("websocket", "red", "it is redirected", "Twilio follows none")
def _upgrade_is_redirected(world: World) -> None:
    behave(world, alter=answer("302 Found", "Location: https://phone.example.com/login", to="Upgrade"))


@FAULTS.add("websocket", "red", "refuses it", "X-Twilio-Signature")
def _proxy_removes_the_signature_of_the_upgrade(world: World) -> None:
    behave(world, alter=without("x-twilio-signature"))


@FAULTS.add("websocket", "red", "31924", "Turn off compression")
def _tunnel_compresses_what_was_not_offered(world: World) -> None:
    extension = b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    behave(world, alter_answer=lambda answer: answer.replace(b"\r\n\r\n", extension, 1))


@FAULTS.add("websocket", "red", "frames do not come back", "keep the socket open")
def _proxy_ends_the_socket(world: World) -> None:
    behave(world, ends_sockets=True)


@FAULTS.add("websocket", "yellow", "in bunches", "buffering")
def _proxy_collects_frames(world: World) -> None:
    behave(world, holds_answers=True)


@FAULTS.add("websocket", "red", "31902", "WebSocket upgrades")
def _nothing_listens_for_the_socket(world: World) -> None:
    world.deployment.connect_to = "127.0.0.1", reserve_port()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_one_line_says_what_to_do(fault: Fault, world: World, line: Line):
    assert_found(fault, world)


@pytest.mark.parametrize("name", ["dns", "tls", "http", "signature", "websocket"])
def test_a_healthy_public_address_is_green(name: str, world: World, line: Line, monkeypatch):
    monkeypatch.setattr(media_path, "BUNCHED", 60.0)
    result = look(name, world.deployment)
    assert {one.level for one in result.findings} == {"green"}, lines(result)


def test_a_web_process_that_loads_its_engines_is_waited_for(world: World, line: Line, monkeypatch):
    monkeypatch.setattr(public, "LOOK_AGAIN", 0.01)
    said = ["engines are loading", "engines are loading"]
    world.request.addfinalizer(readiness.add_readiness_check(lambda: said.pop() if said else ""))
    assert look("http", world.deployment).level == "green"


def test_the_application_may_be_below_a_path(world: World, line: Line):
    world.settings.PUBLIC_BASE_URL = "https://phone.example.com/voice"
    behave(world, alter=replace(" /voice/", " /"))
    assert [look(name, world.deployment).level for name in ("http", "signature")] == ["green", "green"]


def test_both_tokens_of_a_rotation_are_tried(world: World, line: Line):
    world.settings.TWILIO_AUTH_TOKENS = ["the-new-token", "the-old-token"]
    texts = [one.text for one in look("signature", world.deployment).findings]
    assert texts[0].startswith("a request signed with token 1 of 2 is accepted")
    assert texts[1].startswith("a request signed with token 2 of 2 is accepted")


def test_a_laptop_without_tls_is_yellow(world: World):
    world.settings.SIMULATED, world.settings.PUBLIC_BASE_URL = True, "http://127.0.0.1:8000"
    assert [look(name).level for name in ("dns", "tls")] == ["yellow", "yellow"]
