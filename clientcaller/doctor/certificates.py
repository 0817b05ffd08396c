"""Judges the certificate of the public address, and the chain that the server sends with it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from clientcaller.doctor.deployment import Deployment
from clientcaller.doctor.http import TIMEOUT
from clientcaller.doctor.registry import Finding, green, red, yellow

LATE = 0.2
"""The share of its life that is left of a certificate when it should long have been renewed: Caddy does at 0.33."""
NOT_YET_VALID, EXPIRED, SELF_SIGNED, SELF_SIGNED_ROOT, NO_ISSUER, NO_LEAF_ISSUER, OTHER_NAME, OTHER_ADDRESS = (
    9, 10, 18, 19, 20, 21, 62, 64,
)  # fmt: skip
"""Codes of OpenSSL for a certificate that is not accepted (X509_V_ERR_…)."""


def judge_certificate(deployment: Deployment) -> Iterator[Finding]:
    """
    Connect, and say what is wrong with the certificate or when it ends.

    Raises ``OSError``, and of it ``ssl.SSLError`` if there is no TLS at all.
    """
    try:
        with _connect(deployment, deployment.tls) as connection:
            leaf = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
            version = connection.version()
    except ssl.SSLCertVerificationError as error:
        yield _explain(deployment, error)
        return
    left, life = leaf.not_valid_after_utc - datetime.now(UTC), leaf.not_valid_after_utc - leaf.not_valid_before_utc
    issuer = _name(leaf.issuer)
    text = (
        f"{version}, the certificate of {issuer} holds for {left.days} days, until {leaf.not_valid_after_utc:%d %b %Y}"
    )
    if left < LATE * life:
        yield yellow(text, "It should have been renewed by now: look at the log of the proxy (ACME).")
    else:
        yield green(text)


def _connect(deployment: Deployment, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(deployment.target, TIMEOUT)
    try:
        return context.wrap_socket(plain, server_hostname=deployment.host)
    except BaseException:
        plain.close()
        raise


def _explain(deployment: Deployment, error: ssl.SSLCertVerificationError) -> Finding:
    """Say why the certificate is not accepted, by what the server sends."""
    host = deployment.host
    chain = _chain(deployment)
    leaf = chain[0] if chain else None
    code = error.verify_code
    if code == EXPIRED:
        ended = [one for one in chain if one.not_valid_after_utc < datetime.now(UTC)]
        which = (
            "the certificate"
            if not ended or ended[0] is leaf
            else f"the certificate of the issuer {_name(ended[0].subject)}"
        )
        when = f" on {ended[0].not_valid_after_utc:%d %b %Y}" if ended else ""
        return red(f"{which} has expired{when}", "Renew it, and let the proxy load it (Twilio's error 11236).")
    if code == NOT_YET_VALID:
        return red("the certificate is not valid yet", "Set the clock of this machine, or wait until it is.")
    if code in (OTHER_NAME, OTHER_ADDRESS):
        names = ", ".join(_names(leaf)[:3]) if leaf else "another name"
        return red(
            f"the certificate is for {names} and not for {host}", "Get one for this name (Twilio's error 11235)."
        )
    if code in (SELF_SIGNED, SELF_SIGNED_ROOT):
        signer = _name(chain[-1].issuer) if chain else "itself"
        text = f"the certificate is signed by {signer}, which Twilio does not trust"
        return red(text, "Get one from a public authority, such as Let's Encrypt; Caddy does by itself.")
    if code in (NO_ISSUER, NO_LEAF_ISSUER):
        issuer = _name(chain[-1].issuer) if chain else "its issuer"
        text = f"the chain is incomplete: the certificate of {issuer} is not sent"
        remedy = "Give the proxy the full chain (fullchain.pem and not cert.pem; Twilio's error 11237)."
        return red(text, f"{remedy} For an authority of your own: --ca-file.")
    return red(f"the certificate is not accepted: {error.verify_message}", "Get a new one from a public authority.")


def _chain(deployment: Deployment) -> list[x509.Certificate]:
    """The certificates that the server sends, its own first; none if they cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to look at them; nothing is sent
    try:
        with _connect(deployment, context) as connection:
            leaf = connection.getpeercert(binary_form=True) or b""
            # Python 3.11 has the chain, but no public name for it.
            read: Any = getattr(connection._sslobj, "get_unverified_chain", None)  # type: ignore[attr-defined]
            sent = [one.public_bytes() for one in read() or ()] if read else []
    except (OSError, AttributeError):
        return []
    found = [x509.load_pem_x509_certificate(one.encode()) for one in sent if isinstance(one, str)]
    return found or [x509.load_der_x509_certificate(leaf)]


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if values := name.get_attributes_for_oid(kind):
            return str(values[0].value)
    return name.rfc4514_string() or "an unknown issuer"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [_name(certificate.subject)]
    return [str(name.value) for name in alternative]
