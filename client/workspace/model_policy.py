"""Which models a hospital loads and trains: by the backbone's hash, and by who signed the release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common.config import Settings
from common.consortium.fields import Hash
from common.errors import DisclosureError
from common.models.specs import BackboneSpec

CONSORTIUM = "consortium"


class OtherModel(DisclosureError):
    """A model that the hospital's policy does not name."""


class Model(Settings):
    """``release``: the folder of a release; ``backbone``: the network that it was trained from.

    ``allow_unsigned``: load a model that nobody vouches for, such as that of a simulation.
    """

    release: Path
    backbone: BackboneSpec
    allow_unsigned: bool = False


class Models(Settings):
    """``sha256``: of the backbones that may be loaded and trained on; None for whatever ``model.backbone`` names.

    ``signers``: whose releases are adopted, loaded and trained from: 'consortium' for the release key that the
    roster names, or an Ed25519 key of 64 hexadecimal digits.
    """

    sha256: Annotated[tuple[Hash, ...], Field(min_length=1)] | None = None
    signers: Annotated[tuple[Literal["consortium"] | Hash, ...], Field(min_length=1)] = (CONSORTIUM,)

    def check(self, sha256: str | None) -> None:
        """Check a backbone.

        Raises:
            OtherModel: its hash is not named.
        """
        if self.sha256 is not None and sha256 not in self.sha256:
            raise OtherModel(
                f"this hospital's policy does not name the backbone {(sha256 or 'without a hash')[:16]}",
                remedy="see models.sha256 in policy.yaml",
            )


class DetectorChoice(Settings):
    """A face detector, by file and hash."""

    path: Path
    sha256: Hash
