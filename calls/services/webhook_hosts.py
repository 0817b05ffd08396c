"""
The hosts that webhooks may be sent to: those on the internet, and those that ``WEBHOOK_ALLOWED_HOSTS`` names.

Whoever may register a webhook could otherwise have this server send requests to services that only it can reach: its
own, its neighbours', or the one that hands out a machine's credentials. All addresses of a host are checked, when the
webhook is saved and again before each connection, which then goes to an address that was checked.
"""

import asyncio
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings

logger = logging.getLogger(__name__)

LOOKUP = 3.0
"""Seconds for looking up a host while a person waits for the answer. Name servers answer within a few tenths."""
_lookups = threading.BoundedSemaphore(8)
"""Room for such look-ups: names whose server never answers must not fill the process with waiting threads."""

_UNICAST = IPv6Network("2000::/3")
"""All addresses of IPv6 that are assigned on the internet. Python calls some others global, such as ``fec0::/10``."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""Holds an IPv4 address. Name servers of networks with IPv6 only answer with it for hosts that have IPv4 only."""
_NOT_INTERNET: list[IPv4Network | IPv6Network] = [
    IPv4Network("192.0.0.0/24"),  # protocols; a service of each machine at Oracle
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("168.63.129.16/32"),  # the platform service of each machine at Azure
    IPv6Network("2002::/16"),  # 6to4, which holds any IPv4 address
    IPv6Network("2001::/23"),  # Teredo, which does too, and other special purposes
    IPv6Network("3fff::/20"),  # documentation
]
"""What Python 3.11 calls global although no receiver of webhooks on the internet has such an address."""

Address = IPv4Address | IPv6Address


class HostNotAllowed(OSError):
    """Nothing may be sent to a host. The message is for the operator's log, and not for whoever named the host."""


def is_on_internet(address: Address) -> bool:
    """Whether an address is one that anybody on the internet could send to."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_on_internet(address.ipv4_mapped)
        if address in _NAT64:
            return is_on_internet(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_INTERNET)


def is_allowed_by_name(host: str) -> bool:
    """Whether the operator allows every address of a host."""
    allowed: list[str] = settings.WEBHOOK_ALLOWED_HOSTS
    return host.lower().rstrip(".") in allowed


def check_addresses(host: str, addresses: Iterable[str]) -> None:
    """Raise ``HostNotAllowed`` unless events may be sent to all ``addresses`` of a host."""
    if is_allowed_by_name(host):
        return
    allowed = [ipaddress.ip_network(entry) for entry in settings.WEBHOOK_ALLOWED_HOSTS if _is_network(entry)]
    for text in addresses:
        address = ipaddress.ip_address(text)
        if not (is_on_internet(address) or any(address in network for network in allowed)):
            raise HostNotAllowed(f"its address {address} is not on the internet, and WEBHOOK_ALLOWED_HOSTS lacks it")


def is_reachable(host: str, port: int) -> bool:
    """Look a host up, for ``LOOKUP`` seconds at most. Whether events may be sent to it."""
    if not _lookups.acquire(timeout=LOOKUP):
        return False
    found = _look_up(host, port)
    found.add_done_callback(lambda _: _lookups.release())  # also if no thread could be started
    try:
        check_addresses(host, [address for _, address in found.result(LOOKUP)])
    except (OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: no name at all
        logger.info("Refused a webhook to %s: %s", host, error or f"it could not be looked up within {LOOKUP:g} s")
        return False
    return True


class CheckedResolver(AbstractResolver):
    """Looks up hosts for aiohttp and checks their addresses. ``make_socket`` then connects to no other ones."""

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def check_literal(self, host: str) -> None:
        """Check a host that is an address, which aiohttp does not look up."""
        with suppress(ValueError):
            address = str(ipaddress.ip_address(host))
            self._check(host, [address])

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.wrap_future(_look_up(host, port, family))
        self._check(host, [address for _, address in found])
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in found
        ]

    def _check(self, host: str, addresses: list[str]) -> None:
        try:
            check_addresses(host, addresses)
        except HostNotAllowed as error:
            logger.warning("Nothing was sent to the webhook at %s: %s", host, error)
            raise
        self._checked.update(addresses)

    def make_socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if str(ipaddress.ip_address(address[0])) not in self._checked:
            raise HostNotAllowed(f"{address[0]} was not checked")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is open."""


_Found = list[tuple[socket.AddressFamily, str]]


def find_addresses(host: str, port: int, family: int = socket.AF_UNSPEC) -> _Found:
    infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [(kind, str(ipaddress.ip_address(address[0]))) for kind, *_, address in infos]


def _look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> "Future[_Found]":
    """
    Look up a host in a thread of its own. A name server that never answers holds up that thread and nothing else:
    neither other look-ups, which would wait for a free thread of a pool, nor the end of the process.

    Raises nothing: all errors are the future's.
    """
    future: Future[_Found] = Future()
    future.set_running_or_notify_cancel()  # from here on it can be given its result, even if nobody waits any more

    def run() -> None:
        try:
            found = find_addresses(host, port, family)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(found)

    try:
        threading.Thread(target=run, name=f"look-up of {host}", daemon=True).start()
    except RuntimeError as error:
        future.set_exception(OSError(f"no thread could be started to look it up: {error}"))
    return future


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
