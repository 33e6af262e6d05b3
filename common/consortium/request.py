"""A hospital's request to join: its card and a certificate request for its TLS key, signed by both keys.

Made on the hospital's site, where both private keys stay; it holds nothing secret. The card's signature covers
everything, the PKCS#10 request (RFC 2986) proves that whoever asks holds the TLS key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.certificates import certificate_request, spki_hash
from common.consortium.fields import Contact, Hash, Name, Title
from common.consortium.identity import Card, Member
from common.errors import ConfigError
from common.versions import refuse_newer

MAX_BYTES = 16 << 10

_CONTEXT = b"phenofed request\0"


@dataclass(frozen=True)
class JoinRequest:
    """What a hospital asks for. ``tls_key``: its public TLS key (P-256)."""

    card: Card
    title: str
    contact: str
    tls_key: EllipticCurvePublicKey

    @property
    def tls(self) -> str:
        """The SPKI hash of the TLS key, 64 hexadecimal digits."""
        return spki_hash(self.tls_key)


def write_request(member: Member, tls_key: EllipticCurvePrivateKey, *, title: str, contact: str) -> bytes:
    """The request as a file.

    Raises:
        ConfigError: name, title or contact is not usable; all problems in one message.
    """
    card = member.card
    try:
        body = _Body(
            version=1,
            name=card.name,
            title=title,
            contact=contact,
            verify_key=card.verify_key.hex(),
            exchange_key=card.exchange_key.hex(),
            certificate_request=certificate_request(tls_key, card.name),
        )
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"no request can be made: {problems}", remedy="give other values") from error
    signature = member.sign(_CONTEXT + _spelt(body)).hex()
    request = _Request(request=body, signature=signature)
    return (request.model_dump_json(indent=1) + "\n").encode()


def read_request(content: bytes) -> JoinRequest:
    """The request in a file, once both of its keys have signed it.

    Raises:
        ConfigError: damaged, altered, or not signed by its own keys; always the same error.
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too long")
        refuse_newer("the request", content, kind=ConfigError, at=("request", "version"))
        found = _Request.model_validate_json(content)
        body = found.request
        card = Card.from_json([body.name, body.verify_key, body.exchange_key])
        if not card.verifies(bytes.fromhex(found.signature), _CONTEXT + _spelt(body)):
            raise ValueError("the card did not sign it")
        wanted = x509.load_pem_x509_csr(body.certificate_request.encode())
        key = wanted.public_key()
        if not wanted.is_signature_valid or not isinstance(key, EllipticCurvePublicKey):
            raise ValueError("the TLS key did not sign it")
        if key.curve.name != "secp256r1" or wanted.public_bytes(Encoding.PEM).decode() != body.certificate_request:
            raise ValueError("another curve or spelling")
    except (ValidationError, ValueError, TypeError, InvalidSignature, x509.InvalidVersion) as error:
        raise ConfigError(
            "the request was refused: damaged, or not signed by its own keys",
            remedy="ask the hospital for request.json of its workspace again",
        ) from error
    return JoinRequest(card, body.title, body.contact, key)


class _Body(Settings):
    version: Literal[1]
    name: Name
    title: Title
    contact: Contact
    verify_key: Hash
    exchange_key: Hash
    certificate_request: Annotated[str, Field(max_length=4096)]


class _Request(Settings):
    request: _Body
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def _spelt(body: _Body) -> bytes:
    return json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()
