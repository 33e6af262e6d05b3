"""Throw-away TLS files: a root, and whom it signs for."""

from __future__ import annotations

from pathlib import Path

from common.consortium import certificates
from common.storage import write_bytes
from common.transport.tls import TlsFiles, spki_of


class Authority:
    """Signs for one test's consortium, as the operator does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = certificates.new_key()
        self._root = certificates.root_certificate(self._key, "test")
        write_bytes(folder / "ca.pem", self._root)

    def relay(self, host: str = "127.0.0.1") -> TlsFiles:
        """A relay's files, valid at ``host``."""
        key = certificates.new_key()
        return self._written(
            "relay", key, certificates.relay_certificate(key.public_key(), host, self._root, self._key)
        )

    def silo(self, name: str) -> TlsFiles:
        """A silo's files, made once."""
        if (self._folder / f"{name}.key").exists():
            return self._files(name)
        key = certificates.new_key()
        return self._written(
            name, key, certificates.silo_certificate(key.public_key(), name, self._root, self._key)
        )

    def spki(self, name: str) -> str:
        """What the roster holds of the silo's certificate."""
        return spki_of(self.silo(name).certificate.read_bytes())

    def _written(self, name: str, key: certificates.ec.EllipticCurvePrivateKey, certificate: bytes) -> TlsFiles:
        files = self._files(name)
        write_bytes(files.certificate, certificate)
        write_bytes(files.key, certificates.key_to_pem(key), private=True)
        return files

    def _files(self, name: str) -> TlsFiles:
        return TlsFiles(
            self._folder / f"{name}.crt", self._folder / f"{name}.key", authority=self._folder / "ca.pem"
        )
