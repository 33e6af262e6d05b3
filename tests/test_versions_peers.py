"""A hospital of a later release among others: asked nothing, answered nothing, in no panel, named everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.audit.files import log_files
from client.monitoring.status_table import status_table
from client.relay.link import RelayLink
from client.relay.speaking import check_speaks, unfit
from client.workspace.workspace import Workspace
from common.errors import VersionError
from common.transport.refusal import PeerRefusal
from common.versions import BEFORE, OWN, SOFTWARE, Hello
from tests.agents import PATIENT, Hospitals, found_hospitals, hospitals

NAMES = ("alpha", "beta", "gamma", "delta", "omega")
STAYS = NAMES[:4]
OMEGA = Hello("0.3.0", {**OWN.speaks, "ranking": (2, 3)})
WHY = f"omega runs phenofed 0.3.0 (ranking 2-3), this silo runs phenofed {SOFTWARE} (ranking 1)"


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES)) as made:
        made.start(*STAYS)
        yield made


@pytest.fixture(scope="module")
def omega(consortium: Hospitals) -> Iterator[RelayLink]:
    workspace = Workspace(consortium.folder / "omega")
    link = RelayLink(
        workspace.roster().relay, workspace.tls, "omega", lambda sender, topic, body: b"0", hello=OMEGA
    )
    link.start()
    assert link.wait_for(NAMES, seconds=PATIENT), link.why_not
    for agent in consortium.agents.values():
        assert agent.link.wait_for(["omega"], seconds=PATIENT)
    yield link
    link.close()


def test_an_epoch_opens_without_it_and_says_why(consortium: Hospitals, omega: RelayLink) -> None:
    number = consortium.open_epoch("alpha")
    opened = consortium.agents["beta"].epochs.current
    assert opened is not None
    assert opened.epoch.number == number
    assert [card.name for card in opened.epoch.participants] == sorted(STAYS)
    assert "omega" not in opened.epoch.waiting
    assert WHY in consortium.agents["alpha"].proposer.left_out["omega"]
    # The same words stand in every ranking of this epoch.
    assert WHY in consortium.ask("beta", "status")["left_out"]["omega"]


def test_status_names_every_release_and_who_is_not_asked(consortium: Hospitals, omega: RelayLink) -> None:
    status = consortium.ask("alpha", "status")
    found = status["software"]
    assert (found["agent"], found["relay"], found["silos"]["omega"]) == (SOFTWARE, SOFTWARE, "0.3.0")
    assert found["unfit"] == {"omega": f"{WHY}: no version in common: update this silo"}
    cells = [text for column in status_table(status).columns for text in map(str, column.cells)]
    assert f"{SOFTWARE}; the relay runs {SOFTWARE}" in cells
    assert any("omega (0.3.0)" in text for text in cells)
    assert any(text.startswith(WHY) for text in cells)


def test_neither_asks_the_other_anything(consortium: Hospitals, omega: RelayLink) -> None:
    alpha = consortium.agents["alpha"]
    for topic in ("query", "keys.bring", "epoch.check", "epoch.newest"):
        with pytest.raises(VersionError, match="no version in common"):
            alpha._ask("omega", topic, b"", PATIENT)
        with pytest.raises(PeerRefusal, match="no version in common") as refused:
            omega.request("alpha", topic, b"0", deadline=PATIENT)
        assert refused.value.exit_code == VersionError.exit_code
    # Discovery is another protocol, and fits.
    with pytest.raises(PeerRefusal) as refused:
        omega.request("alpha", "discover.ask", b"0", deadline=PATIENT)
    assert "version" not in str(refused.value)


def test_figures_and_the_audit_log_name_the_release(consortium: Hospitals) -> None:
    alpha = consortium.agents["alpha"]
    assert alpha.metrics.registry.get_sample_value("phenofed_build_info", {"version": SOFTWARE}) == 1
    registry = consortium.relay.metrics.registry
    assert registry.get_sample_value("phenofed_build_info", {"version": SOFTWARE}) == 1
    first = next(
        line
        for _, file in log_files(alpha.workspace.folder / "audit")
        for line in file.read_bytes().splitlines()
        if b'"agent.start"' in line
    )
    assert f'"release":"phenofed-{SOFTWARE}"'.encode() in first


def test_a_silo_of_before_versions_is_asked_as_before() -> None:
    for topic in ("query", "epoch.check", "discover.ask"):
        check_speaks(BEFORE, topic, "omega")
    assert unfit(BEFORE, "omega") == ""
    later = Hello("0.3.0", dict.fromkeys(OWN.speaks, (3, 4)))
    assert unfit(BEFORE, "omega", own=later).endswith("update omega")
