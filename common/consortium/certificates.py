"""TLS keys and certificates (X.509, RFC 5280): P-256 keys, one root that issues everything, known by SPKI hashes.

A certificate from the root opens a connection and nothing more: the SPKI hashes in the roster decide whom the
relay admits. A silo knows the relay by root, host name and use, which no silo's certificate has; gRPC shows it no
certificate to compare with the roster's hash, so ``phenofed silo check`` does that.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import ConfigError

ROOT_YEARS, LEAF_YEARS = 10, 2

_BEFORE = datetime.timedelta(days=1)  # clocks of hospitals differ
_YEAR = datetime.timedelta(days=365)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key from the system's generator."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key in clear (PKCS#8), to be sealed or written 0600."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(content: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in PEM.

    Raises:
        ConfigError: it is none.
    """
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise ConfigError("a TLS key is damaged", remedy="restore it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("a TLS key is of another kind than P-256", remedy="restore it")
    return key


def certificate_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A PKCS#10 request (PEM) for the key of the member ``name``, signed by it."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_subject(name)).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def root_certificate(key: ec.EllipticCurvePrivateKey, consortium: str) -> bytes:
    """The root (PEM) that issues the relay's and all silos' certificates; it may issue no further issuers."""
    subject = _subject(f"phenofed {consortium} root")
    return _issued(
        subject,
        key.public_key(),
        subject,
        key,
        years=ROOT_YEARS,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_usage(signs_certificates=True), True),
        ],
    )


def relay_certificate(
    public: ec.EllipticCurvePublicKey, host: str, root: bytes, root_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A server's certificate (PEM) for ``host``, a DNS name or an IP address."""
    return _leaf(public, host, [_general_name(host)], ExtendedKeyUsageOID.SERVER_AUTH, root, root_key)


def silo_certificate(
    public: ec.EllipticCurvePublicKey, name: str, root: bytes, root_key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A client's certificate (PEM) for the member ``name``."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:phenofed:{name}")]
    return _leaf(public, name, names, ExtendedKeyUsageOID.CLIENT_AUTH, root, root_key)


def read_certificate(content: bytes) -> x509.Certificate:
    """One certificate in PEM.

    Raises:
        ConfigError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(content)
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError("a certificate is damaged", remedy="ask the operator for a new kit") from error


def read_certificates(content: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates in PEM, such as both roots while the root is being changed.

    Raises:
        ConfigError: there is none, or one is damaged.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError("a certificate is damaged", remedy="ask the operator for a new kit") from error


def certificate_hash(certificate: x509.Certificate) -> str:
    """SHA-256 of the whole certificate (DER), 64 hexadecimal digits."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def spki_hash(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo (DER), 64 hexadecimal digits; see RFC 7469."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def issued_by(certificate: x509.Certificate, *roots: x509.Certificate) -> bool:
    """Whether one of ``roots`` signed ``certificate``; dates are not judged."""
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _leaf(
    public: ec.EllipticCurvePublicKey,
    name: str,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
    root: bytes,
    root_key: ec.EllipticCurvePrivateKey,
) -> bytes:
    return _issued(
        _subject(name),
        public,
        read_certificate(root).subject,
        root_key,
        years=LEAF_YEARS,
        extensions=[
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage([use]), False),
            (x509.SubjectAlternativeName(names), False),
        ],
    )


def _issued(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    years: int,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> bytes:
    now = datetime.datetime.now(tz=datetime.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + years * _YEAR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
