"""The TLS certificate that answers at the relay's address: the consortium's, or somebody's in between."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.preflight.attempt import Step
from client.preflight.finding import Finding, failed, ok, warning
from client.preflight.site import Site
from common.consortium.certificates import certificate_hash, issued_by


def root(site: Site) -> Iterator[Finding]:
    """Whether the root on disk is the one that the signed roster names."""
    if sorted(map(certificate_hash, site.roots)) == sorted(site.roster.roots):
        yield ok("ca.pem is the root that the roster names")
    else:
        yield failed(
            "ca.pem is not the root that the roster names", remedy="run phenofed silo join with the newest kit"
        )


def presented(site: Site) -> Iterator[Finding]:
    """Who answers, and whether the roster names that key."""
    tried, certificate = site.attempt, site.attempt.certificate
    host, port = site.relay
    if tried.step is Step.TLS:
        yield failed(
            f"no TLS with {host}:{port}: {tried.why}",
            remedy="ask the network team what stands between; it must pass TLS 1.2 or 1.3 through unopened",
        )
    elif certificate is None:
        yield warning("not reached", remedy="mend the way to the relay first")
    elif not issued_by(certificate, *site.roots):
        yield failed(
            f"somebody opens the connection: the certificate for {_line(certificate.subject)} comes from "
            f"'{_line(certificate.issuer)}', not from the consortium's root",
            remedy=f"ask the network team to exempt {host}:{port} from TLS inspection",
        )
    elif _key_hash(certificate) != site.roster.relay_tls:
        yield failed(
            "the certificate is the consortium's, but its key is not the relay's in the roster",
            remedy="join with the newest kit; if it stays so, tell the operator at once",
        )
    elif not _covers(certificate, host):
        yield failed(f"the relay's certificate is not for {host}", remedy="ask the operator for a newer kit")
    else:
        yield ok(f"the relay's own certificate, key {site.roster.relay_tls[:16]}..., nobody in between")


def _key_hash(certificate: x509.Certificate) -> str:
    content = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(content).hexdigest()


def _covers(certificate: x509.Certificate, host: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        return host.lower() in [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _line(name: x509.Name) -> str:
    """A name out of a stranger's certificate, as it may be shown."""
    text = name.rfc4514_string() or "nobody"
    return "".join(letter for letter in text if letter.isprintable())[:160]
