"""What becomes of a link: offered, accepted by each hospital, and only then a name to call."""

from __future__ import annotations

import itertools
import json
import secrets

import pytest

from client.discovery.clusters import COLUMNS, clusters, table
from client.discovery.exchange import LinkExchange
from client.discovery.links import Link, LinkBook
from client.discovery.pseudonyms import Pseudonyms
from common.consortium.identity import Member
from common.consortium.messages import MAX_PAYLOAD
from common.errors import AgentError, DisclosureError, EncryptionError

CONTACTS = {"hospital-a": "genetics@a.example", "hospital-b": "genetics@b.example"}.__getitem__


class Side:
    """One hospital with its files."""

    def __init__(self, folder, member, partner):
        self.names = Pseudonyms(folder / f"{member.card.name}-names.json")
        self.book = LinkBook(folder / f"{member.card.name}-links.json")
        self.exchange = LinkExchange(member, partner.card, self.names, self.book, threshold=0.5)


@pytest.fixture
def members():
    return Member("hospital-a"), Member("hospital-b")


@pytest.fixture
def sides(tmp_path, members):
    first, second = members
    return Side(tmp_path, first, second), Side(tmp_path, second, first)


def found(here, there, *, patient="a-1", other="b-7", similarity=0.81):
    """A link as the asker gets it from an answer."""
    (ours,), (theirs,) = here.names.of("hospital-b", [patient]), there.names.of("hospital-a", [other])
    return Link(partner="hospital-b", patient=patient, ours=ours, theirs=theirs, similarity=similarity)


def test_contacts_show_once_both_have_accepted_and_not_before(sides):
    here, there = sides
    (link,) = there.exchange.receive_offer(here.exchange.offer([found(here, there)]))
    assert (link.patient, link.similarity, link.state) == ("b-7", 0.81, "offered")
    assert here.book.links[0].name == link.name
    for book in (here.book, there.book):
        with pytest.raises(DisclosureError, match="is offered"):
            book.contact(link.name, CONTACTS)
    here.exchange.receive_acceptance(there.exchange.accept(link.name))
    assert [side.book.links[0].state for side in sides] == ["accepted there", "accepted here"]
    for book in (here.book, there.book):
        with pytest.raises(DisclosureError, match="is accepted"):
            book.contact(link.name, CONTACTS)
    there.exchange.receive_acceptance(here.exchange.accept(link.name))
    assert here.book.contact(link.name, CONTACTS) == "genetics@b.example"
    assert there.book.contact(link.name, CONTACTS) == "genetics@a.example"


def test_the_state_outlives_a_restart_in_private_files(sides, tmp_path, members):
    here, there = sides
    (link,) = there.exchange.receive_offer(here.exchange.offer([found(here, there)]))
    here.exchange.receive_acceptance(there.exchange.accept(link.name))
    again = Side(tmp_path, *members)
    assert again.book.find(link.name).state == "accepted there"
    assert again.names.of("hospital-b", ["a-1"]) == here.names.of("hospital-b", ["a-1"])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.json")} == {0o600}


def test_no_message_names_a_patient(sides):
    here, there = sides
    offer = here.exchange.offer([found(here, there, patient="patient-0815", other="patient-4711")])
    (link,) = there.exchange.receive_offer(offer)
    for message in (offer, there.exchange.accept(link.name)):
        assert b"0815" not in message
        assert b"4711" not in message


def test_a_declined_link_stays_declined(sides):
    here, there = sides
    offer = here.exchange.offer([found(here, there)])
    (link,) = there.exchange.receive_offer(offer)
    there.book.decline(link.name)
    acceptance = here.exchange.accept(link.name)
    with pytest.raises(DisclosureError, match="was declined"):
        there.exchange.receive_acceptance(acceptance)
    assert there.exchange.receive_offer(offer)[0].state == "declined"
    with pytest.raises(DisclosureError, match="was declined"):
        there.exchange.accept(link.name)


def test_a_patient_who_withdraws_takes_the_links_along(sides):
    here, there = sides
    offer = here.exchange.offer([found(here, there)])
    there.exchange.receive_offer(offer)
    there.book.forget("b-7")
    there.names.forget("b-7")
    assert there.book.links == ()
    with pytest.raises(EncryptionError, match="a message was refused"):
        there.exchange.receive_offer(offer)


def test_a_similarity_that_was_rounded_to_below_the_threshold_is_no_weak_offer(tmp_path, members):
    first, second = members
    here, there = Side(tmp_path, first, second), Side(tmp_path, second, first)
    there.exchange = LinkExchange(second, first.card, there.names, there.book, threshold=0.604)
    offer = here.exchange.offer([found(here, there, similarity=0.6)])
    assert [link.similarity for link in there.exchange.receive_offer(offer)] == [0.6]


def test_offers_that_do_not_fit_are_refused(sides, members):
    here, there = sides
    here.exchange._threshold = 0.0
    weak = here.exchange.offer([found(here, there, similarity=0.4)])
    stranger = found(here, there, patient="a-2").model_copy(update={"theirs": secrets.token_hex(16)})
    unknown = here.exchange.offer([stranger])
    acceptance = here.exchange.accept(stranger.name)
    for message in (weak, unknown, acceptance, b"", weak[:-1], weak[:100] + bytes([weak[100] ^ 1]) + weak[101:]):
        with pytest.raises(EncryptionError, match="a message was refused"):
            there.exchange.receive_offer(message)
    with pytest.raises(EncryptionError, match="a message was refused"):
        there.exchange.receive_acceptance(acceptance)
    with pytest.raises(DisclosureError, match="no link to offer"):
        here.exchange.offer([])
    assert there.book.links == ()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"pairs": [{}]},
        {"pairs": "many"},
        {"pairs": [{"sender": "0" * 32, "receiver": "0" * 31, "similarity": 0.9}]},
        {"pairs": [{"sender": "0" * 32, "receiver": "0" * 32, "similarity": 9}]},
        {"pairs": [], "more": 1},
        {"pairs": [], "version": 2},
    ],
)
def test_malformed_offers_under_a_good_signature_are_refused(sides, content):
    here, there = sides

    class Content:
        def model_dump_json(self):
            return json.dumps(content)

    with pytest.raises(EncryptionError, match="a message was refused"):
        there.exchange.receive_offer(here.exchange._write(Content(), "discovery offer"))


def test_pseudonyms_relate_neither_to_patients_nor_between_partners(tmp_path):
    names = Pseudonyms(tmp_path / "names.json")
    given = {partner: names.of(partner, ["p-1", "p-2"]) for partner in ("x", "y", "z")}
    everything = list(itertools.chain(*given.values()))
    assert len(set(everything)) == 6
    assert all(len(bytes.fromhex(name)) == 16 for name in everything)
    assert names.of("x", ["p-2", "p-1"]) == given["x"][::-1]
    assert names.patient("x", given["y"][0]) is None
    other = Pseudonyms(tmp_path / "other.json").of("x", ["p-1", "p-2"])
    assert not set(other) & set(everything), "random, and not made of the patient's id"


def test_a_damaged_file_is_said_and_kept(tmp_path):
    for kind, name in ((Pseudonyms, "names.json"), (LinkBook, "links.json")):
        path = tmp_path / name
        newer = '{"version": 2}'
        for content in (
            "{",
            newer,
            '{"version": 1, "links": [1], "partners": 1}',
            '{"links": [1], "partners": 1}',
        ):
            path.write_text(content)
            said = "written by a phenofed newer" if content == newer else "is damaged"
            with pytest.raises(AgentError, match=f"{name} {'has version 2, ' * (content == newer)}{said}"):
                kind(path)
            assert path.read_text() == content


def test_every_pair_of_a_full_block_fits_one_offer():
    """16 rows against 2,048 patients, all similar."""
    pair = len('{"sender":"","receiver":"","similarity":0.81},') + 64
    assert 16 * 2048 * pair < MAX_PAYLOAD


def link(patient, partner, theirs, similarity, **state):
    ours = (patient + partner).encode().hex().zfill(32)
    names = {"ours": ours, "theirs": f"{theirs:032x}"}
    return Link(partner=partner, patient=patient, similarity=similarity, **names, **state)


def test_links_of_several_partners_join_to_clusters():
    links = [
        link("p-1", "x", 1, 0.9),
        link("p-2", "x", 1, 0.8),
        link("p-2", "y", 1, 0.7, accepted_here=True),
        link("p-3", "y", 5, 0.95),
        link("p-1", "z", 9, 0.99, declined=True),
    ]
    first, second = clusters(links)
    assert (first.patients, first.partners) == (("p-1", "p-2"), ("x", "y"))
    assert [entry.similarity for entry in first.links] == [0.9, 0.8, 0.7]
    assert (second.patients, second.partners) == (("p-3",), ("y",))
    rows = table(links)
    assert [row[:3] for row in rows] == [
        ("1", "p-1", "x"),
        ("1", "p-2", "x"),
        ("1", "p-2", "y"),
        ("2", "p-3", "y"),
    ]
    assert rows[2][4:6] == ("0.70", "accepted here")
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert clusters([]) == []


def test_two_partners_with_equal_pseudonyms_are_not_taken_for_one_patient():
    assert len(clusters([link("p-1", "x", 1, 0.9), link("p-2", "y", 1, 0.9)])) == 2
