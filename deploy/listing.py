"""The keys of a consortium with their dates, for people."""

from __future__ import annotations

from cryptography import x509

from common.consortium.certificates import certificate_hash, read_certificate
from common.consortium.console import read_file
from deploy.folder import ConsortiumFolder

Row = tuple[str, str, str, str]
_SHOWN = 16


def keys_of(folder: ConsortiumFolder) -> list[Row]:
    """(key, since, until, the beginning of its fingerprint) of offline keys, roots, relay and releases."""
    roster, since = folder.roster(), folder.about.key_since
    rows = [("offline", str(since or "not recorded"), "", folder.offline_key.hex())]
    rows += [("offline, before", "", f"{item.made}: replaced", item.former.hex()) for item in folder.successions()]
    for root in map(read_certificate, folder.roots):
        kind = "root" if certificate_hash(root) == roster.ca else "root, before"
        rows.append((kind, *_dates(root), certificate_hash(root)))
    relay = read_certificate(read_file(folder.path / "relay" / "certificate.pem", limit=1 << 16))
    rows.append(("relay", *_dates(relay), roster.relay_tls))
    if roster.release_key is not None:
        rows.append(("releases", "", "", roster.release_key))
    return [(kind, begins, ends, fingerprint[:_SHOWN]) for kind, begins, ends, fingerprint in rows]


def _dates(certificate: x509.Certificate) -> tuple[str, str]:
    return str(certificate.not_valid_before_utc.date()), str(certificate.not_valid_after_utc.date())
