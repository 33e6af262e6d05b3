"""TLS for the fronts: the coordinator's certificate, ones that hold at other times, and silos' to the relay."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.consortium.certificates import key_to_pem, new_key, read_certificate

HOST = "127.0.0.1"


def shown(relay: Path, *, asking: Path | None = None) -> ssl.SSLContext:
    """The coordinator's own certificate.

    Args:
        asking: the authority whose certificates clients must bear, for gRPC; without one, for HTTP.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(relay / "certificate.pem", relay / "key.pem")
    if asking is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asking)
        context.set_alpn_protocols(["h2"])
    return context


def as_silo(tls: tuple[bytes, bytes, bytes], folder: Path) -> ssl.SSLContext:
    """To the relay with a silo's certificate, key and authority (PEM)."""
    certificate, key, authority = tls
    context = ssl.create_default_context(cadata=authority.decode())
    _load(context, certificate, key, folder)
    context.set_alpn_protocols(["h2"])
    return context


def made(root: bytes, root_key: ec.EllipticCurvePrivateKey, days: tuple[int, int], folder: Path) -> ssl.SSLContext:
    """A certificate of the consortium's authority for this host, from and until so many days after now."""
    key, now = new_key(), datetime.datetime.now(tz=datetime.UTC)
    issuer = read_certificate(root)
    name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        .add_extension(name, False)
        .sign(root_key, SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, signed.public_bytes(Encoding.PEM), key_to_pem(key), folder)
    return context


def serial_of(certificate: bytes) -> int:
    """The serial number of a certificate (DER)."""
    return x509.load_der_x509_certificate(certificate).serial_number


def serial(path: Path) -> int:
    """That of one in a PEM file."""
    return read_certificate(path.read_bytes()).serial_number


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes, folder: Path) -> None:
    # ssl reads files only; this one is the owner's alone and gone at once.
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)
