"""
Typed readers of the environment, and the only module that reads it.

An empty variable counts as one that is not set. A value that cannot be used raises ``ImproperlyConfigured`` with a
message that names the variable, says what it is and what it may be.
"""

import base64
import ipaddress
import json
import math
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

names_read: set[str] = set()
"""Every variable that was asked for so far, set or not. A test holds that each is documented."""


def text(name: str, default: str = "") -> str:
    names_read.add(name)
    return os.environ.get(name, "").strip() or default


def choice(name: str, default: str, choices: Collection[str]) -> str:
    """The one of ``choices`` that the variable names, in upper or lower case."""
    value = text(name, default)
    for allowed in choices:
        if allowed.lower() == value.lower():
            return allowed
    raise ImproperlyConfigured(f'{name} is "{value}". Choose one of: {", ".join(choices)}.')


def flag(name: str, *, default: bool) -> bool:
    value = text(name)
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    if value:
        raise ImproperlyConfigured(f'{name} is "{value}". Set it to 1 or 0.')
    return default


def items(name: str) -> list[str]:
    """The parts of a comma-separated list, without empty ones."""
    return [item.strip() for item in text(name).split(",") if item.strip()]


def keys(name: str) -> list[bytes]:
    """The keys of 32 bytes of a comma-separated list, each in base64. No key is part of the message of an error."""
    found = []
    for number, item in enumerate(items(name), start=1):
        try:
            key = base64.b64decode(item, validate=True)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ImproperlyConfigured(
                f'Key {number} of {name} is not a key of 32 bytes in base64. Make one with "openssl rand -base64 32".'
            )
        found.append(key)
    return found


def hosts(name: str, default: str = "") -> list[str]:
    """Names of hosts, addresses and networks, each in the form in which it can be compared."""
    entries = items(name) or default.split(",")
    return [_host(name, entry) for entry in entries if entry]


def _host(name: str, entry: str) -> str:
    try:
        return str(ipaddress.ip_network(entry.strip("[]")))
    except ValueError:
        plain = entry.lower().rstrip(".")
    if not re.fullmatch(r"(?=.*[a-z])[\w-]+(\.[\w-]+)*", plain, re.ASCII):
        example = "crm.internal,10.20.0.0/16"
        raise ImproperlyConfigured(f'{name} has "{entry}". List names of hosts and networks, as in {example}.')
    return plain


def number(name: str, default: float, *, at_least: float, at_most: float = math.inf) -> float:
    value = text(name)
    try:
        parsed = float(value or default)
    except ValueError:
        parsed = math.nan
    if math.isfinite(parsed) and at_least <= parsed <= at_most:
        return parsed
    bounds = f"of at least {at_least:g}" if at_most == math.inf else f"from {at_least:g} to {at_most:g}"
    raise ImproperlyConfigured(f'{name} is "{value}". Set it to a number {bounds}.')


def whole_number(name: str, default: int, *, at_least: int) -> int:
    """A number, rounded down."""
    return int(number(name, default, at_least=at_least))


def json_object(name: str) -> dict[str, Any]:
    """The value is left out of the messages: it may hold the key of an engine."""
    try:
        value = json.loads(text(name, "{}"))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not valid JSON ({error}). Set it to a JSON object.") from None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"{name} is JSON, but not an object. Set it to a JSON object.")
    return value


def base_url(name: str, default: str) -> str:
    """An HTTP address without its last slash, to which paths are appended."""
    url = text(name, default).rstrip("/")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed bracket of an IPv6 address, or a port that is no number
        parts, has_host = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not has_host or parts.query or parts.fragment:
        raise ImproperlyConfigured(f'{name} is "{url}". Write it like https://phone.example.com, without a query.')
    return url


LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine, as they are written in a ``Host`` header."""


def host_of(url: str) -> str:
    """
    The host of an address as it is compared with a ``Host`` header: without its port and without a dot at its end.

    Django takes no underscore in a ``Host`` header, and Twilio none in an address.
    """
    host = urlsplit(url).hostname or ""
    if ":" in host:  # IPv6
        return f"[{host}]"
    try:
        host = host.rstrip(".").encode("idna").decode("ascii")
    except UnicodeError:
        host = ""
    if not re.fullmatch("[a-z0-9.-]+", host):
        raise ImproperlyConfigured(f'"{url}" has no valid host name. Write it like https://phone.example.com.')
    return host


def origin_of(url: str) -> str:
    """The scheme, host and port of an address as a browser writes them in an ``Origin`` header."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host_of(url)}{port}"


def folder(name: str, default: Path) -> Path:
    try:
        return Path(text(name) or default).expanduser().resolve()
    except RuntimeError:
        raise ImproperlyConfigured(f'{name} is "{text(name)}", but that user has no home. Write it out.') from None


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of the database at a URL. The message leaves the URL out: it may hold a password."""
    try:
        return dict(dj_database_url.parse(text(name, default)))
    except ValueError:
        example = "postgres://user:password@db.example.com/calls"
        raise ImproperlyConfigured(f"{name} is not the URL of a database. Write it like {example}.") from None
