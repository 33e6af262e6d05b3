"""The ledger: budgets and answers that no crash, restart or clock forgets, and no patient in it."""

from __future__ import annotations

import datetime
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.ledger.ledger import Ledger
from common.consortium.identity import Card, Member
from common.encryption.answers import Answers
from common.errors import AgentError, DisclosureError, EncryptionError
from common.privacy.disclosure import SIMULATION, STANDARD, STRICT

A, B = Member("hospital-a").card, Member("hospital-b").card
LINEAGES = ("kabuki", "noonan")
DAY = datetime.date(2026, 3, 1)
ROOT = Path(__file__).parent.parent


class Clock:
    def __init__(self) -> None:
        self.day = DAY

    def __call__(self) -> datetime.date:
        return self.day

    def on(self, days: int) -> None:
        self.day = DAY + datetime.timedelta(days=days)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "silo" / "ledger"


@pytest.fixture
def ledger(path: Path, clock: Clock) -> Iterator[Ledger]:
    made = Ledger(path, today=clock, new=True)
    yield made
    made.close()


def spend(ledger: Ledger, units: int, *, querier: Card = A, lineages: tuple[str, ...] = LINEAGES) -> bytes:
    message = os.urandom(16)
    ledger.answers(querier, lineages, STANDARD).reserve(message, b"t" * 32, units)
    return message


def test_the_account_follows_the_protocol_of_a_silo(ledger: Ledger) -> None:
    account: Answers = ledger.answers(A, LINEAGES, STANDARD)
    assert account.find(b"m", b"t") is None
    account.reserve(b"m", b"t", 8)
    assert account.find(b"m", b"t") is None
    account.put(b"m", b"t", b"answer")
    assert account.find(b"m", b"t") == b"answer"
    assert ledger.remaining(A, LINEAGES, STANDARD) == 120


def test_a_query_is_charged_once_however_often_it_comes(ledger: Ledger) -> None:
    account = ledger.answers(A, LINEAGES, STANDARD)
    for _ in range(5):
        account.reserve(b"m", b"t", 8)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 120


def test_a_query_over_budget_is_refused_with_what_remains_and_charges_nothing(ledger: Ledger) -> None:
    spend(ledger, 125)
    with pytest.raises(DisclosureError, match=r"8 units are asked and 3 of 128 remain.*ask at most 3"):
        spend(ledger, 8)
    spend(ledger, 3)
    with pytest.raises(DisclosureError, match=r"0 of 128 remain.*a year old"):
        spend(ledger, 1)


@pytest.mark.parametrize("units", [0, -5])
def test_no_query_gives_units_back(ledger: Ledger, units: int) -> None:
    with pytest.raises(DisclosureError, match="no vector"):
        spend(ledger, units)


def test_budgets_are_apart_by_querier_and_lineage(ledger: Ledger) -> None:
    spend(ledger, 28)
    spend(ledger, 50, lineages=("kabuki",))
    assert ledger.remaining(A, ("kabuki",), STANDARD) == 50
    assert ledger.remaining(A, ("noonan",), STANDARD) == 100
    assert ledger.remaining(A, LINEAGES, STANDARD) == 50
    assert ledger.remaining(A, ("sotos",), STANDARD) == 128
    assert ledger.remaining(B, LINEAGES, STANDARD) == 128
    assert ledger.remaining(A, ("kabuki",), STRICT) == 0


def test_no_other_gallery_epoch_or_card_renews_a_budget(ledger: Ledger) -> None:
    spend(ledger, 100)
    rotated = Member("hospital-a").card
    assert rotated.fingerprint != A.fingerprint
    assert ledger.remaining(rotated, ("sotos", "noonan", "new"), STANDARD) == 28


def test_a_budget_renews_when_a_query_is_a_year_old(ledger: Ledger, clock: Clock) -> None:
    spend(ledger, 100)
    clock.on(200)
    spend(ledger, 20)
    clock.on(364)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 8
    clock.on(365)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 108
    clock.on(565)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 128


def test_a_clock_that_is_set_back_renews_nothing(ledger: Ledger, clock: Clock) -> None:
    spend(ledger, 100)
    clock.on(-4000)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 28
    # What is booked while the clock is wrong must not look old when it is right again.
    spend(ledger, 28)
    clock.on(0)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 0


def test_simulations_have_no_budget(ledger: Ledger) -> None:
    account = ledger.answers(A, LINEAGES, SIMULATION)
    account.reserve(b"m", b"t", 10**6)
    assert ledger.remaining(A, LINEAGES, SIMULATION) > 10**9
    assert ledger.forecast(SIMULATION) == []


@pytest.mark.parametrize("call", ["find", "reserve", "put"])
def test_a_message_id_used_for_another_query_is_refused_uniformly(ledger: Ledger, call: str) -> None:
    account = ledger.answers(A, LINEAGES, STANDARD)
    account.reserve(b"m", b"t", 1)
    account.put(b"m", b"t", b"answer")
    calls: dict[str, Callable[[], object]] = {
        "find": lambda: account.find(b"m", b"other"),
        "reserve": lambda: account.reserve(b"m", b"other", 1),
        "put": lambda: account.put(b"m", b"other", b"x"),
    }
    with pytest.raises(EncryptionError, match="a message was refused"):
        calls[call]()
    assert account.find(b"m", b"t") == b"answer"
    assert ledger.remaining(A, LINEAGES, STANDARD) == 127


def test_message_ids_of_one_querier_do_not_block_anothers(ledger: Ledger) -> None:
    ledger.answers(A, LINEAGES, STANDARD).reserve(b"m", b"t", 1)
    ledger.answers(B, LINEAGES, STANDARD).reserve(b"m", b"other", 1)
    assert [ledger.remaining(querier, LINEAGES, STANDARD) for querier in (A, B)] == [127, 127]


def test_an_answer_is_stored_for_charged_queries_only_and_never_replaced(ledger: Ledger) -> None:
    account = ledger.answers(A, LINEAGES, STANDARD)
    with pytest.raises(EncryptionError, match="refused"):
        account.put(b"m", b"t", b"answer")
    account.reserve(b"m", b"t", 1)
    account.put(b"m", b"t", b"answer")
    account.put(b"m", b"t", b"answer")
    with pytest.raises(EncryptionError, match="refused"):
        account.put(b"m", b"t", b"the same with fresh noise")
    assert account.find(b"m", b"t") == b"answer"


def test_old_answers_go_and_their_ids_stay(path: Path) -> None:
    ledger = Ledger(path, new=True, stored_bytes=2500)
    account = ledger.answers(A, LINEAGES, STANDARD)
    for index in range(4):
        account.reserve(bytes([index]), b"t", 1)
        account.put(bytes([index]), b"t", bytes(1000))
    assert account.find(b"\3", b"t") == account.find(b"\2", b"t") == bytes(1000)
    for gone in (b"\0", b"\1"):
        # Computing it again would give the same scores with fresh noise, which would average out.
        with pytest.raises(EncryptionError, match="refused"):
            account.find(gone, b"t")
        with pytest.raises(EncryptionError, match="refused"):
            account.reserve(gone, b"t", 1)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 124
    ledger.close()


def test_everything_is_there_after_a_restart(ledger: Ledger, path: Path, clock: Clock) -> None:
    message = spend(ledger, 8)
    ledger.answers(A, LINEAGES, STANDARD).put(message, b"t" * 32, b"answer")
    ledger.discovered(B, 5)
    ledger.asked(LINEAGES, 2, STANDARD)
    ledger.keep_counts(4, b"d", b"counts")
    ledger.close()
    again = Ledger(path, today=clock)
    assert again.remaining(A, LINEAGES, STANDARD) == 120
    assert again.answers(A, LINEAGES, STANDARD).find(message, b"t" * 32) == b"answer"
    assert again.discovery_remaining(B) == 11
    assert again.left_to_ask(LINEAGES, STANDARD) == 126
    assert again.counts_sent(4) == b"counts"
    again.close()


KILLED = """
import os, sys
from pathlib import Path
from client.ledger.ledger import Ledger
from common.consortium.identity import Card
from common.privacy.disclosure import STANDARD
ledger = Ledger(Path(sys.argv[1]))
account = ledger.answers(Card("hospital-a", b"", b""), ("kabuki", "noonan"), STANDARD)
for index in range(int(sys.argv[2])):
    account.reserve(bytes([index]), b"t", 1)
    os.write(1, bytes([index]))
os.read(0, 1)
"""


def test_a_killed_silo_forgets_no_charge_and_may_finish_the_answer(ledger: Ledger, path: Path) -> None:
    ledger.close()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\0"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = Ledger(path)
    account = again.answers(A, LINEAGES, STANDARD)
    assert again.remaining(A, LINEAGES, STANDARD) == 127
    assert account.find(b"\0", b"t") is None
    account.reserve(b"\0", b"t", 1)
    account.put(b"\0", b"t", b"answer")
    assert again.remaining(A, LINEAGES, STANDARD) == 127
    again.close()


def test_killed_at_any_moment_the_ledger_is_whole_and_holds_what_was_promised(ledger: Ledger, path: Path) -> None:
    ledger.close()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), "120"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        seen = process.stdout.read(7)
        os.kill(process.pid, signal.SIGKILL)
        seen += process.stdout.read()
    again = Ledger(path)
    # One more may have been booked than could be told.
    assert 128 - again.remaining(A, LINEAGES, STANDARD) in (len(seen), len(seen) + 1)
    again.close()


def test_a_change_that_was_cut_off_is_undone(ledger: Ledger, path: Path) -> None:
    code = KILLED.split("for index")[0] + (
        "with ledger.file.read() as rows:\n"
        "    rows.execute('PRAGMA cache_size = 1')\n"
        "with ledger.file.change() as rows:\n"
        "    rows.execute('DELETE FROM spent')\n"
        "    for index in range(200):\n"
        "        rows.execute('INSERT INTO counts VALUES (?, ?, ?)', (index, b'', bytes(4000)))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    spend(ledger, 100)
    ledger.close()
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    # Most of the change is on disk, in the log, and was never finished.
    assert path.with_name("ledger-wal").stat().st_size > 100 * 4000
    again = Ledger(path, today=lambda: DAY)
    assert again.remaining(A, LINEAGES, STANDARD) == 28
    assert again.counts_sent(0) is None
    again.close()


def test_threads_and_processes_share_one_budget(ledger: Ledger, path: Path, clock: Clock) -> None:
    second = Ledger(path, today=clock)
    outcomes: list[bool] = []

    def ask(one: Ledger) -> None:
        for _ in range(20):
            try:
                spend(one, 2)
                outcomes.append(True)
            except DisclosureError:
                outcomes.append(False)

    threads = [threading.Thread(target=ask, args=(one,)) for one in (ledger, second, ledger, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert outcomes.count(True) == 64
    assert ledger.remaining(A, LINEAGES, STANDARD) == 0


def test_a_batch_over_budget_is_refused_before_it_is_sent(ledger: Ledger) -> None:
    ledger.asked(LINEAGES, 64, STANDARD)
    ledger.asked(("kabuki",), 32, STANDARD)
    assert ledger.left_to_ask(LINEAGES, STANDARD) == 32
    with pytest.raises(DisclosureError, match="64 units are asked and 32 of 128 remain"):
        ledger.asked(LINEAGES, 64, STANDARD)
    assert ledger.left_to_ask(LINEAGES, STANDARD) == 32
    assert ledger.remaining(A, LINEAGES, STANDARD) == 128


def test_a_partner_may_ask_for_sixteen_discovery_rows_a_year(ledger: Ledger, clock: Clock) -> None:
    ledger.discovered(A, 16)
    with pytest.raises(DisclosureError, match="0 of 16 remain"):
        ledger.discovered(A, 1)
    ledger.discovered(B, 10)
    assert ledger.remaining(A, LINEAGES, STANDARD) == 128
    clock.on(365)
    assert ledger.discovery_remaining(A) == 16


def test_counts_are_made_once_for_an_epochs_number(ledger: Ledger) -> None:
    assert ledger.counts_sent(4) is None
    assert ledger.keep_counts(4, b"digest", b"first") == b"first"
    assert ledger.keep_counts(4, b"digest", b"second") == b"first"
    with pytest.raises(DisclosureError, match="another gallery epoch 4"):
        ledger.keep_counts(4, b"other", b"third")
    assert ledger.counts_sent(4) == b"first"


def test_the_forecast_says_when_the_pace_of_90_days_ends_a_budget(ledger: Ledger, clock: Clock) -> None:
    spend(ledger, 90)
    spend(ledger, 9, querier=B, lineages=("kabuki",))
    spend(ledger, 9, querier=B)
    first, second = ledger.forecast(STANDARD)
    # A unit a day from 90 on: 38 days.
    assert (first.querier, first.remaining, first.pace) == ("hospital-a", 38, 1.0)
    assert first.exhausted == DAY + datetime.timedelta(days=38)
    # 0.2 a day is 73 a year, which 128 cover for good, old units expiring.
    assert (second.querier, second.lineage, second.remaining, second.exhausted) == (
        "hospital-b",
        "kabuki",
        110,
        None,
    )
    clock.on(91)
    assert ledger.forecast(STANDARD)[0].exhausted is None
    clock.on(365)
    assert ledger.forecast(STANDARD) == []


def test_a_spent_budget_is_exhausted_today(ledger: Ledger) -> None:
    spend(ledger, 128)
    assert ledger.forecast(STANDARD)[0].exhausted == DAY


def test_the_file_is_its_owners_alone_while_open_and_in_the_middle_of_a_change(ledger: Ledger, path: Path) -> None:
    with ledger.file.change() as rows:
        rows.execute("DELETE FROM spent")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    os.chmod(path, 0o644)
    Ledger(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_change_is_synchronous(ledger: Ledger) -> None:
    with ledger.file.read() as rows:
        assert rows.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert rows.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_backup_holds_what_is_still_in_the_log(ledger: Ledger, path: Path, clock: Clock) -> None:
    spend(ledger, 100)
    copied = path.with_name("backup")
    ledger.file.copy(copied)
    spend(ledger, 10)
    backup = Ledger(copied, today=clock)
    assert backup.remaining(A, LINEAGES, STANDARD) == 28
    backup.close()
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    with pytest.raises(AgentError, match="exists already"):
        ledger.file.copy(path)


def test_a_missing_ledger_is_not_made_anew_by_itself(path: Path) -> None:
    with pytest.raises(AgentError, match=r"no ledger.*backup"):
        Ledger(path)
    assert not path.exists()


def test_a_ledger_is_not_overwritten(ledger: Ledger, path: Path) -> None:
    spend(ledger, 1)
    with pytest.raises(AgentError, match="exists already"):
        Ledger(path, new=True)


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "text":
            path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "page":
            path.write_bytes(content[:4096] + b"\xa5" * 4096 + content[8192:])
        case "other":
            path.unlink()
            with sqlite3.connect(path) as other:
                other.execute("CREATE TABLE spent (x)")
            other.close()


@pytest.mark.parametrize("how", ["text", "empty", "cut", "page", "other"])
def test_a_damaged_ledger_is_one_clear_error_and_never_reset(ledger: Ledger, path: Path, how: str) -> None:
    spend(ledger, 100)
    ledger.close()
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(AgentError, match=r"is damaged.*restore it from a backup"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_of_a_later_version_is_left_alone(ledger: Ledger, path: Path) -> None:
    with ledger.file.change() as rows:
        rows.execute("PRAGMA user_version = 9")
    with pytest.raises(AgentError, match="version 9"):
        Ledger(path)
