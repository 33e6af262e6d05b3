"""Hours: when a hospital trains, and when it answers others; in its own local time, summer time included.

hours = Hours(zone="Europe/Berlin", train="20:00-06:00")
hours.check("train", now, silo="clinic-a")
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator

from common.config import Settings
from common.errors import DisclosureError

Activity = Literal["train", "rank", "discover"]
DOES: dict[Activity, str] = {
    "train": "trains",
    "rank": "answers queries",
    "discover": "answers discovery",
}

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class OutsideHours(DisclosureError):
    """Asked at a time of day at which the hospital's policy does not serve."""


def _window(text: str) -> str:
    start, end = _ends(text)
    if start == end:
        raise ValueError("begins and ends at the same time, write null for always")
    return text


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError("no time zone of this name is known here, write one such as Europe/Berlin") from error
    return name


Window = Annotated[str, AfterValidator(_window)]


class Hours(Settings):
    """Windows such as 20:00-06:00, the end excluded; None for always. ``zone``: an IANA name, for all of them."""

    zone: Annotated[str, AfterValidator(_zone)] | None = None
    train: Window | None = None
    rank: Window | None = None
    discover: Window | None = None

    @property
    def limited(self) -> bool:
        """Whether any window is set."""
        return any(window is not None for window in (self.train, self.rank, self.discover))

    def opens(self, activity: Activity, now: datetime.datetime) -> datetime.datetime | None:
        """When ``activity`` is served next, in local time; None if it is served ``now`` (aware of its zone)."""
        window: str | None = getattr(self, activity)
        if window is None or self.zone is None:
            return None
        (start, end), local = _ends(window), now.astimezone(zoneinfo.ZoneInfo(self.zone))
        clock = local.time().replace(tzinfo=None)
        if (start <= clock < end) if start < end else (clock >= start or clock < end):
            return None
        day = local.date() if clock < start else local.date() + datetime.timedelta(days=1)
        return datetime.datetime.combine(day, start, tzinfo=local.tzinfo)

    def check(self, activity: Activity, now: datetime.datetime, *, silo: str) -> None:
        """Check that ``activity`` is served at this moment.

        Raises:
            OutsideHours: it is not; says when it is.
        """
        opening = self.opens(activity, now)
        if opening is not None:
            start, end = getattr(self, activity).split("-")
            raise OutsideHours(
                f"{silo} {DOES[activity]} from {start} to {end} {self.zone}, next on {opening:%Y-%m-%d at %H:%M}",
                remedy="ask again then",
            )


def utc_now() -> datetime.datetime:
    """The time, aware of its zone."""
    return datetime.datetime.now(tz=datetime.UTC)


def _ends(window: str) -> tuple[datetime.time, datetime.time]:
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise ValueError("hours are HH:MM-HH:MM, such as 20:00-06:00, or null for always")
    hours = [int(part) for part in match.groups()]
    return datetime.time(hours[0], hours[1]), datetime.time(hours[2], hours[3])
