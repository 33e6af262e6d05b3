"""The files that prove who is who on the wire: an own certificate with its key, and the consortium's authority."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import ConfigError

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: own certificate (chain), its private key, and the certificates that sign the other side's."""

    certificate: Path
    key: Path
    authority: Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Certificate, key and authority.

        Raises:
            ConfigError: one cannot be read, or is no PEM file.
        """
        certificate, key, authority = (_pem(path) for path in (self.certificate, self.key, self.authority))
        try:
            spki_of(certificate)
        except ValueError as error:
            raise ConfigError(
                f"{self.certificate} holds no certificate", remedy="name a PEM file with an X.509 certificate"
            ) from error
        return certificate, key, authority


def spki_of(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate's SubjectPublicKeyInfo (RFC 5280), 64 hexadecimal digits.

    It stays the same when a certificate is renewed with the same key.

    Raises:
        ValueError: it is no certificate.
    """
    key = x509.load_pem_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", remedy="check the path") from error
    if len(content) > _MAX_BYTES or b"-----BEGIN " not in content:
        raise ConfigError(f"{path} is no PEM file", remedy="name a file that begins with -----BEGIN")
    return content
