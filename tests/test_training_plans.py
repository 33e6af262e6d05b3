"""Plans and approvals as documents, and what hospitals and coordinator accept of them."""

from __future__ import annotations

import datetime
import grp
import json
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.local.door import LocalServer
from client.plans.shelf import PlanShelf
from client.training.node import NodeSettings, Pauses, equip, read_node
from common.children import child, clean_environment
from common.config import parse
from common.consortium.approval import read_approval, write_approval
from common.consortium.plan import RunPlan, read_plan, write_plan
from common.errors import (
    AgentError,
    ConfigError,
    DisclosureError,
    PhenofedError,
    RunError,
    TrainingError,
    WeightsError,
)
from common.releases.bare import read_release
from deploy.folder import ConsortiumFolder
from server.training.leading import listening
from server.training.led_run import begin_run, open_run
from simulations.weights import THIN
from tests.agents import set_policy, write_small_release
from tests.consortium_folder import add_silo, copy_consortium, done, refusal
from tests.training_hospitals import NAMES, RUN, approve, draft, found_trainers, plan_in, sign_plan, workspace

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


def planned(**changes: Any) -> RunPlan:
    return parse(
        {**draft(superlink="127.0.0.1:8000"), "consortium": "trial", **changes}, RunPlan, origin="the plan"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_trainers(tmp_path_factory.mktemp("trainers") / "made")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return copy_consortium(made, tmp_path / "c")


def test_a_plan_comes_back_as_it_went_whatever_the_order_of_its_silos() -> None:
    plan = planned(max_update_norm=0.1, training={"rounds": 3, "learning_rate": 1e-05, "temperature": 12.0})
    back = read_plan(write_plan(plan, KEY), PUBLIC)
    assert back == plan
    assert back.digest == plan.digest
    assert planned(silos=list(reversed(NAMES))).digest == planned().digest
    assert planned(seed=1).digest != planned().digest


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"silos": ["clinic-a"]}, "silos"),
        ({"silos": ["clinic-a", "clinic-a"]}, "twice"),
        ({"silos": ["clinic-a", "../b"]}, "silos"),
        ({"model": {"architecture": "thin"}}, "sha256: missing"),
        ({"model": {"architecture": "thin", "sha256": "1" * 64, "path": "x"}}, "model.path"),
        ({"quorum": 1}, "quorum"),
        ({"quorum": 5}, "more than the 4 silos"),
        ({"go_on_with_at_least": 9}, "more than the 4 silos"),
        ({"purpose": "match"}, "purpose"),
        ({"parent": "spring-0123456789ab"}, "belong together"),
        ({"version": 2}, "version"),
        ({"superlink": "nowhere"}, "superlink"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_what_is_no_plan_is_told_with_its_key(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        planned(**changes)


def altered(content: bytes) -> bytes:
    fields = json.loads(content)
    fields["body"]["seed"] += 1
    return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode()


@pytest.mark.parametrize(
    "spoil",
    [
        altered,
        lambda content: content[:-20],
        lambda content: b"",
        lambda content: b"[" * 100_000,
        lambda content: content.replace(b"training plan", b"roster       "),
        lambda content: write_plan(planned(), Ed25519PrivateKey.generate()),
    ],
)
def test_a_plan_that_the_offline_key_did_not_sign_is_refused(
    folder: Path, spoil: Callable[[bytes], bytes]
) -> None:
    path = sign_plan(folder)
    path.write_bytes(spoil(path.read_bytes()))
    assert "refused" in str(refusal("silo", "plans", "add", folder / NAMES[0], path))
    assert PlanShelf(workspace(folder, NAMES[0])).all() == []


def test_a_hospital_takes_in_plans_that_name_it_still_hold_and_are_alone_of_their_name(
    folder: Path,
) -> None:
    others = sign_plan(folder, silos=list(NAMES[1:]), run="others")
    assert "does not name clinic-a" in str(refusal("silo", "plans", "add", folder / NAMES[0], others))
    old = sign_plan(folder, expires="2020-01-01", run="old")
    assert "ended on 2020-01-01" in str(refusal("silo", "plans", "add", folder / NAMES[0], old))
    done("silo", "plans", "add", folder / NAMES[0], sign_plan(folder))
    keys = ConsortiumFolder(folder / "operator")
    assert "another plan of run spring" in str(_signing_again(folder, seed=5))
    second = folder / "second.json"
    plan = plan_in(folder, folder / "operator" / "plans" / f"{RUN}.json").model_copy(update={"seed": 5})
    second.write_bytes(write_plan(plan, _signing_key(keys)))
    assert "another plan of the name spring" in str(refusal("silo", "plans", "add", folder / NAMES[0], second))


def test_people_list_show_approve_and_refuse_and_their_name_is_kept(folder: Path) -> None:
    clinic, signed = folder / NAMES[0], sign_plan(folder)
    done("silo", "plans", "add", clinic, signed)
    assert "undecided" in done("silo", "plans", "list", clinic)
    assert "clinic-d" in done("silo", "plans", "show", clinic, RUN)
    shelf = PlanShelf(workspace(folder, NAMES[0]))
    digest = plan_in(folder, signed).digest
    with pytest.raises(DisclosureError, match="nobody approved"):
        shelf.standing(RUN, digest)
    done("silo", "plans", "approve", clinic, RUN)
    assert shelf.standing(RUN, digest).run == RUN
    decision = shelf.find(RUN).decision
    assert decision is not None
    assert decision.by
    done("silo", "plans", "refuse", clinic, RUN)
    with pytest.raises(DisclosureError, match="nobody approved"):
        shelf.standing(RUN, digest)
    assert not (clinic / "plans" / f"{RUN}.approval.json").exists()
    assert "refused" in done("silo", "plans", "list", clinic)
    assert "no plan of a run" in str(refusal("silo", "plans", "approve", clinic, "autumn"))


def test_policy_approves_by_itself_only_where_it_says_so(folder: Path) -> None:
    clinic, signed = folder / NAMES[0], sign_plan(folder)
    set_policy(clinic, allow={"train": True}, approvals={"train": "automatic"})
    assert "approved by policy" in done("silo", "plans", "add", clinic, signed)
    decision = PlanShelf(workspace(folder, NAMES[0])).find(RUN).decision
    assert decision is not None
    assert decision.by == "policy"
    done("silo", "plans", "refuse", clinic, RUN)
    done("silo", "plans", "add", clinic, signed)
    assert "refused" in done("silo", "plans", "list", clinic), "what people decided stays"
    other = folder / NAMES[1]
    set_policy(other, allow={"train": False}, approvals={"train": "automatic"})
    done("silo", "plans", "add", other, signed)
    assert "undecided" in done("silo", "plans", "list", other)
    assert "takes no part" in str(refusal("silo", "plans", "approve", other, RUN))
    assert not (other / "node").exists()


def test_an_approval_holds_for_its_plan_and_its_signer_alone(folder: Path) -> None:
    signed, later = sign_plan(folder), sign_plan(folder, run="summer", silos=list(NAMES[1:]))
    content = approve(folder, NAMES[0], signed).read_bytes()
    roster, plan = ConsortiumFolder(folder / "operator").roster(), plan_in(folder, signed)
    approval = read_approval(content, plan, roster)
    assert approval.silo == NAMES[0]
    assert approval.node_key == (folder / NAMES[0] / "node" / "node.pub").read_text().strip()
    with pytest.raises(ConfigError, match="another plan"):
        read_approval(content, plan_in(folder, later), roster)
    with pytest.raises(ConfigError, match="not signed by clinic-b"):
        read_approval(content.replace(b"clinic-a", b"clinic-b"), plan, roster)
    stolen = write_approval(workspace(folder, NAMES[2]).member(), plan, approval.node_key)
    with pytest.raises(ConfigError, match="not signed by clinic-a"):
        read_approval(stolen.replace(b"clinic-c", b"clinic-a"), plan, roster)
    done("consortium", "revoke", folder / "operator", NAMES[0], "--yes")
    with pytest.raises(ConfigError, match="as the roster lists it"):
        read_approval(content, plan, ConsortiumFolder(folder / "operator").roster())


@pytest.mark.parametrize("key", ["ssh-rsa AAAA", "x" * 200, "ecdsa-sha2-nistp384 " + "A" * 120])
def test_an_approval_with_a_key_that_is_none_is_refused(folder: Path, key: str) -> None:
    signed = sign_plan(folder)
    plan, roster = plan_in(folder, signed), ConsortiumFolder(folder / "operator").roster()
    with pytest.raises((ConfigError, ValueError)):
        read_approval(write_approval(workspace(folder, NAMES[0]).member(), plan, key), plan, roster)


def test_a_run_begins_only_with_the_approvals_model_and_parent_that_its_plan_asks_for(folder: Path) -> None:
    relay, signed = folder / "operator" / "relay", sign_plan(folder)
    files = [approve(folder, name, signed) for name in NAMES]

    def refused(plan: Path, approvals: list[Path], **options: Any) -> PhenofedError:
        with pytest.raises(PhenofedError) as caught:
            begin_run(relay, plan, approvals, **{"backbone": THIN, "parent": None, **options})
        return caught.value

    assert "missing: clinic-d" in str(refused(signed, files[:3]))
    other = folder / "other.safetensors"
    other.write_bytes(b"something else")
    assert isinstance(refused(signed, files, backbone=other), WeightsError)
    enough = sign_plan(folder, run="enough", go_on_with_at_least=3)
    some = [approve(folder, name, enough) for name in NAMES[:3]]
    run = begin_run(relay, enough, some, backbone=THIN, parent=None)
    assert run.coordination().silos == NAMES[:3]
    assert isinstance(refused(enough, some), RunError)
    for name in NAMES:
        write_small_release(folder / name / "release")
    parent = read_release(folder / NAMES[0] / "release")
    child_of = sign_plan(folder, run="child", parent=parent.name, parent_digest=parent.digest)
    ones = [approve(folder, name, child_of) for name in NAMES]
    assert "--parent" in str(refused(child_of, ones))


def test_a_started_run_does_not_go_on_once_its_plan_ended_or_was_altered(folder: Path) -> None:
    signed = sign_plan(folder)
    files = [approve(folder, name, signed) for name in NAMES]
    run = begin_run(folder / "operator" / "relay", signed, files, backbone=THIN, parent=None)
    assert open_run(run.path).plan == run.plan
    with pytest.raises(TrainingError, match="ended on"):
        open_run(run.path, today=lambda: datetime.date(2100, 1, 1))
    (run.path / "plan.json").write_bytes(altered((run.path / "plan.json").read_bytes()))
    with pytest.raises(ConfigError, match="refused"):
        open_run(run.path)


def test_the_superlink_listens_on_this_machine_unless_told(folder: Path) -> None:
    signed = sign_plan(folder, superlink="127.0.0.1:8443")
    files = [approve(folder, name, signed) for name in NAMES]
    run = begin_run(folder / "operator" / "relay", signed, files, backbone=THIN, parent=None)
    assert listening(run, None) == "127.0.0.1:8443"
    assert listening(run, "10.0.0.7:9000") == "10.0.0.7:9000"
    with pytest.raises(ConfigError, match="--listen"):
        listening(run, "anywhere")


def test_a_node_gets_a_clean_environment_and_keeps_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "https_proxy", "PHENOFED_PASSPHRASE"):
        monkeypatch.setenv(name, "http://elsewhere.example:1")
    plain = clean_environment(tmp_path)
    assert not {name for name in plain if "proxy" in name.lower() or "PASSPHRASE" in name}
    assert plain["FLWR_TELEMETRY_ENABLED"] == "0"
    proxied = clean_environment(tmp_path, proxy="proxy.example:3128")
    assert proxied["https_proxy"] == proxied["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert proxied["no_proxy"] == proxied["NO_PROXY"] == "127.0.0.1,localhost"
    settings = NodeSettings(superlink="127.0.0.1:1", agent=tmp_path / "a.sock", until=datetime.date(2026, 1, 1))
    assert equip(tmp_path, settings, b"ca") == equip(tmp_path, settings, b"ca")
    assert read_node(tmp_path) == settings
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_parent_left_running_is_ended_before_another_starts(tmp_path: Path) -> None:
    command = ["/bin/sleep", "600"]
    first = child(command, folder=tmp_path, name="sleeper", environment={}).__enter__()
    with child(command, folder=tmp_path, name="sleeper", environment={}) as second:
        assert first.wait(10) != 0
        assert second.poll() is None
    assert second.poll() is not None


def test_a_node_that_ends_at_once_is_tried_each_second_at_first_and_less_often_then() -> None:
    pauses = Pauses(random.Random(1))
    soon = [pauses.after(1, 3.0) for _ in range(30)]
    assert set(soon) == {1.0}, "for two minutes, while Flower may hold its predecessor to be there"
    later = [pauses.after(1, 3.0) for _ in range(12)]
    assert later[0] <= 1.0
    assert 30 <= min(later[-3:]) <= max(later) <= 60
    assert pauses.after(None, 3.0) == 1.0, "the coordinator is away, or the node was ended"
    assert pauses.after(1, 3.0) == 1.0
    assert {pauses.after(1, 100.0) for _ in range(9)} == {1.0}, "it had worked"


def test_a_new_member_is_in_no_plan_that_was_signed_before(folder: Path) -> None:
    signed = sign_plan(folder)
    add_silo(folder, "clinic-e")
    assert "does not name clinic-e" in str(refusal("silo", "plans", "add", folder / "clinic-e", signed))
    path = folder / "strangers.yaml"
    path.write_text(yaml.safe_dump(draft(run="strangers", silos=[*NAMES, "nobody"])))
    assert "names no members: nobody" in str(refusal("consortium", "plan", folder / "operator", path))


def test_a_plan_names_no_host_that_the_coordinator_has_no_certificate_for(folder: Path) -> None:
    path = folder / "elsewhere.yaml"
    path.write_text(yaml.safe_dump(draft(superlink="training.example.org:8443")))
    assert "superlink is not at 127.0.0.1" in str(refusal("consortium", "plan", folder / "operator", path))


def test_the_training_socket_opens_to_a_named_group_and_to_nobody_else(tmp_path: Path) -> None:
    path, group = tmp_path / "training.sock", grp.getgrgid(os.getgid()).gr_name
    server = LocalServer(path, lambda request: {}, group=group)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        server.close()
    with pytest.raises(AgentError, match="group nobody-knows"):
        LocalServer(path, lambda request: {}, group="nobody-knows")
    LocalServer(path, lambda request: {}).close()


def _signing_again(folder: Path, **changes: Any) -> PhenofedError:
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump(draft(superlink="127.0.0.1:8000", **changes)))
    return refusal("consortium", "plan", folder / "operator", path)


def _signing_key(operator: ConsortiumFolder) -> Ed25519PrivateKey:
    from common.consortium.unlocking import find_secret

    return operator.keys(find_secret(operator.about.key_file, whose="the offline keys")).signing
