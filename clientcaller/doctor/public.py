"""Checks of the public address as Twilio will see it: the name, TLS, HTTP, the signature and the media socket."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from twilio.request_validator import RequestValidator

from calls.echoes import account_marks, make_echo_token
from clientcaller.doctor.certificates import judge_certificate
from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.http import Answer, request
from clientcaller.doctor.registry import Finding, check, green, red, yellow

VOICE = "/twilio/voice/"
HARMLESS = "/twilio/stream-status/"
"""The callback that changes nothing when it is about a call that nobody knows."""
UNKNOWN_CALL = "CA" + "0" * 32
LOADING, LOOK_AGAIN = 20.0, 1.0
"""Seconds for which a web process that has just begun may load its engines, and between two looks."""
SLOW = 1.0
"""Seconds for an answer: a caller hears ringing for so long, or silence."""


# --- The name ----------------------------------------------------------------------------------------------


@check("dns", about="the public name has an address that Twilio reaches")
def check_dns(deployment: Deployment) -> Iterator[Finding]:
    host = deployment.host
    try:
        addresses = resolve(host)
    except OSError as error:
        text = f"the name {host} has no address: {error.strerror or error}"
        yield red(text, "Make an A record for it at its name server, or correct PUBLIC_BASE_URL.")
        return
    deployment.resolved = addresses
    private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
    shown = ", ".join(addresses[:4])
    if private and deployment.is_simulated:
        yield yellow(
            f"{host} is {shown}: only this machine or its network reaches it", "The simulated network does too."
        )
    elif private:
        text = f"{host} is {private[0]} here, which Twilio does not reach"
        yield red(text, "Let its A record name the public address. If only this machine sees this one: --skip dns.")
    elif all(":" in address for address in addresses):
        yield red(f"{host} has IPv6 addresses only ({shown})", "Add an A record: Twilio connects by IPv4.")
    else:
        yield green(f"{host} is {shown}")


def resolve(host: str) -> list[str]:
    """All addresses of a name, as this machine resolves it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


# --- TLS ---------------------------------------------------------------------------------------------------


@check("tls", about="the certificate and its chain", needs=("dns",), limit=40.0)
def check_tls(deployment: Deployment) -> Iterator[Finding]:
    if not deployment.is_secure:
        if deployment.is_simulated:
            yield yellow("PUBLIC_BASE_URL has no TLS", "The simulated network needs none; Twilio opens wss only.")
        else:
            yield red("PUBLIC_BASE_URL has no TLS, and Twilio opens wss only", "Put Caddy or another proxy before it.")
        return
    host, port = deployment.target
    try:
        yield from judge_certificate(deployment)
    except ssl.SSLError as error:
        text = f"the server at {host}:{port} does not speak TLS: {(error.reason or str(error)).lower()}"
        yield red(text, "Let the proxy end TLS 1.2 or 1.3 at this port (Twilio's error 11220).")
    except OSError as error:
        yield _no_connection(deployment, error)


def _no_connection(deployment: Deployment, error: OSError) -> Finding:
    host, port = deployment.target
    reason = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
    remedy = (
        f"Start the proxy, and open port {port} in the firewall. If only this machine cannot connect: --connect-to."
    )
    return red(f"no connection to {host}:{port}: {reason}", remedy)


# --- HTTP --------------------------------------------------------------------------------------------------


@check("http", about="requests reach the web process without a redirect", needs=("tls",), limit=40.0)
def check_http(deployment: Deployment) -> Iterator[Finding]:
    try:
        health = request(deployment, "GET", "/healthz")
    except OSError as error:
        yield _no_connection(deployment, error)
        return
    except http.client.HTTPException as error:
        text = f"what answers does not speak HTTP: {type(error).__name__}"
        yield red(text, "Correct the proxy or PUBLIC_BASE_URL (Twilio's error 11206).")
        return
    if health.status != 200 or not health.body.startswith("ok"):
        yield explain("/healthz", health)
        return
    if health.seconds > SLOW:
        yield yellow(
            f"/healthz answers after {health.seconds:.1f} s", "Look at the load of the web process and the proxy."
        )
    else:
        yield green(f"/healthz answers within {1000 * health.seconds:.0f} ms")
    for path in (VOICE, VOICE.rstrip("/")):
        answer = request(deployment, "GET", path)
        if answer.status == 405:  # only POST is answered there
            yield green(f"{path} reaches the application")
        else:
            yield explain(path, answer)
    problems = _read_problems(deployment)
    patience = time.monotonic() + LOADING
    while problems and all("loading" in one for one in problems) and time.monotonic() < patience:
        time.sleep(LOOK_AGAIN)
        problems = _read_problems(deployment)
    if problems:
        text = f"the web process takes no calls: {'; '.join(problems)}"
        yield red(text, "Wait until it has loaded its engines, or look at its log.")


def _read_problems(deployment: Deployment) -> list[str]:
    """What keeps the web process from taking calls, by ``/readyz``; nothing if the proxy does not pass that on."""
    try:
        return [str(one) for one in json.loads(request(deployment, "GET", "/readyz").body)["problems"]]
    except (ValueError, KeyError, TypeError):
        return []


def explain(path: str, answer: Answer) -> Finding:
    """Say what an unexpected answer means."""
    status = answer.status
    if 300 <= status < 400:
        text = f"{path} is redirected to {answer.location[:100]} (HTTP {status}), where a POST loses its signature"
        if urlsplit(answer.location).hostname not in (None, urlsplit(settings.PUBLIC_BASE_URL).hostname):
            return red(text, "Set PUBLIC_BASE_URL and the number's webhooks to that host, or end the redirect.")
        return red(text, "End the redirect in the proxy: pass the path on as it is, with and without its slash.")
    if status == 400 and "host name" in answer.body:
        text = f"the web process does not answer to the Host that arrives with {path}"
        return red(text, "Let the proxy pass the Host header on as it is, or add that name to ALLOWED_HOSTS.")
    if status in (401, 407):
        return red(f"{path} asks for a login (HTTP {status})", "Except /twilio/ from the login of the proxy or tunnel.")
    if status == 403:
        text = f"{path} is forbidden (HTTP 403) by what is before the web process"
        return red(text, "Except /twilio/ from the firewall's rules: Twilio has no fixed addresses.")
    if status == 404:
        text = f"{path} is not found: {answer.first_words!r}"
        return red(text, "Let the proxy or tunnel pass every path on, unchanged, to this application.")
    if status in (502, 503, 504) or status >= 500:
        text = f"the proxy gets no answer from the web process (HTTP {status} for {path})"
        return red(text, "Start the web process (make serve), and correct the port to which the proxy connects.")
    text = f"another server answers {path} (HTTP {status}): {answer.first_words!r}"
    return red(text, "Let the name and the proxy lead to this application, without a page of the tunnel before it.")


# --- The signature -----------------------------------------------------------------------------------------


def sign(url: str, form: dict[str, str], token: str) -> str:
    """What Twilio sends as ``X-Twilio-Signature``."""
    return str(RequestValidator(token).compute_signature(url, form))


def post_signed(deployment: Deployment, token: str, *, wrongly: bool = False) -> Answer:
    """Send a callback about a call that nobody knows, signed as Twilio does."""
    path = f"{HARMLESS}?stream=1"
    form = {
        "AccountSid": settings.TWILIO_ACCOUNT_SID,
        "CallSid": UNKNOWN_CALL,
        "StreamEvent": "doctor",
        "StreamSid": "MZ" + "0" * 32,
    }
    signature = sign(deployment.public_url + path, form, token)
    if wrongly:
        signature = sign(deployment.public_url + path, form, token + "wrong")
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "X-Twilio-Signature": signature}
    return request(deployment, "POST", path, headers=headers, body=urlencode(form))


@check("signature", about="a signed request is accepted, and a wrongly signed one refused", needs=("http",), limit=40.0)
def check_signature(deployment: Deployment) -> Iterator[Finding]:
    tokens: list[str] = settings.TWILIO_AUTH_TOKENS
    if not tokens:
        yield red("TWILIO_AUTH_TOKEN is not set: every request of Twilio is refused", "Set it to the primary token.")
        return
    for number, token in enumerate(tokens, start=1):
        which = f" with token {number} of {len(tokens)}" if len(tokens) > 1 else ""
        answer = post_signed(deployment, token)
        if answer.status == 204:
            yield green(f"a request signed{which} is accepted after {1000 * answer.seconds:.0f} ms")
        elif answer.status == 403:
            yield from _why_refused(deployment, which)
        else:
            yield explain(HARMLESS, answer)
    answer = post_signed(deployment, tokens[0], wrongly=True)
    if answer.status == 403:
        yield green("a wrongly signed request is refused")
    elif answer.status == 204:
        text = "a wrongly signed request is accepted"
        yield red(text, "Something else than this application answers it: look at what the proxy connects to.")


def _why_refused(deployment: Deployment, which: str) -> Iterator[Finding]:
    """Find out by an echo what became of the request on its way."""
    path = f"/twilio/echo/{make_echo_token()}/?stream=1"
    headers = {"X-Twilio-Signature": "arrives"}
    answer = request(deployment, "GET", path, headers=headers)
    text = f"a request signed{which} is refused"
    try:
        seen = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        seen = None
    if seen is None:
        remedy = (
            "Restart the web process with the settings of this command: its SECRET_KEY or its version is another one."
        )
        yield red(f"{text}, and what answers is not this deployment", remedy)
    elif seen["path"] != path:
        arrived = seen["path"].replace(path.split("/")[3], "…")
        expected = path.replace(path.split("/")[3], "…")
        remedy = "Let it pass path, query and slash on as they are: Twilio signs the whole URL."
        yield red(f"{text}: the proxy changes {expected} to {arrived}", remedy)
    elif not seen["signature"]:
        yield red(f"{text}: the proxy removes the header X-Twilio-Signature", "Let it pass all headers on.")
    elif seen["public_base_url"] != deployment.public_url:
        remedy = "Give all processes the same PUBLIC_BASE_URL, and restart them."
        yield red(f"{text}: the web process has PUBLIC_BASE_URL={seen['public_base_url']}", remedy)
    elif seen["account"] != account_marks():
        remedy = "Restart the web process: a token that was changed holds from then on."
        yield red(f"{text}: the web process has another TWILIO_ACCOUNT_SID or TWILIO_AUTH_TOKEN", remedy)
    else:
        yield red(f"{text}: its form arrives changed", "Let the proxy pass the body on as it is.")
