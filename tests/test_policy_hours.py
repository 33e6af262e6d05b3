"""Hours by the hospital's own clock: windows over midnight, summer time, and when it opens again."""

from __future__ import annotations

import datetime

import pytest

from client.workspace.hours import Hours, OutsideHours

NIGHT = Hours(zone="Europe/Berlin", train="20:00-06:00", rank="07:30-19:00")


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("now", "open_"),
    [
        ("2026-01-10T19:00:00+00:00", True),  # 20:00 in Berlin, by winter time
        ("2026-01-10T18:59:59+00:00", False),
        ("2026-07-10T18:00:00+00:00", True),  # 20:00 by summer time
        ("2026-07-10T17:59:59+00:00", False),
        ("2026-07-11T03:59:59+00:00", True),
        ("2026-07-11T04:00:00+00:00", False),  # the end is excluded
        ("2026-07-10T23:30:00+00:00", True),
        ("2026-07-11T01:30:00+09:00", False),  # whatever zone the clock tells
    ],
)
def test_a_window_over_midnight_holds_by_local_time(now: str, open_: bool) -> None:
    assert (NIGHT.opens("train", at(now)) is None) is open_


@pytest.mark.parametrize(
    ("activity", "now", "opens"),
    [
        ("train", "2026-07-10T10:00:00+00:00", "2026-07-10T20:00+02:00"),
        ("rank", "2026-07-10T05:00:00+00:00", "2026-07-10T07:30+02:00"),
        ("rank", "2026-07-10T18:00:00+00:00", "2026-07-11T07:30+02:00"),
        ("rank", "2026-10-24T18:00:00+00:00", "2026-10-25T07:30+01:00"),  # summer time ends in that night
    ],
)
def test_a_refusal_names_hours_zone_and_when_it_opens(activity: str, now: str, opens: str) -> None:
    found = NIGHT.opens(activity, at(now))  # type: ignore[arg-type]
    assert found == at(opens)
    with pytest.raises(OutsideHours) as caught:
        NIGHT.check(activity, at(now), silo="clinic-a")  # type: ignore[arg-type]
    assert "Europe/Berlin, next on " + opens[:10] + " at " + opens[11:16] in caught.value.what


def test_the_words_are_those_that_people_expect() -> None:
    with pytest.raises(OutsideHours, match=r"^clinic-a trains from 20:00 to 06:00 Europe/Berlin, next on"):
        NIGHT.check("train", at("2026-07-10T10:00:00+00:00"), silo="clinic-a")


def test_without_a_window_nothing_is_limited() -> None:
    assert NIGHT.opens("discover", at("2026-07-10T10:00:00+00:00")) is None
    Hours().check("train", at("2026-07-10T10:00:00+00:00"), silo="clinic-a")
