"""A policy in force at a running agent: hours for others, an invalid policy, and the clinic's door."""

from __future__ import annotations

import datetime
import grp
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.agent import Agent
from client.audit.entry import Entry, read_entry
from client.audit.files import lines, log_files
from client.audit.opening import log_folder
from client.local.door import call
from client.workspace.policy import InvalidPolicy
from client.workspace.workspace import Workspace
from common.errors import AgentError, ConfigError, DisclosureError, PhenofedError
from common.storage import sha256_file
from common.transport.refusal import PeerRefusal
from tests.agents import Hospitals, found_hospitals, hospitals, phenofed, photo, set_policy

NAMES = ("alpha", "beta", "delta", "gamma")
NOON, NIGHT = (datetime.datetime(2026, 6, 1, hour, 30, tzinfo=datetime.UTC) for hour in (12, 23))
ANSWERS = {"zone": "UTC", "rank": "08:00-18:00", "discover": "09:00-10:00"}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """Four agents and an open gallery epoch; a test leaves beta's policy as it found it."""
    folder = tmp_path_factory.mktemp("hospitals") / "c"
    made = found_hospitals(folder, NAMES)
    group = grp.getgrgid(os.getegid()).gr_name
    set_policy(folder / "beta", clinic={"socket": str(folder / "clinic.sock"), "group": group})
    with hospitals(made, start=NAMES) as consortium:
        consortium.open_epoch("alpha")
        yield consortium


@pytest.fixture
def beta(four: Hospitals) -> Iterator[Path]:
    """Beta's policy file."""
    path = four.folder / "beta" / "policy.yaml"
    content, now = path.read_bytes(), four.agents["beta"].now
    yield path
    four.agents["beta"].now = now
    path.write_bytes(content)


def audit(four: Hospitals, event: str) -> list[Entry]:
    files = log_files(log_folder(four.agents["beta"].workspace))
    found = [read_entry(line) for _, path in files for line, _ in lines(path)]
    return [entry for entry in found if entry.event == event]


def asked(four: Hospitals, topic: str, body: bytes = b"") -> PhenofedError:
    """What alpha hears of beta when it refuses."""
    with pytest.raises(PeerRefusal) as refused:
        four.agents["alpha"].link.request("beta", topic, body, deadline=30)
    return refused.value


def test_others_are_answered_in_hours_only_and_ones_own_clinicians_always(four: Hospitals, beta: Path) -> None:
    set_policy(beta.parent, hours=ANSWERS)
    four.agents["beta"].now = lambda: NIGHT
    closed = four.rank("alpha", photo(1))
    assert "beta answers queries from 08:00 to 18:00 UTC, next on 2026-06-02 at 08:00" in closed.silent["beta"]
    assert "beta" not in closed.silos
    assert audit(four, "answer")[-1].reason == "outside the hours of the policy"
    assert set(four.rank("beta", photo(2)).silos) == set(NAMES), "beta asks whenever it likes"
    four.agents["beta"].now = lambda: NOON
    assert set(four.rank("alpha", photo(3)).silos) == set(NAMES)


def test_discovery_has_hours_of_its_own(four: Hospitals, beta: Path) -> None:
    set_policy(beta.parent, hours=ANSWERS, allow={"rank": True, "discover": True})
    four.agents["beta"].now = lambda: NOON
    assert "beta answers discovery from 09:00 to 10:00 UTC" in str(asked(four, "discover.ask"))
    four.agents["beta"].now = lambda: NOON.replace(hour=9)
    assert "answers discovery" not in str(asked(four, "discover.ask"))


def test_an_invalid_policy_allows_nothing_says_why_at_home_and_nothing_abroad(
    four: Hospitals, beta: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = beta.read_bytes()
    beta.write_bytes(good + b"alow: {rank: false}\nkep: 3\n")
    for topic in ("query", "epoch.newest", "keys.known", "discover.ask"):
        error = str(asked(four, topic))
        assert "the policy of beta cannot be used at the moment" in error
        assert "alow" not in error
        assert "/" not in error.replace("policy.yaml", "")
    with pytest.raises(ConfigError, match=r"unknown key 'alow' \(did you mean 'allow'\?\); unknown key 'kep'"):
        four.ask("beta", "status")
    with pytest.raises(ConfigError, match="unknown key"):
        four.rank("beta", photo(4))
    four.ask("beta", "look")  # consents are looked at whatever the policy says
    assert four.agents["beta"].metrics.value("policy_valid") == 0
    assert sum("allows nothing until it is mended" in record.message for record in caplog.records) == 1
    taken = audit(four, "policy")[-1]
    assert (taken.outcome, taken.reason) == ("refused", "the policy cannot be used")
    beta.write_bytes(good)
    assert set(four.rank("alpha", photo(5)).silos) == set(NAMES)
    assert four.agents["beta"].metrics.value("policy_valid") == 1
    taken = audit(four, "policy")[-1]
    assert (taken.outcome, taken.facts["digest"]) == ("done", sha256_file(beta))
    assert audit(four, "agent.start")[-1].facts["digest"] == sha256_file(beta)


def test_clinicians_rank_by_a_socket_of_their_own_and_can_do_no_more_there(
    four: Hospitals, tmp_path: Path
) -> None:
    place = four.folder / "clinic.sock"
    (tmp_path / "face.png").write_bytes(photo(6))
    ranked = phenofed("rank", tmp_path / "face.png", "--patient", "P-1", "--workspace", place, "--aligned")
    assert ranked.exit_code == 0, ranked.output
    assert phenofed("silo", "status", place).exit_code == 0
    for operation in ("stop", "keys", "epoch"):
        with pytest.raises(DisclosureError, match="the clinic's socket does not offer"):
            call(place, operation, {})
    assert (audit(four, "stop")[-1].outcome, audit(four, "stop")[-1].who[:5]) == ("refused", "user ")
    assert audit(four, "rank")[-1].who.startswith("user ")


def test_an_agent_does_not_start_where_its_policy_names_what_is_not_there(consortium: Path) -> None:
    clinic = min(consortium.glob("*/workspace.json")).parent
    changes: dict[str, Any] = {
        "detector": {"path": "yunet.onnx", "sha256": "1" * 64},
        "clinic": {"socket": "run/clinic.sock", "group": "nobody-knows"},
    }
    set_policy(clinic, **changes)
    with pytest.raises(AgentError, match=r"model\.release.*detector\.path.*clinic\.socket.*clinic\.group"):
        Agent(Workspace(clinic))
    shown = phenofed("silo", "check", clinic, "--json")
    for key in ("model.release", "detector.path", "clinic.socket", "clinic.group"):
        assert f"'{key}" in shown.output
    with (clinic / "policy.yaml").open("a") as file:
        file.write("alow: {}\nkep: {}\n")
    shown = phenofed("silo", "check", clinic, "--json")
    assert "unknown key 'alow' (did you mean 'allow'?); unknown key 'kep' (did you mean 'keep'?)" in shown.output
    refused = phenofed("silo", "up", clinic)
    assert isinstance(refused.exception, InvalidPolicy)
    assert "unknown key 'kep'" in str(refused.exception)
