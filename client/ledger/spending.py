"""Booking units against budgets, within a transaction of the ledger.

A unit is one real vector that a layout admits. It counts against every lineage of the rows served, for 365 days. A
clock that is set back renews nothing: no day is booked as earlier than the newest one booked.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from common.errors import DisclosureError

YEAR_DAYS = 365
PACE_DAYS = 90

QUERIER = "querier "
"""How the accounts of those who ask this silo begin."""


@dataclass(frozen=True)
class Forecast:
    """When one querier's budget ends, for the lineage that ends first.

    Attributes:
        pace: units a day over the last 90 days.
        exhausted: the day on which nothing remains if that pace goes on; None if that is on no day of a year.
    """

    querier: str
    lineage: str
    remaining: int
    pace: float
    exhausted: datetime.date | None


def left(
    rows: sqlite3.Connection, account: str, lineages: Iterable[str], budget: int | None, today: datetime.date
) -> int:
    """Units that remain for all these lineages; ``sys.maxsize`` without a budget."""
    if budget is None:
        return sys.maxsize
    booked = rows.execute(
        "SELECT scope, SUM(units) FROM spent WHERE account = ? AND day > ? GROUP BY scope",
        (account, today.toordinal() - YEAR_DAYS),
    ).fetchall()
    wanted, used = frozenset(lineages), Counter[str]()
    scopes = _scopes(rows) if booked else {}
    for scope, units in booked:
        for lineage in wanted & scopes[scope]:
            used[lineage] += units
    return max(0, budget - max(used.values(), default=0))


def charge(
    rows: sqlite3.Connection,
    account: str,
    lineages: Iterable[str],
    units: int,
    budget: int | None,
    today: datetime.date,
) -> None:
    """Book units.

    Raises:
        DisclosureError: fewer remain, and it says how many; or ``units`` is no number of vectors.
    """
    if units < 1:
        raise DisclosureError("a query has no vector", remedy="ask with at least one")
    remaining = left(rows, account, lineages, budget, today)
    if units > remaining:
        raise DisclosureError(
            f"{units} units are asked and {remaining} of {budget} remain for a rolling year",
            remedy=f"ask at most {remaining}" if remaining else "wait until earlier queries are a year old",
        )
    listed = json.dumps(sorted(set(lineages)))
    digest = hashlib.sha256(listed.encode()).digest()
    rows.execute("INSERT OR IGNORE INTO scopes (digest, lineages) VALUES (?, ?)", (digest, listed))
    newest = rows.execute("SELECT MAX(day) FROM spent").fetchone()[0] or 0
    rows.execute(
        "INSERT INTO spent SELECT ?, id, ?, ? FROM scopes WHERE digest = ?"
        " ON CONFLICT DO UPDATE SET units = units + excluded.units",
        (account, max(newest, today.toordinal()), units, digest),
    )


def forecast(rows: sqlite3.Connection, budget: int | None, today: datetime.date) -> list[Forecast]:
    """One entry for each querier that asked within a year, those that end first in front."""
    if budget is None:
        return []
    booked = rows.execute(
        "SELECT account, scope, day, units FROM spent WHERE day > ?", (today.toordinal() - YEAR_DAYS,)
    ).fetchall()
    scopes = _scopes(rows)
    histories: dict[str, dict[str, Counter[int]]] = {}
    for account, scope, day, units in booked:
        if account.startswith(QUERIER):
            lineages = histories.setdefault(account.removeprefix(QUERIER), {})
            for lineage in scopes[scope]:
                lineages.setdefault(lineage, Counter())[day] += units
    found = []
    for querier, lineages in histories.items():
        # Most lineages were asked together: the first of each history stands for all.
        distinct = {tuple(sorted(days.items())): name for name, days in sorted(lineages.items(), reverse=True)}
        entries = [_forecast(querier, name, dict(days), budget, today) for days, name in distinct.items()]
        found.append(min(entries, key=_urgency))
    return sorted(found, key=_urgency)


def _forecast(querier: str, lineage: str, days: dict[int, int], budget: int, today: datetime.date) -> Forecast:
    now = today.toordinal()
    pace = sum(units for day, units in days.items() if day > now - PACE_DAYS) / PACE_DAYS
    exhausted = None
    for ahead in range(YEAR_DAYS + 1):
        used = sum(units for day, units in days.items() if day > now + ahead - YEAR_DAYS)
        if used + pace * ahead >= budget:
            exhausted = today + datetime.timedelta(days=ahead)
            break
    return Forecast(querier, lineage, max(0, budget - sum(days.values())), pace, exhausted)


def _urgency(entry: Forecast) -> tuple[datetime.date, int, str]:
    return entry.exhausted or datetime.date.max, entry.remaining, entry.querier


def _scopes(rows: sqlite3.Connection) -> dict[int, frozenset[str]]:
    return {entry: frozenset(json.loads(text)) for entry, text in rows.execute("SELECT id, lineages FROM scopes")}
