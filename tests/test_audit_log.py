"""The audit log: what was written stays as it was, or ``verify`` says what was done to it."""

from __future__ import annotations

import datetime
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.audit.answering import (
    MINUTE_SECONDS,
    MORE_REFUSED,
    MOST_REFUSED,
    audited,
    audited_peers,
    training_note,
)
from client.audit.entry import AGENT, MOST_BYTES, Entry, member, read_entry, user
from client.audit.files import lines, log_files
from client.audit.log import AuditLog
from client.audit.verifying import Verdict, verify
from client.local.door import Request
from common.consortium.identity import Member
from common.errors import AgentError, DisclosureError, EncryptionError, PhotoError, RunError

CLINIC = Member("clinic-a")
NOW = datetime.datetime(2026, 6, 1, 8, 15, 30, tzinfo=datetime.UTC)


def opened(folder: Path, *, sealing: bool = True, largest: int = 1 << 20) -> AuditLog:
    return AuditLog(folder, CLINIC if sealing else None, clock=lambda: NOW, largest=largest)


def written(folder: Path, count: int = 6, **options: bool | int) -> Path:
    """The only file of a log of ``count`` lines."""
    log = opened(folder, **options)
    for number in range(count):
        log.record("rank", user(f"ines-{number}"), rows=number)
    return log_files(folder)[0][1]


def checked(folder: Path) -> Verdict:
    return verify(folder, CLINIC.card)


def test_a_log_that_nobody_touched_holds_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "audit")
    verdict = checked(tmp_path / "audit")
    assert (verdict.faults, verdict.notes) == ([], [])
    assert (verdict.lines, verdict.number, verdict.sealed) == (6, 6, 6)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in path.parent.iterdir())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


Lines = list[bytes]
TAMPERING: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "changed": (lambda all: [*all[:2], all[2].replace(b"ines-2", b"olga-2"), *all[3:]], "line 3 or 4 was changed"),
    "changed at the end": (lambda all: [*all[:5], all[5].replace(b"ines", b"olga")], "line 6 was changed after"),
    "another spelling": (lambda all: [*all[:2], all[2].replace(b":", b": ", 1), *all[3:]], ":3 is no line"),
    "no JSON": (lambda all: [*all[:2], b"hello", *all[3:]], ":3 is no line"),
    "removed": (lambda all: [*all[:2], *all[3:]], "lines 3 to 3 are missing"),
    "removed at the beginning": (lambda all: all[2:], "lines 1 to 2 are missing"),
    "reordered": (lambda all: [all[0], all[2], all[1], *all[3:]], "line 2 stands behind line 3"),
    "repeated": (lambda all: [*all[:3], all[2], *all[3:]], "line 3 stands behind line 3"),
    "cut off": (lambda all: all[:4], "6 lines were sealed, and the log ends with line 4"),
    "all gone": (lambda all: [], "6 lines were sealed, and the log ends with line 0"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_every_kind_of_tampering_is_found(tmp_path: Path, how: str) -> None:
    path = written(tmp_path / "audit")
    change, fault = TAMPERING[how]
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    assert fault in "; ".join(checked(path.parent).faults)


def test_a_forged_line_with_the_right_chain_fails_at_the_seal(tmp_path: Path) -> None:
    path = written(tmp_path / "audit")
    all_lines = path.read_bytes().splitlines()
    forged, before = [], Entry(1, "2026-01-01T00:00:00Z", "a", AGENT, "0" * 64).before
    for line in all_lines:
        fields = json.loads(line) | {"before": before, "who": "user mallory"}
        entry = Entry(**fields)
        forged.append(entry.line)
        before = entry.digest
    path.write_bytes(b"".join(line + b"\n" for line in forged))
    assert checked(path.parent).faults == ["line 6 was changed after it was sealed"]


def test_the_sealed_end_can_neither_go_nor_be_another_silos_nor_an_older_one(tmp_path: Path) -> None:
    path = written(tmp_path / "audit", 3)
    head = path.parent / "head.json"
    older = head.read_bytes()
    for _ in range(3):
        opened(path.parent).record("rank", AGENT)
    newest = head.read_bytes()
    head.write_bytes(older)
    assert "was sealed, and the sealed end is that of line 3" in checked(path.parent).faults[0]
    head.unlink()
    assert checked(path.parent).faults == ["the sealed end is missing, though lines were sealed"]
    head.write_bytes(newest)
    assert checked(path.parent).faults == []
    assert "not signed by" in verify(path.parent, Member("clinic-a").card).faults[0]
    head.write_bytes(newest.replace(b'"number": 6', b'"number": 5'))
    assert "not signed by" in checked(path.parent).faults[0]
    head.write_bytes(b"[]")
    assert "is damaged" in checked(path.parent).faults[0]


def test_a_note_kept_elsewhere_shows_a_log_put_back_together_with_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "audit", 3)
    old = {file: file.read_bytes() for file in path.parent.iterdir()}
    opened(path.parent).record("import", user("ines"))
    noted = checked(path.parent)
    for file, content in old.items():
        file.write_bytes(content)
    assert checked(path.parent).faults == []
    again = verify(path.parent, CLINIC.card, noted=(noted.number, noted.digest))
    assert again.faults == ["line 4 is not the one that was noted"]


def test_files_follow_one_another_and_carry_the_chain(tmp_path: Path) -> None:
    log = opened(tmp_path / "audit", largest=600)
    for _ in range(12):
        log.record("query", member("clinic-b"))
    files = log_files(tmp_path / "audit")
    assert len(files) > 2
    verdict = checked(tmp_path / "audit")
    assert (verdict.faults, verdict.lines, verdict.files) == ([], 12, len(files))
    files[1][1].unlink()
    assert any("files are missing" in fault for fault in checked(tmp_path / "audit").faults)
    assert any("are missing" in fault for fault in checked(tmp_path / "audit").faults)


def test_a_log_that_was_cut_or_changed_takes_no_more_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "audit")
    whole = path.read_bytes().splitlines(keepends=True)
    for content, how in ((whole[:4], "6 were sealed"), ([*whole[:5], b"{}\n"], "last line was changed")):
        path.write_bytes(b"".join(content))
        with pytest.raises(AgentError, match=how):
            opened(path.parent).record("rank", AGENT)
        assert path.read_bytes() == b"".join(content)


def test_lines_of_a_command_without_the_key_are_sealed_with_the_agents_next(tmp_path: Path) -> None:
    path = written(tmp_path / "audit", 2)
    opened(path.parent, sealing=False).record("import", user("ines"), added=3)
    verdict = checked(path.parent)
    assert (verdict.faults, verdict.sealed) == ([], 2)
    assert verdict.notes == ["lines from 3 on wait for the agent to seal them"]
    opened(path.parent).record("look", user("ines"))
    assert checked(path.parent).sealed == 4


def test_threads_and_writers_of_their_own_make_one_chain(tmp_path: Path) -> None:
    shared = opened(tmp_path / "audit", largest=2000)
    begin = threading.Barrier(6)

    def write(number: int) -> None:
        log = shared if number % 2 else opened(tmp_path / "audit", sealing=number % 4 == 0, largest=2000)
        begin.wait()
        for _ in range(8):
            log.record("rank", user(f"u{number}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = checked(tmp_path / "audit")
    assert (verdict.faults, verdict.lines) == ([], 48)


KILLED = """
import os, signal, sys
from pathlib import Path
import client.audit.log as module
from client.audit.entry import AGENT
from common.consortium.identity import Member

folder, part = Path(sys.argv[1]), int(sys.argv[2])
member = Member("clinic-a", bytes.fromhex(sys.argv[3]))
log = module.AuditLog(folder, member)
log.record("rank", AGENT)
if part >= 0:
    def stop(handle, content):
        os.write(handle, content[:part])
        os.fsync(handle)
        os.kill(os.getpid(), signal.SIGKILL)
    module._write = stop
else:
    module.write_head = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
log.record("rank", AGENT, rows=7)
"""


@pytest.mark.parametrize("part", [0, 1, 150, -1], ids=["nothing", "a letter", "half a line", "all but the seal"])
def test_a_writer_that_is_killed_leaves_a_log_that_goes_on(tmp_path: Path, part: int) -> None:
    folder = tmp_path / "audit"
    arguments = [str(folder), str(part), CLINIC.private_bytes().hex()]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL
    verdict = checked(folder)
    assert verdict.faults == []
    assert [("no end" in note) for note in verdict.notes] == {0: [], 1: [True], 150: [True], -1: [False]}[part]
    opened(folder).record("rank", AGENT)
    events = [read_entry(line).event for line, _ in lines(log_files(folder)[0][1])]
    assert events == ["rank", *(["audit.torn"] if part > 0 else ["rank"] if part < 0 else []), "rank"]
    verdict = checked(folder)
    assert (verdict.faults, verdict.notes) == ([], [])


def test_a_disk_that_is_full_is_said_and_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "audit", 2)
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, content: real(handle, content[:40]))
        with pytest.raises(RunError, match="cannot write the audit log"):
            opened(path.parent).record("rank", AGENT)
    opened(path.parent).record("rank", AGENT)
    verdict = checked(path.parent)
    assert (verdict.faults, verdict.lines) == ([], 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"who": "Jane Roe"},
        {"who": "user jane roe"},
        {"reason": "patient P-17: no face\n"},
        {"reason": "photos/jane_roe.jpg"},
        {"patient": "P-17"},
        {"label": "CdLS"},
        {"path": "a/b.jpg"},
        {"rows": -1},
        {"event": "Rank"},
    ],
    ids=str,
)
def test_what_could_name_a_patient_has_no_place(tmp_path: Path, wrong: dict[str, str]) -> None:
    values = {"event": "rank", "who": user("ines"), **wrong}
    with pytest.raises(ValueError, match="no audit line can hold"):
        opened(tmp_path / "audit").record(values.pop("event"), values.pop("who"), **values)
    assert not (tmp_path / "audit" / "audit-000001.jsonl").exists()


def request(operation: str) -> Request:
    return Request(operation, {"patients": [["P-17", 1]]}, (), "ines")


def test_requests_leave_a_line_with_the_os_user_and_never_the_message(tmp_path: Path) -> None:
    def handle(asked: Request) -> dict[str, str]:
        if asked.operation == "rank":
            raise PhotoError("patient P-17: no face in /photos/p17.jpg", remedy="take another")
        if asked.operation == "keys":
            raise KeyError("P-17")
        return {"said": "yes"}

    local = audited(opened(tmp_path / "audit"), handle)
    assert local(request("epoch")) == {"said": "yes"}
    assert local(request("status")) == {"said": "yes"}
    with pytest.raises(PhotoError, match=r"p17\.jpg"):
        local(request("rank"))
    with pytest.raises(KeyError):
        local(request("keys"))
    assert local(request("DROP TABLE\n")) == {"said": "yes"}
    content = log_files(tmp_path / "audit")[0][1].read_bytes()
    assert b"p-17" not in content.lower()
    assert b"p17" not in content
    found = [read_entry(line) for line in content.splitlines()]
    assert [(entry.event, entry.who, entry.outcome, entry.reason) for entry in found] == [
        ("epoch", "user ines", "done", ""),
        ("rank", "user ines", "refused", "a photo"),
        ("keys", "user ines", "failed", "an error of the program"),
        ("unknown", "user ines", "done", ""),
    ]


def test_other_hospitals_leave_a_line_with_their_name_and_topic(tmp_path: Path) -> None:
    def handle(sender: str, topic: str, body: bytes) -> bytes:
        if topic == "query":
            raise DisclosureError("nothing is left of the budget", remedy="wait")
        return b"answer"

    peers = audited_peers(opened(tmp_path / "audit"), handle)
    assert peers("clinic-b", "epoch.newest", b"") == b"answer"
    with pytest.raises(DisclosureError):
        peers("clinic-b", "query", b"")
    assert peers("clinic-b", "\u202eyreuq", b"") == b"answer"
    found = [read_entry(line) for line, _ in lines(log_files(tmp_path / "audit")[0][1])]
    assert {entry.who for entry in found} == {"member clinic-b"}
    assert [(entry.facts["topic"], entry.outcome, entry.reason) for entry in found] == [
        ("epoch.newest", "done", ""),
        ("query", "refused", "policy, budget or consent"),
        ("unknown", "done", ""),
    ]


def test_refusals_without_end_do_not_fill_the_disk(tmp_path: Path) -> None:
    now = [0.0]

    def handle(sender: str, topic: str, body: bytes) -> bytes:
        if body:
            raise EncryptionError("not signed", remedy="sign it")
        return b"answer"

    peers = audited_peers(opened(tmp_path / "audit"), handle, clock=lambda: now[0])
    for number in range(1000):
        with pytest.raises(EncryptionError):
            peers("clinic-b", f"topic{number}", b"nonsense")
    assert peers("clinic-b", "query", b"") == b"answer"
    now[0] = MINUTE_SECONDS
    assert peers("clinic-c", "query", b"") == b"answer"
    with pytest.raises(EncryptionError):
        peers("clinic-b", "query", b"nonsense")
    found = [read_entry(line) for line, _ in lines(log_files(tmp_path / "audit")[0][1])]
    assert [entry.outcome for entry in found] == [
        *["refused"] * MOST_REFUSED,
        "done",
        "refused",
        "done",
        "refused",
    ]
    told = found[MOST_REFUSED + 1]
    assert (told.who, told.facts, told.reason) == ("relay", {"refused": 1000 - MOST_REFUSED}, MORE_REFUSED)


def test_what_cannot_be_written_down_is_not_answered(tmp_path: Path) -> None:
    path = written(tmp_path / "audit")
    path.write_bytes(b"")
    with pytest.raises(AgentError, match="not as it was written"):
        audited_peers(opened(path.parent), lambda *message: b"secret")("clinic-b", "query", b"")


@given(st.binary(max_size=MOST_BYTES) | st.text(alphabet='{}":,0123456789abenu', max_size=200).map(str.encode))
def test_hostile_lines_are_one_kind_of_error(line: bytes) -> None:
    try:
        entry = read_entry(line)
    except ValueError:
        return
    assert entry.line == line


def test_what_training_notes_becomes_a_line_without_its_words(tmp_path: Path) -> None:
    note = training_note(opened(tmp_path / "audit"))
    note("training.trained", {"run": "run-7", "round": 3, "patients": 41})
    note("training.refused", {"run": "run-7", "reason": "patient P-17 has two syndromes"})
    note("training.unknown", {"operation": "read /etc/passwd", "user": "flower"})
    note("training.refused", {"run": "../P-17", "round": "P-17", "reason": "no such run"})
    found = [read_entry(line) for line, _ in lines(log_files(tmp_path / "audit")[0][1])]
    assert [(entry.outcome, dict(entry.facts)) for entry in found] == [
        ("done", {"run": "run-7", "round": "3", "patients": 41}),
        ("refused", {"run": "run-7"}),
        ("refused", {}),
        ("refused", {}),
    ]
