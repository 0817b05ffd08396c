"""What the checks know of the deployment that they look at: its public address, and how to reach it."""

from __future__ import annotations

import ssl
from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from calls.numbers import canonical

MOST_SHOWN = 3
"""Digits of a number that are shown at its end."""


@dataclass
class Deployment:
    """The deployment of these settings."""

    ca_file: Path | None = None
    """A file of certificates that are trusted beside those of this machine."""
    connect_to: tuple[str, int] | None = None
    """Where to connect in place of the public address, for a machine that does not reach its own."""
    resolved: list[str] = field(default_factory=list)
    """The addresses of the public host, once the check ``dns`` has run."""

    @property
    def public_url(self) -> str:
        url: str = settings.PUBLIC_BASE_URL
        return url

    @property
    def host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    @property
    def path(self) -> str:
        """The path below which the application is, if the public address has one."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def is_secure(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"

    @property
    def port(self) -> int:
        return urlsplit(self.public_url).port or (443 if self.is_secure else 80)

    @property
    def target(self) -> tuple[str, int]:
        """The host and port to which connections are made."""
        return self.connect_to or (self.host, self.port)

    @property
    def is_simulated(self) -> bool:
        """Whether no account is set, so that the simulated network takes Twilio's place."""
        simulated: bool = settings.SIMULATED
        return simulated

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Trusts what this machine does, and ``ca_file``."""
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        return context


def masked(number: str) -> str:
    """A telephone number of which only the end is shown."""
    number = canonical(number)
    return f"…{number[-MOST_SHOWN:]}" if len(number) > MOST_SHOWN + 2 else "…"


def address(text: str) -> tuple[str, int]:
    """A host and a port on the command line."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ArgumentTypeError(f"write it as HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)
