"""A gallery epoch that everybody counted for: what it holds, what follows from it, and how it is handed over."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.ranking.standing import Standing
from common.consortium.counts import Totals, total
from common.consortium.gallery_epoch import GalleryEpoch
from common.errors import EncryptionError
from common.privacy.disclosure import Profile, answerable

MAX_BODY = 64 << 20


@dataclass(frozen=True)
class OpenEpoch:
    """An epoch whose counts are complete. ``counts``: each participant's sealed counts, signed."""

    epoch: GalleryEpoch
    counts: dict[str, bytes]
    totals: Totals
    profile: Profile

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """(S,) bool: the rows that may be answered."""
        return answerable(self.profile, self.totals)

    def lineages(self, standing: Standing) -> tuple[str, ...]:
        """What a query is charged to: the lineages of the rows that may be answered."""
        named = zip(standing.registry.lineages, self.answerable, strict=False)
        return tuple(sorted({lineage for lineage, answered in named if answered}))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``read_open``."""
        counts = {name: base64.b64encode(message).decode() for name, message in self.counts.items()}
        return {"epoch": self.epoch.to_json(), "counts": counts}

    def to_bytes(self) -> bytes:
        """What others, and this silo after a restart, open the epoch from."""
        return json.dumps(self.to_json()).encode()


def read_open(data: dict[str, Any], standing: Standing) -> OpenEpoch:
    """An open epoch as somebody hands it over; complete and signed, or refused.

    Raises:
        DisclosureError: counts are missing, or there is no such profile.
        EncryptionError: a part of it is damaged, or signed by others than its participants.
    """
    epoch = GalleryEpoch.from_json(data.get("epoch"))
    try:
        counts = {str(name): base64.b64decode(message, validate=True) for name, message in data["counts"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise EncryptionError("an epoch's counts cannot be read", remedy="propose it anew") from error
    return OpenEpoch(epoch, counts, total(epoch, counts), standing.profile(epoch))


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a message of another silo.

    Raises:
        EncryptionError: there is none.
    """
    try:
        data = json.loads(body) if len(body) <= MAX_BODY else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise EncryptionError("a message about an epoch cannot be read", remedy="bring both sides to one version")
    return data
