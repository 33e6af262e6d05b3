"""Requests prove their keys, and certificates hold in TLS for what they were issued for."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from client.workspace.workspace import Workspace
from common.consortium import certificates
from common.consortium.certificates import issued_by
from common.consortium.request import read_request, write_request
from common.errors import ConfigError
from common.transport.tls import spki_of
from deploy.folder import ConsortiumFolder
from tests.consortium_folder import (
    done,
    kit_of,
    refusal,
)


def _handshake(made: Path, name: str, *, host: str = "127.0.0.1") -> str:
    """The SPKI hash of the client that a TLS server with the relay's files sees, over memory."""
    relay, silo = made / "operator" / "relay", Workspace(made / name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(relay / "certificate.pem", relay / "key.pem")
    server.load_verify_locations(relay / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(silo.folder / "ca.pem")
    key = made / f"{name}.pem"
    key.write_bytes(silo.tls.read()[1])
    client.load_cert_chain(silo.folder / "certificate.pem", key)
    key.unlink()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=host)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = far.getpeercert(binary_form=True)
    assert seen is not None
    return spki_of(ssl.DER_cert_to_PEM_cert(seen).encode())


def test_certificates_hold_in_a_tls_handshake(consortium: Path) -> None:
    roster = Workspace(consortium / "west").roster()
    assert roster.name_of(_handshake(consortium, "west")) == "west"
    assert roster.name_of(_handshake(consortium, "east")) == "east"
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        _handshake(consortium, "west", host="127.0.0.2")


def test_certificates_say_what_they_are_for_and_end_in_time(made: Path) -> None:
    root = x509.load_pem_x509_certificate((made / "operator" / "ca.pem").read_bytes())
    west = x509.load_pem_x509_certificate((made / "west" / "certificate.pem").read_bytes())
    relay = x509.load_pem_x509_certificate((made / "operator" / "relay" / "certificate.pem").read_bytes())
    years = [(c.not_valid_after_utc - c.not_valid_before_utc).days // 365 for c in (root, west, relay)]
    assert years == [10, 2, 2]
    for certificate in (root, west, relay):
        key = certificate.public_key()
        assert isinstance(key, EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert issued_by(certificate, root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert not west.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    uses = [c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for c in (west, relay)]
    assert [[use._name for use in usage] for usage in uses] == [["clientAuth"], ["serverAuth"]]


def test_asking_again_renews_the_certificate_and_leaves_the_roster(consortium: Path) -> None:
    before = ConsortiumFolder(consortium / "operator").roster()
    done("consortium", "add", consortium / "operator", consortium / "west" / "request.json", "--yes")
    assert ConsortiumFolder(consortium / "operator").roster() == before
    held = (consortium / "west" / "certificate.pem").read_bytes()
    done("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert (consortium / "west" / "certificate.pem").read_bytes() != held


@pytest.mark.parametrize("field", ["name", "contact", "verify_key", "exchange_key", "certificate_request"])
def test_an_altered_request_is_refused(consortium: Path, field: str) -> None:
    path = consortium / "west" / "request.json"
    request = json.loads(path.read_text())
    other = json.loads((consortium / "east" / "request.json").read_text())
    request["request"][field] = other["request"][field]
    path.write_text(json.dumps(request))
    assert "refused" in str(refusal("consortium", "add", consortium / "operator", path, "--yes"))


def test_a_request_must_hold_the_tls_key_that_it_names(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silo = Workspace(made / "west")
    own = certificates.certificate_request(certificates.new_key(), "west")
    der = bytearray(x509.load_pem_x509_csr(own.encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    spoilt = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    for claimed, fine in ((own, True), (spoilt, False)):
        monkeypatch.setattr("common.consortium.request.certificate_request", lambda *_, text=claimed: text)
        content = write_request(silo.member(), certificates.new_key(), title="", contact="a@b.c")
        if fine:
            assert read_request(content).card == silo.member().card
        else:
            with pytest.raises(ConfigError, match="request was refused"):
                read_request(content)
