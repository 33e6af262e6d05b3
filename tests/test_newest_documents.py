"""Newer rosters and registries reach running agents by the relay; the forged, older and forked change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from client.audit.opening import log_folder
from client.newest.judging import follow
from client.workspace.workspace import Workspace
from common.consortium.identity import Card, Member
from common.consortium.signed_file import MAX_BYTES
from common.errors import DisclosureError, PhenofedError, RelayError
from common.records import Question, SiloDescription
from common.storage import sha256_bytes
from common.transport.documents import LIMITS, gather, pieces, write_request
from common.transport.wire import CHUNK, NEWEST, SERVICE
from deploy.folder import ConsortiumFolder
from server.aggregation.reasons import reason_of
from server.training.led_run import begin_run, open_run
from simulations.engines.inline import run_inline
from simulations.weights import THIN
from tests.agents import Hospitals, found_hospitals, hospitals, phenofed, set_policy, wait_until
from tests.consortium_folder import copy_consortium, done, new_silo, write_table
from tests.test_round_loop import FakeSilo, coordination
from tests.training_hospitals import NAMES as TRAINERS
from tests.training_hospitals import approve, found_trainers, sign_plan

NAMES = ["alpha", "beta", "gamma", "delta"]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("newest") / "made", NAMES)


@pytest.fixture
def changed(founded: Path, tmp_path: Path) -> Iterator[Hospitals]:
    with hospitals(founded, tmp_path / "consortium") as consortium:
        yield consortium


@pytest.fixture
def folder(founded: Path, tmp_path: Path) -> Path:
    """A copy in which nothing runs."""
    return copy_consortium(founded, tmp_path / "still")


def published(consortium: Hospitals) -> None:
    """What ``coordinator up`` does when files in its folder change."""
    consortium.roster.refresh()
    consortium.relay.recheck()


def lines(workspace: Path) -> list[dict[str, object]]:
    found = []
    for path in sorted(log_folder(Workspace(workspace)).glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def events(workspace: Path, who: str = "relay") -> list[tuple[str, object]]:
    told = [line for line in lines(workspace) if line["who"] == who]
    return [(str(line["event"]), line["facts"].get("member") or line["facts"].get("topic")) for line in told]  # type: ignore[attr-defined]


def offered(folder: Path, member: str) -> dict[str, bytes]:
    """What the relay's folder holds for a member."""
    relay = folder / "operator" / "relay"
    names = {name: relay / name for name in LIMITS} | {"certificate.pem": relay / "certificates" / f"{member}.pem"}
    return {name: path.read_bytes() for name, path in names.items() if path.exists()}


def test_agents_take_a_new_roster_and_registry_without_a_kit_and_new_members_wait(changed: Hospitals) -> None:
    changed.start("alpha", "beta")
    alpha = changed.agents["alpha"]
    before = alpha.standing().roster.sequence
    fifth = new_silo(changed.folder, "fifth", "fifth")
    done("consortium", "add", changed.folder / "operator", fifth / "request.json", "--yes")
    rows = ["New,New syndrome,,,,"]
    done(
        "consortium",
        "registry",
        changed.folder / "operator",
        "--from",
        write_table(changed.folder / "t.csv", rows),
    )
    published(changed)
    for name in ("alpha", "beta"):
        standing = changed.agents[name].standing
        wait_until(lambda now=standing: now().roster.sequence == before + 1 and now().registry.version == 2)
        assert standing().strangers == {"fifth"}
    with pytest.raises(DisclosureError, match="was not accepted"):
        alpha._handle("fifth", "epoch.newest", b"0")
    told = [("document.taken", "registry.json"), ("document.taken", "roster.json"), ("member.listed", "fifth")]
    wait_until(lambda: sorted(events(changed.folder / "alpha")) == told)
    wait_until(lambda: alpha.follower.looked is not None)
    status = changed.ask("alpha", "status")
    assert status["documents"]["roster"] == before + 1
    assert status["documents"]["registry"] == 2
    assert status["documents"]["looked"]
    done("silo", "members", "accept", changed.folder / "alpha", "fifth", "--yes")
    wait_until(lambda: not alpha.standing().strangers)
    shown = phenofed("silo", "status", changed.folder / "alpha").output
    assert f"{before + 1}, 2" in shown
    assert phenofed("silo", "audit", "verify", changed.folder / "alpha").exit_code == 0


def test_a_revocation_holds_at_relay_and_silos_without_anybodys_doing(changed: Hospitals) -> None:
    changed.start()
    beta, delta = changed.agents["beta"], changed.agents["delta"]
    assert beta._handle("delta", "keys.known", bytes(32))
    done("consortium", "revoke", changed.folder / "operator", "delta", "--yes")
    published(changed)
    assert "delta" not in changed.relay.connected
    with pytest.raises(RelayError, match="roster no longer lists it"):
        delta._ask("beta", "keys.known", bytes(32), 5.0)
    wait_until(lambda: not beta.standing().roster.holds("delta"))
    with pytest.raises(PhenofedError, match="delta is no member"):
        beta._handle("delta", "keys.known", bytes(32))
    wait_until(lambda: ("member.unlisted", "delta") in events(changed.folder / "beta"))
    # The revoked one is handed nothing, and keeps what it has.
    assert delta.standing().roster.holds("delta")


def test_policy_may_want_kits_alone(changed: Hospitals) -> None:
    set_policy(changed.folder / "alpha", relay={"follow": False})
    changed.start("alpha", "beta")
    beta, alpha = changed.agents["beta"], changed.agents["alpha"]
    before = alpha.standing().roster.sequence
    done("consortium", "revoke", changed.folder / "operator", "delta", "--yes")
    published(changed)
    wait_until(lambda: beta.standing().roster.sequence == before + 1)
    assert alpha.follower.looked is None
    assert alpha.standing().roster.sequence == before
    assert "as policy says" in phenofed("silo", "status", changed.folder / "alpha").output


def test_what_is_forged_older_or_forked_changes_nothing_and_is_noted_once(
    changed: Hospitals, tmp_path: Path
) -> None:
    operator, relay = changed.folder / "operator", changed.folder / "operator" / "relay" / "roster.json"
    fork = tmp_path / "fork"
    shutil.copytree(operator, fork)
    older = relay.read_bytes()
    done("consortium", "revoke", operator, "delta", "--yes")
    done("consortium", "revoke", fork, "gamma", "--yes")
    newest = relay.read_bytes()
    changed.roster.refresh()
    changed.start("alpha")
    alpha = changed.agents["alpha"]
    wait_until(lambda: not alpha.standing().roster.holds("delta"))
    held = (changed.folder / "alpha" / "roster.json").read_bytes()
    forged = newest.replace(b"beta", b"zeta")
    forked = (fork / "relay" / "roster.json").read_bytes()
    for content, why in ((forged, "not signed"), (older, "older"), (forked, "does not continue")):
        relay.write_bytes(content)
        published(changed)
        digest = sha256_bytes(content)
        wait_until(lambda digest=digest: any(digest in str(line) for line in lines(changed.folder / "alpha")))
        # Every look that follows is told what was refused, and is handed it no more.
        looked = alpha.follower.looked
        published(changed)
        wait_until(lambda looked=looked: alpha.follower.looked != looked)
        refused = [line for line in lines(changed.folder / "alpha") if digest in str(line)]
        assert [(line["event"], line["outcome"], line["who"]) for line in refused] == [
            ("document.refused", "refused", "relay")
        ]
        assert why in str(refused[0]["reason"])
        assert (changed.folder / "alpha" / "roster.json").read_bytes() == held
    relay.write_bytes(newest)
    assert alpha.standing().roster.sequence == ConsortiumFolder(operator).roster().sequence


def test_one_document_that_is_refused_keeps_no_other_out(folder: Path) -> None:
    done("consortium", "revoke", folder / "operator", "delta", "--yes")
    rows = ["New,New syndrome,,,,"]
    done("consortium", "registry", folder / "operator", "--from", write_table(folder / "t.csv", rows))
    documents = offered(folder, "alpha")
    spoilt = {**documents, "registry.json": documents["registry.json"].replace(b"New syndrome", b"Old syndrome")}
    spoilt["certificate.pem"] = b"no certificate"
    followed = follow(Workspace(folder / "alpha"), spoilt)
    assert {item.name for item in followed.taken} == {"roster.json"}
    assert {item.name for item in followed.refused} == {"registry.json", "certificate.pem"}
    assert followed.left == ("delta",)
    again = follow(Workspace(folder / "alpha"), documents)
    assert ([item.name for item in again.taken], again.refused) == (["registry.json"], ())


def test_a_roster_without_this_silo_or_with_its_key_changed_is_not_taken(folder: Path) -> None:
    done("consortium", "revoke", folder / "operator", "alpha", "--yes")
    before = (folder / "alpha" / "roster.json").read_bytes()
    followed = follow(Workspace(folder / "alpha"), offered(folder, "alpha"))
    assert [(item.name, item.why) for item in followed.refused] == [("roster.json", "does not fit this silo")]
    assert (folder / "alpha" / "roster.json").read_bytes() == before


def test_a_renewed_certificate_follows_and_an_older_one_does_not_come_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime

    from common.consortium import certificates

    older = offered(folder, "alpha")["certificate.pem"]
    monkeypatch.setattr(certificates, "_BEFORE", datetime.timedelta(hours=1))
    done("consortium", "add", folder / "operator", folder / "alpha" / "request.json", "--yes")
    newer = offered(folder, "alpha")["certificate.pem"]
    followed = follow(Workspace(folder / "alpha"), offered(folder, "alpha"))
    assert [item.name for item in followed.taken] == ["certificate.pem"]
    assert (folder / "alpha" / "certificate.pem").read_bytes() == newer
    assert not follow(Workspace(folder / "alpha"), {"certificate.pem": older}).taken
    assert (folder / "alpha" / "certificate.pem").read_bytes() == newer


def test_large_documents_come_in_chunks_and_oversized_ones_not_at_all() -> None:
    documents = {"roster.json": bytes(3 * CHUNK + 7), "registry.json": b"r" * CHUNK, "ca.pem": b""}
    sent = list(pieces(documents))
    assert max(map(len, sent)) <= CHUNK
    assert gather(sent) == documents
    for wrong in (
        [*sent, b"more"],
        sent[:-1],
        [b"{}"],
        [],
        [b'{"version":1,"documents":[["roster.json",%d]]}' % (MAX_BYTES + 1)],
        [b'{"version":1,"documents":[["private.key",10]]}', bytes(10)],
        [b'{"version":1,"documents":[["ca.pem",1],["ca.pem",1]]}', b"ab"],
    ):
        with pytest.raises(RelayError):
            gather(wrong)


def test_only_connected_members_are_handed_documents_and_not_too_often(changed: Hospitals) -> None:
    def ask(workspace: str, request: bytes = write_request({})) -> grpc.StatusCode | int:
        certificate, key, authority = Workspace(changed.folder / workspace).tls.read()
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        with grpc.secure_channel(f"127.0.0.1:{changed.relay.port}", credentials) as channel:
            try:
                return len(list(channel.unary_stream(f"/{SERVICE}/{NEWEST}")(request, timeout=20)))
            except grpc.RpcError as error:
                return error.code()

    assert ask("alpha") is grpc.StatusCode.FAILED_PRECONDITION
    changed.start("alpha")
    assert ask("alpha") == 5
    assert ask("alpha", b"nonsense") is grpc.StatusCode.INVALID_ARGUMENT
    answers = [ask("alpha") for _ in range(20)]
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in answers
    done("consortium", "revoke", changed.folder / "operator", "alpha", "--yes")
    published(changed)
    assert ask("alpha") is grpc.StatusCode.PERMISSION_DENIED


class SignedSilo(FakeSilo):
    """Signs as an agent does."""

    def __init__(self, name: str) -> None:
        self.member = Member(name)
        sign = lambda update: replace(update, signature=self.member.sign(update.statement).hex())  # noqa: E731
        super().__init__(name, sign)

    def describe(self, question: Question) -> SiloDescription:
        found = SiloDescription(self.name, patients=4, photos=5, syndromes=2)
        return replace(found, signature=self.member.sign(found.statement(question)).hex())


def test_a_revoked_silos_updates_count_no_more_in_the_round_under_way_and_later(tmp_path: Path) -> None:
    silos = {name: SignedSilo(name) for name in ("a", "b", "c")}
    cards = {name: silo.member.card for name, silo in silos.items()}

    def members() -> dict[str, Card]:
        return {name: card for name, card in cards.items() if name != "b" or 2 not in silos["b"].asked}

    run = replace(coordination(tmp_path), cards=cards, members=members)
    ended = run_inline(run, silos.__getitem__, on_round=lambda checkpoint: None)
    assert silos["b"].asked == [1, 2]
    assert [sorted(summary.losses) for summary in ended.history] == [["a", "b", "c"], ["a", "c"], ["a", "c"]]
    assert ended.history[1].excluded == {"b": "revoked: the roster lists it no more"}
    assert reason_of(ended.history[1].excluded["b"]) == "revoked"


def test_a_run_looks_at_the_relays_roster_and_its_approvals_outlive_a_revocation(tmp_path: Path) -> None:
    folder = found_trainers(tmp_path / "trainers")
    plan = sign_plan(folder, go_on_with_at_least=3)
    approvals = [approve(folder, name, plan) for name in TRAINERS]
    relay = folder / "operator" / "relay"
    run = begin_run(relay, plan, approvals, backbone=THIN, parent=None)
    members = run.coordination().members
    assert members is not None
    assert set(members()) == set(TRAINERS)
    done("consortium", "revoke", folder / "operator", TRAINERS[1], "--yes")
    assert set(members()) == set(TRAINERS) - {TRAINERS[1]}
    assert set(open_run(run.path).approvals) == set(TRAINERS) - {TRAINERS[1]}
