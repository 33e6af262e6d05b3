"""What ``phenofed rank --keep`` leaves in the workspace: crops, embedding and list of one patient, and no more."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.numpy import save

from client.clinic.ranking_list import RankingList
from common.storage import sha256_bytes, write_bytes, write_text

if TYPE_CHECKING:
    from client.gallery.encoder import Portrait


def keep_portrait(folder: Path, portrait: Portrait, ranking: RankingList) -> Path:
    """Write them for the owner's eyes alone; the folder, named by a hash of the reference."""
    kept = folder / sha256_bytes(ranking.patient.encode())[:16]
    write_bytes(
        kept / "portrait.safetensors",
        save({"crops": portrait.crops, "embedding": portrait.embedding}),
        private=True,
    )
    write_text(kept / "ranking.json", json.dumps(ranking.to_json(), indent=1) + "\n", private=True)
    return kept


def drop_kept(folder: Path, days: int, today: datetime.date) -> None:
    """Remove what was kept ``days`` ago or earlier."""
    for kept in folder.glob("*/ranking.json"):
        written = datetime.date.fromtimestamp(kept.stat().st_mtime)
        if (today - written).days >= days:
            shutil.rmtree(kept.parent)
