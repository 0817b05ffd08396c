"""Asks a hub for a file over HTTP: redirects, the published digest, time-outs, and refusals in words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from inference.models.digests import Digest, published
from inference.types import EngineError

MAX_REDIRECTS = 10
USER_AGENT = "clientcaller"
REDIRECTS = (301, 302, 303, 307, 308)
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Interrupted(EngineError):
    """The download may continue later. ``retry_after`` is how many seconds the server wants to be left alone."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RangeRefused(EngineError):
    """The server has no bytes for the part that is here: it is whole, or not of this file. ``size`` is the file's."""

    def __init__(self, message: str, *, size: int | None) -> None:
        super().__init__(message)
        self.size = size


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a server answered to the request for a file.

    ``offset`` is where its body begins in the file and ``size`` how many bytes the whole file has, if it says so.
    ``digest`` and ``commit`` are what the hub publishes of the file, and ``etag`` is the tag of the body's own server.
    """

    body: HTTPResponse
    offset: int
    size: int | None
    digest: Digest | None
    commit: str
    etag: str


@dataclass(frozen=True, slots=True)
class Hub:
    """
    A hub and how it is asked. ``token`` is sent to ``address`` and to no other host.

    ``stall`` is how many seconds may pass without a byte.
    """

    address: str
    token: str = ""
    stall: float = 30.0

    def __post_init__(self) -> None:
        if not all("!" <= character <= "~" for character in self.token):
            raise EngineError(
                "MODELS_TOKEN has a character that no token has, such as a line end, a space or a typographic quotation"
                " mark: copy it once more",
                permanent=True,
            )

        try:
            _origin(self.address)
        except ValueError as error:
            raise EngineError(f"MODELS_HUB is {self.address!r}, which is no address: {error}", permanent=True) from None

    def ask(self, url: str, *, offset: int = 0, etag: str = "") -> Answer:
        """
        Request the bytes of a file from ``offset`` on, if it still has this entity tag; otherwise all of them.

        Blocks until the headers are there. Raises ``Interrupted`` for what may pass, ``RangeRefused``, and a permanent
        ``EngineError`` for what will not.
        """
        opener = build_opener(_NoRedirects)
        found: Mapping[str, str] = {}
        asked = url
        for _ in range(MAX_REDIRECTS):
            try:
                request = Request(asked, headers=self._headers(asked, offset, etag))
                response = opener.open(request, timeout=self.stall)
            except HTTPError as error:
                with error:
                    if error.code not in REDIRECTS or not error.headers.get("Location"):
                        raise self._refusal(error, asked, ranged=offset > 0) from None
                    found = self._published(error.headers, asked, found)
                    asked = _redirected(asked, error)
                continue
            except (URLError, OSError) as error:
                raise _unreachable(asked, error) from error
            except (InvalidURL, ValueError) as error:
                raise EngineError(f"{asked} is no address that can be asked: {error}.", permanent=True) from error
            except HTTPException as error:
                raise _unreachable(asked, error) from error
            return _answer(response, self._published(response.headers, asked, found), asked)
        raise EngineError(f"{url} redirects more than {MAX_REDIRECTS} times.", permanent=True)

    def _headers(self, url: str, offset: int, etag: str) -> dict[str, str]:
        # Compressed bytes would have another length and digest.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if self.token and _origin(url) == _origin(self.address):
            headers["Authorization"] = f"Bearer {self.token}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag and not etag.startswith("W/"):
                headers["If-Range"] = etag
        return headers

    def _published(self, headers: Message, url: str, found: Mapping[str, str]) -> Mapping[str, str]:
        """
        What the hub itself says of the file. The host to which it redirects has other tags and is not believed.

        Neither is a plain web server in the hub's place, as a mirror may be: its tag need not be a digest, however it
        looks.
        """
        if _origin(url) != _origin(self.address):
            return found
        commit, linked = headers.get("X-Repo-Commit") or "", headers.get("X-Linked-ETag") or ""
        here = {
            "etag": linked or (commit and headers.get("ETag")) or "",
            "size": headers.get("X-Linked-Size") or "",
            "commit": commit,
        }
        return {**here, **{name: value for name, value in found.items() if value}}

    def _refusal(self, error: HTTPError, url: str, *, ranged: bool) -> EngineError:
        code, reason = error.code, error.headers.get("X-Error-Message") or error.reason
        if code == 416 and ranged:
            return RangeRefused(f"{url} has no such range.", size=_total(error.headers.get("Content-Range")))
        if code in (401, 403):
            advice = (
                "The token in MODELS_TOKEN is not accepted for it: check that it is valid and that its owner has "
                "accepted the model's terms."
                if self.token
                else "If it is open to registered users only, accept its terms at the hub and set MODELS_TOKEN to an "
                "access token."
            )
            return EngineError(f"{url} is not open to us (HTTP {code}: {reason}). {advice}", permanent=True)
        if code == 404:
            return EngineError(
                f"{url} does not exist (HTTP 404). Is MODELS_HUB the right address, and has it this repository?",
                permanent=True,
            )
        if code in TRY_AGAIN:
            return Interrupted(
                f"{url} is not available now (HTTP {code}: {reason}).",
                retry_after=_seconds(error.headers.get("Retry-After")),
            )
        return EngineError(f"{url} was refused (HTTP {code}: {reason}).", permanent=True)


def read(body: HTTPResponse, url: str, size: int) -> bytes:
    """The next bytes of an answer, at most ``size``; none at its end. Raises ``Interrupted``."""
    try:
        return body.read1(size)
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error


class _NoRedirects(HTTPRedirectHandler):
    """Leaves redirects to ``Hub.ask``, which must see the headers of each, and may not pass the token on."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> None:
        return None  # it becomes an HTTPError

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_IN_ADDRESSES = "%/:?#[]@!$&'()*+,;=~"
"""What need not be quoted in an address beside letters, digits and ``_.-`` (RFC 3986)."""


def _redirected(url: str, error: HTTPError) -> str:
    # Headers are read as Latin-1, and many servers send the address as it is, in UTF-8 and with blanks.
    location = quote(str(error.headers["Location"]).strip().encode("latin-1", "replace"), safe=_IN_ADDRESSES)
    try:
        new = urljoin(url, location)
        schemes, host = (urlsplit(url).scheme, urlsplit(new).scheme), _origin(new)[1] or ""
    except ValueError:
        host = "%"
    if "%" in host:
        message = f"{url} redirects to {location}, which is no address. It was not followed."
        raise EngineError(message, permanent=True) from None
    if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
        raise EngineError(f"{url} redirects to {new}, which is not encrypted. It was not followed.", permanent=True)
    return new


def _answer(response: HTTPResponse, found: Mapping[str, str], url: str) -> Answer:
    offset, length = 0, response.headers.get("Content-Length")
    size = _number(length)
    encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        response.close()
        raise EngineError(
            f"{url} is sent compressed ({encoding}), which was not asked for. It was not downloaded.", permanent=True
        )
    if response.status == 206:
        first, _, rest = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")
        size = _total(rest)
        begins = _number(first)
        if begins is None:
            response.close()
            raise Interrupted(f"{url} sent a part of the file without saying which.")
        offset = begins
    elif response.status != 200:
        response.close()
        raise EngineError(f"{url} answered HTTP {response.status} without the file.", permanent=True)
    if (published_size := _number(found.get("size"))) is not None:
        size = published_size
    return Answer(
        body=response,
        offset=offset,
        size=size,
        digest=published(found.get("etag")),
        commit=found.get("commit", ""),
        etag=response.headers.get("ETag") or "",
    )


def _total(content_range: str | None) -> int | None:
    return _number((content_range or "").rpartition("/")[2])


def _number(digits: str | None) -> int | None:
    """The number of bytes that a header has; None if it is no such number. Python refuses thousands of digits."""
    return int(digits) if digits and digits.isdecimal() and len(digits) < 19 else None


def _seconds(retry_after: str | None) -> float:
    """A date is not understood: the usual wait is good enough."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _unreachable(url: str, error: Exception) -> EngineError:
    cause = error.reason if isinstance(error, URLError) else error
    host = urlsplit(url).netloc
    if isinstance(cause, ssl.SSLCertVerificationError):
        return EngineError(f"The certificate of {host} is not trusted: {cause.verify_message}.", permanent=True)
    if isinstance(cause, TimeoutError):
        return Interrupted(f"{host} has sent nothing for a while.")
    if isinstance(cause, socket.gaierror):
        return Interrupted(f"The name {host} cannot be found ({cause.strerror}). Is there a network?")
    return Interrupted(f"The connection to {host} failed: {cause or type(cause).__name__}.")
