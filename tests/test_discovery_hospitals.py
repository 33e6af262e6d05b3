"""Two hospitals compare their patients over a relay: who is found, who hears of it, and what it costs."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import threading

import pytest
import yaml
from pydantic import ValidationError

from client.agent import Agent
from client.discovery import answering
from client.discovery.answering import ACCEPT, ASK, OFFER
from client.workspace.policy import Discovery
from client.workspace.workspace import Workspace
from common.encryption.envelope import HEADER_BYTES, SIGNATURE_BYTES
from common.encryption.gram_layout import MOST_DIMENSION, MOST_ROWS, GramLayout
from common.encryption.gram_terms import LEAST_THRESHOLD, MOST_PATIENTS, Pairing
from common.encryption.worker import Worker
from common.errors import AgentError, ConfigError, DisclosureError, EncryptionError, RelayError
from common.storage import write_text
from common.transport.refusal import PeerRefusal
from common.transport.wire import MAX_MESSAGE
from tests.consortium_folder import copy_consortium, done, make_consortium, refusal
from tests.discovery_desk import A, B
from tests.discovery_hospitals import BACKBONE, TODAY, face, hospitals, write_thin_release

NAMES = ("hospital-a", "hospital-b")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_consortium(folder, NAMES)
    write_thin_release(folder / "release")
    return folder


@pytest.fixture
def two(made, tmp_path):
    """a-1 and b-7 look alike; so do a-2 and the solved b-8, a-3 and b-9, who did not agree."""
    with hospitals(made, tmp_path, *NAMES) as (here, there):
        here.import_patients({"a-1": face(0), "a-2": face(1), "a-3": face(6)})
        looking_alike = {"b-7": face(0, brighter=8), "b-8": face(1, brighter=8), "b-9": face(6, brighter=8)}
        there.import_patients({**looking_alike, "b-4": face(2), "b-5": face(11)}, solved=["b-8"], silent=["b-9"])
        yield here, there


@pytest.fixture
def linked(two):
    here, there = two
    (link,) = here.desk.ask("hospital-b", ["a-1"]).links
    return here, there, link.name


def test_the_planted_pair_is_found_by_both_and_nobody_else(two):
    here, there = two
    outcome = here.desk.ask("hospital-b")
    (ours,), (theirs,) = here.ground.book.links, there.ground.book.links
    assert outcome.links == (ours,)
    assert outcome.untold == ""
    assert (ours.patient, theirs.patient) == ("a-1", "b-7")
    assert (ours.name, ours.similarity, ours.ours) == (theirs.name, theirs.similarity, theirs.theirs)
    assert {link.state for link in (ours, theirs)} == {"offered"}
    assert there.desk.ask("hospital-a").links == (theirs,)


def test_a_hospital_that_did_not_opt_in_neither_asks_nor_answers(two):
    here, there = two
    there.set_policy(discover=False)
    with pytest.raises(PeerRefusal, match="hospital-b: this hospital does not take part"):
        here.desk.ask("hospital-b", ["a-1"])
    for topic in (OFFER, ACCEPT):
        with pytest.raises(DisclosureError, match="does not take part"):
            there.desk.handle("hospital-a", topic, b"")
    with pytest.raises(DisclosureError, match="does not take part"):
        there.desk.ask("hospital-a")
    assert there.ground.rows(there.ground.workspace.policy()).rows_to_answer(here.ground.member.card) == 16


def test_contacts_show_once_both_have_accepted_and_not_before(linked):
    here, there, name = linked
    assert [contact for side in (here, there) for _, contact in side.desk.links()] == [None, None]
    assert here.desk.accept(name).links[0].state == "accepted here"
    assert [side.desk.links()[0][0].state for side in (here, there)] == ["accepted here", "accepted there"]
    assert [contact for side in (here, there) for _, contact in side.desk.links()] == [None, None]
    assert there.desk.accept(name).untold == ""
    contacts = [contact for side in (here, there) for _, contact in side.desk.links()]
    assert contacts == ["faces@hospital-b.example", "faces@hospital-a.example"]


def test_what_was_lost_on_its_way_is_told_with_an_acceptance(two):
    here, there = two
    here.losing = {OFFER}
    outcome = here.desk.ask("hospital-b", ["a-1"])
    name = outcome.links[0].name
    assert "not connected" in outcome.untold
    assert there.desk.links() == []
    here.losing = set()
    assert here.desk.accept(name).untold == ""
    assert there.desk.links()[0][0].state == "accepted there"
    there.losing = {ACCEPT}
    assert "not connected" in there.desk.accept(name).untold
    assert here.desk.links()[0][0].state == "accepted here"
    here.desk.accept(name)
    assert here.desk.links()[0][1] == "faces@hospital-b.example"


def test_a_refused_link_says_nothing_to_the_partner_and_stays_refused(linked):
    here, there, name = linked
    assert there.desk.refuse(name).state == "declined"
    outcome = here.desk.accept(name)
    assert (outcome.untold, outcome.links[0].state) == ("", "accepted here")
    with pytest.raises(DisclosureError, match="was declined"):
        there.desk.accept(name)
    here.desk.ask("hospital-b", ["a-1"])
    assert there.desk.links()[0][0].state == "declined"


def test_rows_run_out_with_what_remains_and_come_back_after_a_year(two):
    here, there = two
    there.set_policy(rows=2)
    here.desk.ask("hospital-b", ["a-1"])
    with pytest.raises(PeerRefusal, match="2 units are asked and 1 of 2 remain"):
        here.desk.ask("hospital-b", ["a-2", "a-3"])
    left = {(entry.partner, entry.to_ask, entry.to_answer) for entry in here.desk.remaining()}
    assert left == {("hospital-b", 13, 16)}
    assert [entry.to_answer for entry in there.desk.remaining()] == [1]
    here.ground.rows(here.workspace.policy()).spend_rows(there.ground.member.card, 12, bytes(32))
    with pytest.raises(DisclosureError, match="3 patients, and 1 may be compared with hospital-b within a year"):
        here.desk.ask("hospital-b")
    for hospital in two:
        hospital.today = TODAY + datetime.timedelta(days=366)
    assert [entry.to_ask for entry in here.desk.remaining()] == [16]
    assert [entry.to_answer for entry in there.desk.remaining()] == [2]


def test_a_question_without_an_answer_is_asked_again_at_no_cost(two):
    here, there = two
    here.losing = {ASK}
    with pytest.raises(RelayError):
        here.desk.ask("hospital-b", ["a-1", "a-2"])
    here.losing = set()
    here.open()
    assert [link.patient for link in here.desk.ask("hospital-b", ["a-2", "a-1"]).links] == ["a-1"]
    assert [entry.to_ask for entry in here.desk.remaining()] == [14]
    assert [entry.to_answer for entry in there.desk.remaining()] == [14]
    assert not here.ground.questions.is_open(there.ground.member.card)


def test_who_withdraws_disappears_from_links_names_questions_and_encodings(linked):
    here, there, name = linked
    here.losing = {ASK}
    with pytest.raises(RelayError):
        here.desk.ask("hospital-b", ["a-1", "a-2"])
    assert (here.workspace.folder / "discovery" / "encodings.safetensors").exists()
    here.import_patients({"a-1": face(0), "a-2": face(1)}, silent=["a-1"])
    assert here.desk.forget_withdrawn() == 1
    here.open()
    assert here.desk.links() == []
    assert here.ground.pseudonyms.patients == frozenset()
    assert here.ground.questions.patients == frozenset()
    left = b"".join(path.read_bytes() for path in here.workspace.folder.glob("discovery/**/*") if path.is_file())
    assert b"a-1" not in left
    outcome = there.desk.accept(name)
    assert outcome.untold == "hospital-a does not know this link any more"
    assert there.desk.links()[0][1] is None


def test_a_consent_that_ends_while_the_partner_computes_ends_the_question(two):
    here, there = two
    there.encoder_made = lambda: here.import_patients({"a-1": face(0), "a-2": face(1)}, silent=["a-1"])
    with pytest.raises(DisclosureError, match="ended meanwhile"):
        here.desk.ask("hospital-b", ["a-1"])
    assert here.desk.links() == []
    assert here.ground.pseudonyms.patients == frozenset()


def test_patients_who_may_not_be_compared_cost_nothing(two):
    here, _ = two
    for patients in (["nobody"], ["a-1", "a-1"]):
        with pytest.raises(DisclosureError, match="may not be compared"):
            here.desk.ask("hospital-b", patients)
    with pytest.raises(ConfigError, match="no member"):
        here.desk.ask("hospital-c")
    with pytest.raises(DisclosureError, match="is this hospital"):
        here.desk.ask("hospital-a")
    here.import_patients({"a-1": face(0)}, solved=["a-1"])
    with pytest.raises(DisclosureError, match="no patient here may be compared"):
        here.desk.ask("hospital-b")
    assert [entry.to_ask for entry in here.desk.remaining()] == [16]


def test_a_partner_without_patients_gives_no_link_and_hides_that(two):
    here, there = two
    there.import_patients({"b-4": face(0)}, silent=["b-4"])
    assert here.desk.ask("hospital-b").links == ()
    assert [entry.to_answer for entry in there.desk.remaining()] == [13]


def test_a_worker_that_dies_is_a_refused_question_and_costs_once(two, monkeypatch):
    here, there = two
    with monkeypatch.context() as patched:
        patched.setattr(answering, "Worker", functools.partial(Worker, memory=32 << 20))
        with pytest.raises(PeerRefusal, match="the encryption worker"):
            here.desk.ask("hospital-b", ["a-1"])
    assert [link.patient for link in here.desk.ask("hospital-b", ["a-1"]).links] == ["a-1"]
    assert [entry.to_ask for entry in here.desk.remaining()] == [15]
    assert [entry.to_answer for entry in there.desk.remaining()] == [15]


def test_an_agent_is_opted_out_of_ranking_and_discovery_separately(made, tmp_path):
    workspace = copy_consortium(made, tmp_path / "c") / "hospital-a"
    model = {"release": "../release", "backbone": BACKBONE.model_dump(mode="json"), "allow_unsigned": True}
    policy = {"allow": {"rank": False, "discover": True}, "model": model}
    write_text(workspace / "policy.yaml", yaml.safe_dump(policy))
    with contextlib.closing(Agent(Workspace(workspace))) as agent:
        with pytest.raises(DisclosureError, match="no part in ranking"):
            agent._handle("hospital-b", "query", b"")
        with pytest.raises(EncryptionError, match="a message was refused"):
            agent._handle("hospital-b", OFFER, b"")
        write_text(workspace / "policy.yaml", yaml.safe_dump({**policy, "allow": {"discover": False}}))
        with pytest.raises(DisclosureError, match="does not take part in discovery"):
            agent._handle("hospital-b", OFFER, b"")


def test_one_comparison_runs_at_a_time_and_the_next_is_told_so_at_once(two):
    here, there = two
    computing, go_on = threading.Event(), threading.Event()
    there.encoder_made = lambda: (computing.set(), go_on.wait(20))
    found = []
    asking = threading.Thread(target=lambda: found.append(here.desk.ask("hospital-b", ["a-1"])))
    asking.start()
    assert computing.wait(20)
    with pytest.raises(AgentError, match="comparing patients already"):
        there.desk.handle("hospital-a", ASK, b"")
    go_on.set()
    asking.join(20)
    assert len(found[0].links) == 1


def test_damaged_and_unknown_messages_are_refused(two):
    _, there = two
    for topic in (ASK, OFFER, ACCEPT):
        with pytest.raises(EncryptionError, match="a message was refused"):
            there.desk.handle("hospital-a", topic, b"x" * 400)
    with pytest.raises(AgentError, match="does not know"):
        there.desk.handle("hospital-a", "discover.everything", b"")
    with pytest.raises(ConfigError, match="no member"):
        there.desk.handle("hospital-z", ASK, b"")


def test_the_largest_answer_fits_through_the_relay():
    terms = Pairing(A.card, B.card, bytes(32)).answer_terms(
        GramLayout(MOST_DIMENSION, MOST_ROWS, MOST_PATIENTS), bytes(32)
    )
    assert 40_000_000 < terms.length + HEADER_BYTES + SIGNATURE_BYTES < MAX_MESSAGE


def test_no_policy_goes_below_the_least_threshold():
    assert Discovery(threshold=LEAST_THRESHOLD).threshold == LEAST_THRESHOLD
    with pytest.raises(ValidationError):
        Discovery(threshold=LEAST_THRESHOLD - 0.01)


def test_the_commands_take_a_link_from_question_to_contact(two):
    here, there = two

    def discover(hospital, *arguments):
        return done("silo", "discover", hospital.workspace.folder, *arguments)

    assert "3 patients here may be compared: a-1, a-2, a-3" in discover(here, "remaining")
    assert "There are no links yet." in discover(here, "links")
    assert "There are no links yet." in discover(here, "clusters")
    assert "resembles these enough" in discover(here, "ask", "hospital-b", "--patients", "a-2, a-3")
    asked = discover(here, "ask", "hospital-b", "--patients", "a-1")
    (link,) = json.loads(discover(here, "links", "--json"))["links"]
    name = link["link"]
    assert (link["patient"], link["state"], link["contact"]) == ("a-1", "offered", None)
    for word in (name, "a-1", "hospital-b", link["their_patient"][:8]):
        assert word in asked
    assert "hospital-b has not accepted" in discover(here, "accept", name)
    assert "accepted there" in discover(there, "links")
    assert "Write to faces@hospital-a.example" in discover(there, "accept", name)
    assert "faces@hospital-b.example" in discover(here, "links")
    assert name in discover(here, "clusters")
    (cluster,) = json.loads(discover(here, "clusters", "--json"))
    assert (cluster["patients"], cluster["partners"]) == (["a-1"], ["hospital-b"])
    assert "Refused" in discover(there, "refuse", name)
    assert there.desk.links()[0][0].state == "declined"
    error = refusal("silo", "discover", here.workspace.folder, "accept", "0" * 12)
    assert (error.exit_code, error.what) == (10, "there is no link '000000000000'")
