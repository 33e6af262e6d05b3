"""Members and gallery epochs for tests."""

from __future__ import annotations

from collections.abc import Iterable

from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.identity import Member

RELEASE, NEXT_RELEASE = "ab" * 32, "cd" * 32
MEMBERS = {name: Member(name) for name in (f"hospital-{index:02d}" for index in range(16))}


def names(count: int, *, start: int = 0) -> list[str]:
    return list(MEMBERS)[start : start + count]


def opened(
    present: Iterable[str],
    previous: GalleryEpoch | None = None,
    *,
    release: str = RELEASE,
    number: int | None = None,
    entries: int = 64,
    profile: str = "standard",
) -> GalleryEpoch:
    return GalleryEpoch.opening(
        previous,
        [MEMBERS[name].card for name in present],
        roster="01" * 32,
        registry="02" * 32,
        release=release,
        profile=profile,
        kernel="linear",
        dimension=8,
        entries=entries,
        number=number,
    )
