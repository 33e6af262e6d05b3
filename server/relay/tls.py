"""The relay's certificate, key and authority, as they lie on its disk at each handshake.

A renewed certificate, a new key and a new root hold from the next connection on, without a restart.
"""

from __future__ import annotations

import logging
import threading

import grpc

from common.consortium.certificates import key_from_pem, read_certificates, spki_hash
from common.errors import ConfigError
from common.transport.tls import TlsFiles, spki_of

LOG = logging.getLogger("phenofed.relay")

Parts = tuple[bytes, bytes, bytes]


def followed(tls: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that ask for a silo's certificate and follow the files.

    Files that do not belong together, such as halfway through a copy, change nothing and are logged once.

    Raises:
        ConfigError: they cannot be used to begin with.
    """
    held = _checked(tls)
    state = _State(tls, held)
    return grpc.dynamic_ssl_server_credentials(_configured(held), state.fresh, require_client_authentication=True)


class _State:
    """Asked by gRPC in threads of its own."""

    def __init__(self, tls: TlsFiles, held: Parts) -> None:
        self._tls, self._held, self._complaint = tls, held, ""
        self._lock = threading.Lock()

    def fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """What holds from now on; None where nothing changed."""
        with self._lock:
            try:
                found = _checked(self._tls)
            except ConfigError as error:
                if str(error) != self._complaint:
                    LOG.error("the TLS files in use stay: %s", error)
                self._complaint = str(error)
                return None
            if found == self._held:
                return None
            self._held, self._complaint = found, ""
            LOG.info("new TLS files are in use")
            return _configured(found)


def _checked(tls: TlsFiles) -> Parts:
    certificate, key, authority = tls.read()
    read_certificates(authority)
    if spki_of(certificate) != spki_hash(key_from_pem(key).public_key()):
        raise ConfigError(f"{tls.certificate} is not for {tls.key}", remedy="copy both from the operator's folder")
    return certificate, key, authority


def _configured(parts: Parts) -> grpc.ServerCertificateConfiguration:
    certificate, key, authority = parts
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)
