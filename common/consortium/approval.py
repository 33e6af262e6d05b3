"""A hospital's word that it takes part in a run, signed by its card: what the coordinator needs before it starts.

It names the plan by digest, and the public key of the Flower node that may connect for this hospital. It holds
nothing secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Hash, Name
from common.consortium.identity import Member
from common.consortium.plan import RunPlan
from common.consortium.roster import Roster
from common.errors import ConfigError
from common.versions import refuse_newer

MAX_BYTES = 16 << 10
_CONTEXT = b"phenofed approval\0"


class NoMember(ConfigError):
    """The approval of a silo that the roster does not list."""


@dataclass(frozen=True)
class Approval:
    """``node_key``: the node's public key (ECDSA, P-384) in OpenSSH's form, one line."""

    silo: str
    node_key: str


def write_approval(member: Member, plan: RunPlan, node_key: str) -> bytes:
    """The file."""
    body = _Body(version=1, silo=member.card.name, plan=plan.digest, node_key=node_key)
    signature = member.sign(_CONTEXT + _spelt(body)).hex()
    return (_Approval(approval=body, signature=signature).model_dump_json(indent=1) + "\n").encode()


def read_approval(content: bytes, plan: RunPlan, roster: Roster) -> Approval:
    """The approval of ``plan`` in a file, signed by a silo that the plan names and the roster lists.

    Raises:
        ConfigError: damaged, not signed by that silo, for another plan, or of a silo that the plan does not name.
    """
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too long")
        refuse_newer("the approval", content, kind=ConfigError, at=("approval", "version"))
        found = _Approval.model_validate_json(content)
        body = found.approval
        key = load_ssh_public_key(body.node_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
            raise ValueError("another kind of key")
        signature = bytes.fromhex(found.signature)
    except (ValidationError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "this is no approval, or a damaged one", remedy="ask the hospital for it again"
        ) from error
    if body.plan != plan.digest or body.silo not in plan.silos:
        raise ConfigError(
            f"the approval of {body.silo} is for another plan", remedy=f"ask for that of run {plan.run}"
        )
    if not roster.holds(body.silo):
        raise NoMember(
            f"the approval was not signed by {body.silo} as the roster lists it: it is no member",
            remedy="leave it out, or see that it is a member",
        )
    if not roster.member(body.silo).card.verifies(signature, _CONTEXT + _spelt(body)):
        raise ConfigError(
            f"the approval was not signed by {body.silo} as the roster lists it",
            remedy="ask the hospital for it again",
        )
    # Without its comment: by that one key could stand for two silos.
    return Approval(body.silo, key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def approvals_of(contents: Iterable[bytes], plan: RunPlan, roster: Roster) -> dict[str, Approval]:
    """Approvals by silo; those of silos that were revoked since are left out.

    Raises:
        ConfigError: one of them cannot be used, or one node's key stands for two silos.
    """
    found: dict[str, Approval] = {}
    for content in contents:
        try:
            approval = read_approval(content, plan, roster)
        except NoMember:
            continue
        found[approval.silo] = approval
    if len({approval.node_key for approval in found.values()}) != len(found):
        raise ConfigError("two silos approve with one node's key", remedy="ask both for new approvals")
    return found


class _Body(Settings):
    version: Literal[1]
    silo: Name
    plan: Hash
    node_key: Annotated[str, Field(min_length=100, max_length=1024, pattern=r"^[\x20-\x7e]+$")]


class _Approval(Settings):
    approval: _Body
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def _spelt(body: _Body) -> bytes:
    return body.model_dump_json().encode()
