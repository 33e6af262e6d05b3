"""Throw-away certificates: an authority, and who it signs for."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from common.storage import write_bytes
from common.transport.tls import TlsFiles, spki_of


class Authority:
    """Signs certificates for one test's consortium."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        write_bytes(folder / "ca.crt", self._signed(self._name, self._key, is_authority=True))

    def files(self, name: str) -> TlsFiles:
        """Certificate and key for ``name``, valid at 127.0.0.1; made once."""
        files = TlsFiles(
            self._folder / f"{name}.crt", self._folder / f"{name}.key", authority=self._folder / "ca.crt"
        )
        if not files.key.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_bytes(files.certificate, self._signed(_name(name), key))
            write_bytes(
                files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), private=True
            )
        return files

    def spki(self, name: str) -> str:
        """What the roster holds of ``name``'s certificate."""
        return spki_of(self.files(name).certificate.read_bytes())

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
                ),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
