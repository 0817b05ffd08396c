"""Certificates of all kinds, good and bad, of an authority of the tests with an intermediate one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "phone.example.com"
PEM = serialization.Encoding.PEM
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


class Authority:
    """``file`` has the root alone, as the machines that trust it have it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = self._make("Root of the tests", None, days=(-100, 1000), is_authority=True)
        self.intermediate = self._make("Intermediate of the tests", self.root, days=(-100, 500), is_authority=True)
        self.file = folder / "root.pem"
        self.file.write_bytes(self.root[0].public_bytes(PEM))

    def context(
        self,
        name: str = HOST,
        *,
        days: tuple[float, float] = (-10, 80),
        complete: bool = True,
        self_signed: bool = False,
        old_intermediate: bool = False,
    ) -> ssl.SSLContext:
        """What a server needs for a certificate that is valid from and to so many days from now."""
        issuer = self.intermediate
        if old_intermediate:
            issuer = self._make("Old intermediate", self.root, days=(-100, -1), is_authority=True)
        leaf = self._make(name, None if self_signed else issuer, days=days)
        file = self._folder / f"{name}-{leaf[0].serial_number}.pem"
        chain = [leaf[0]] if self_signed or not complete else [leaf[0], issuer[0]]
        key = leaf[1].private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(key + b"".join(one.public_bytes(PEM) for one in chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _make(self, name: str, issuer: Pair | None, *, days: tuple[float, float], is_authority: bool = False) -> Pair:
        now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signing = issuer[1] if issuer else key
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(signing, hashes.SHA256()), key
