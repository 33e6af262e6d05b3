"""The manifest of a release: what its parameters fit, how photos are encoded, where it comes from.

Format 1.0 is what a simulation writes: a model without card or signature. Format 1.1 adds ``origin``. A program
reads its own format and the one before; for a newer one it says that it must be updated.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Hash, Title
from common.errors import WeightsError
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.storage import sha256_bytes
from common.versions import SOFTWARE

FORMAT = (1, 1)
PARAMETERS, MANIFEST, CARD, SIGNATURE = "model.safetensors", "manifest.json", "card.md", "signature.json"
BARE_PARAMETERS, BARE_MANIFEST = "federated.safetensors", "federated.manifest.json"
"""File names of format 1.1, and of 1.0."""

MAX_MANIFEST = 1 << 20

RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9a-f]{12}")
"""What a release is called: where it comes from, and the start of its hash. Safe as the name of a folder."""

ReleaseId = Annotated[str, Field(pattern=f"^{RELEASE_ID.pattern}$")]
Line = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,80}$")]


class Encoding(Settings):
    """How a release turns photos into embeddings; see simulations.scenario.Ranking."""

    views: Literal[1, 2, 4] = 2
    ensemble: bool = True
    untouched_share: float = 0.5


class Origin(Settings):
    """Where a signed release comes from.

    ``number``: counted in its registry from 1; ``parent``: the release that training began from; ``plan``: SHA-256
    of the training plan that silos approved; ``purposes``: those under which patients' photos were used;
    ``files``: SHA-256 of every file but manifest and signature.
    """

    name: Title
    number: Annotated[int, Field(ge=1)]
    created: datetime.datetime
    software: Line
    protocol: int
    parent: ReleaseId | None = None
    plan: Hash | None = None
    purposes: tuple[Line, ...] = ()
    files: dict[Literal["model.safetensors", "card.md"], Hash] = Field(default_factory=dict)


class Manifest(Settings):
    """What is known of a release. ``backbone`` has no path: each machine has its own.

    ``version``, ``minor``: the format's; ``signed`` says nothing any more: the signature is a file of its own.
    """

    version: Literal[1]
    minor: Literal[0, 1] = 0
    scenario: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    seed: int
    rounds: int
    backbone: BackboneSpec
    training: TrainingPlan
    encoding: Encoding = Encoding()
    parameters_digest: str
    sha256: str
    signed: bool = False
    origin: Origin | None = None

    @property
    def digest(self) -> str:
        """(64 hexadecimal digits) over everything that an embedding depends on, so that silos can compare."""
        content = self.model_dump(mode="json", include={"backbone", "training", "encoding", "sha256"})
        return sha256_bytes(json.dumps(content, sort_keys=True).encode())

    @property
    def id(self) -> str:
        """What people call it; the same model has the same id, whoever publishes it."""
        return f"{self.scenario}-{self.digest[:12]}"


def read_manifest(content: bytes, path: Path) -> Manifest:
    """The manifest in a file's content; ``path`` names it in messages.

    Raises:
        WeightsError: it is damaged, or of a newer format than this program reads.
    """
    try:
        if len(content) > MAX_MANIFEST:
            raise ValueError("too long")
        fields = json.loads(content)
        found = (fields["version"], fields.get("minor", 0))
        if all(type(part) is int for part in found) and found > FORMAT:
            raise WeightsError(
                f"{path} has format {found[0]}.{found[1]}, written by a phenofed newer than {SOFTWARE}; "
                f"this program reads {FORMAT[0]}.{FORMAT[1]}",
                remedy="update phenofed",
            )
        return Manifest.model_validate_json(content)
    except (ValueError, ValidationError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged", remedy="fetch the release again") from error
