"""``silo check`` finds what is wrong with network, clock, files and patients, and says how to mend it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from client.preflight.checks import CHECKS, examine
from client.preflight.finding import Finding, State
from client.preflight.firewall import firewall_request
from client.preflight.site import Site
from client.preflight.volume import encrypted, layers
from client.workspace.workspace import Workspace
from common.cohort import store
from common.consortium import certificates
from common.consortium.key_file import KeyFile
from common.storage import sha256_file, write_bytes
from common.transport.tls import TlsFiles
from deploy.folder import ConsortiumFolder
from server.relay.running import running
from tests.agents import found_hospitals, import_patients, set_policy
from tests.consortium_folder import command, copy_consortium, done
from tests.preflight_servers import interceptor, plain, refusing_proxy, server
from tests.relay_consortium import Proxy
from tests.tls_files import Authority

NETWORK = ("DNS", "proxy", "TCP port", "TLS", "clock", "certificates", "admission", "versions")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("preflight") / "made", ["clinic"])


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A consortium that a test may spoil; its relay does not run."""
    return copy_consortium(made, tmp_path / "consortium")


@contextlib.contextmanager
def relay(folder: Path) -> Iterator[None]:
    with running(folder / "operator" / "relay"):
        yield


def site(folder: Path, **settings: Any) -> Site:
    return Site(Workspace(folder / "clinic"), **{"environ": {}, "seconds": 5.0, **settings})


def found(where: Site, *names: str) -> dict[str, Finding]:
    """The worst finding of each of these checks."""
    worst: dict[str, Finding] = {}
    order = list(State)
    for name, finding in examine(where, {name: CHECKS[name] for name in names}):
        if name not in worst or order.index(finding.state) > order.index(worst[name].state):
            worst[name] = finding
        assert bool(finding.remedy) is (finding.state is not State.OK), finding
    return worst


def states(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.state.value for name, finding in findings.items()}


def port_of(folder: Path) -> int:
    return int(Workspace(folder / "clinic").roster().relay.rpartition(":")[2])


def test_a_healthy_site_passes_every_check_of_the_network(folder: Path) -> None:
    with relay(folder):
        assert states(found(site(folder), *NETWORK)) == dict.fromkeys(NETWORK, "ok")
        result = command("silo", "check", folder / "clinic", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"], answer["silo"]) == (0, True, "clinic")
    assert {line["check"] for line in answer["findings"]} == set(CHECKS)
    assert "failed" not in {line["state"] for line in answer["findings"]}


def test_a_closed_port_is_one_failure_and_ends_with_12(folder: Path) -> None:
    findings = found(site(folder), *NETWORK)
    assert [name for name, finding in findings.items() if finding.state is State.FAILED] == ["TCP port"]
    assert "--firewall" in findings["TCP port"].remedy
    assert command("silo", "check", folder / "clinic").exit_code == 12


def test_who_opens_the_connection_is_named(folder: Path, tmp_path: Path) -> None:
    files = Authority(tmp_path / "inspection").relay()
    with server(interceptor(files), port_of(folder)):
        findings = found(site(folder), *NETWORK)
    assert findings["TLS"].state is State.FAILED
    assert "CN=phenofed test root" in findings["TLS"].found
    assert "exempt" in findings["TLS"].remedy
    assert findings["admission"].state is State.FAILED


@pytest.mark.parametrize(
    ("host", "own_key", "told"),
    [("127.0.0.1", False, "not the relay's in the roster"), ("other.example", True, "is not for 127.0.0.1")],
)
def test_a_certificate_of_the_root_must_be_the_relays(
    folder: Path, tmp_path: Path, host: str, own_key: bool, told: str
) -> None:
    operator = ConsortiumFolder(folder / "operator")
    keys = operator.keys(KeyFile((folder / "operator.key").read_bytes()))
    key = certificates.new_key()
    if own_key:
        key = certificates.key_from_pem((folder / "operator" / "relay" / "key.pem").read_bytes())
    files = TlsFiles(tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "ca.pem")
    write_bytes(files.key, certificates.key_to_pem(key), private=True)
    certificate = certificates.relay_certificate(key.public_key(), host, operator.root, keys.root)
    write_bytes(files.certificate, certificate)
    with server(interceptor(files), port_of(folder)):
        finding = found(site(folder), "TLS")["TLS"]
    assert finding.state is State.FAILED
    assert told in finding.found


def test_a_server_without_tls_is_told(folder: Path) -> None:
    with server(plain, port_of(folder)):
        findings = found(site(folder), "TCP port", "TLS")
    assert states(findings) == {"TCP port": "ok", "TLS": "failed"}
    assert "no TLS" in findings["TLS"].found


@pytest.mark.parametrize(
    ("status", "remedy"),
    [("403 Forbidden", "allow CONNECT"), ("407 Authentication Required", "no proxy password")],
)
def test_a_proxy_that_refuses_connect_is_told_with_its_words(folder: Path, status: str, remedy: str) -> None:
    with relay(folder), server(refusing_proxy(status)) as port:
        set_policy(folder / "clinic", relay={"proxy": f"127.0.0.1:{port}"})
        findings = found(site(folder), *NETWORK)
    assert [name for name, finding in findings.items() if finding.state is State.FAILED] == ["proxy"]
    assert status in findings["proxy"].found
    assert remedy in findings["proxy"].remedy


def test_a_proxy_that_is_not_there_is_told(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    set_policy(folder / "clinic", relay={"proxy": f"127.0.0.1:{port}"})
    assert found(site(folder), "proxy")["proxy"].state is State.FAILED


def test_the_check_goes_through_a_proxy_as_the_agent_does(folder: Path) -> None:
    proxy = Proxy()
    set_policy(folder / "clinic", relay={"proxy": proxy.address})
    with relay(folder):
        assert states(found(site(folder), *NETWORK)) == dict.fromkeys(NETWORK, "ok")
    assert proxy.connections >= 2
    proxy.close()


def test_a_proxy_of_the_environment_alone_is_pointed_out(folder: Path) -> None:
    where = site(folder, environ={"HTTPS_PROXY": "http://proxy.example:3128"})
    finding = found(where, "proxy")["proxy"]
    assert finding.state is State.WARNING
    assert "HTTPS_PROXY" in finding.found


def test_a_name_that_does_not_resolve_is_one_failure(folder: Path) -> None:
    set_policy(folder / "clinic", relay={"proxy": "no-such-host.invalid:3128"})
    findings = found(site(folder), *NETWORK)
    assert [name for name, finding in findings.items() if finding.state is State.FAILED] == ["DNS"]


def test_a_relay_that_does_not_know_the_hospital_is_told(folder: Path) -> None:
    shutil.copy(folder / "operator" / "rosters" / "00001.json", folder / "operator" / "relay" / "roster.json")
    with relay(folder):
        findings = found(site(folder), "TLS", "admission")
    assert states(findings) == {"TLS": "ok", "admission": "failed"}
    assert "newest roster" in findings["admission"].remedy


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (-120, "warning"), (3600, "failed")])
def test_the_clock_is_compared_with_what_a_web_server_tells(
    folder: Path, tmp_path: Path, seconds: int, state: str
) -> None:
    now = datetime.datetime.now(tz=datetime.UTC)
    told = now + datetime.timedelta(seconds=seconds)
    with server(interceptor(Authority(tmp_path / "other").relay(), told), port_of(folder)):
        assert states(found(site(folder, now=lambda: now), "clock")) == {"clock": state}


def test_the_clock_is_compared_with_what_a_proxy_tells(folder: Path) -> None:
    now = datetime.datetime.now(tz=datetime.UTC)
    with server(refusing_proxy("403 Forbidden", now - datetime.timedelta(days=1))) as port:
        set_policy(folder / "clinic", relay={"proxy": f"127.0.0.1:{port}"})
        finding = found(site(folder, now=lambda: now), "clock")["clock"]
    assert finding.state is State.FAILED
    assert "the proxy" in finding.found


def test_without_a_date_certificates_bound_the_time(folder: Path) -> None:
    early = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=3)
    assert found(site(folder, now=lambda: early), "clock")["clock"].state is State.FAILED
    assert "nothing nearer" in found(site(folder), "clock")["clock"].found


@pytest.mark.parametrize(("days", "state"), [(0, "ok"), (715, "warning"), (731, "failed")])
def test_certificates_that_end_are_told_a_month_before(folder: Path, days: int, state: str) -> None:
    then = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(days=days)
    assert states(found(site(folder, now=lambda: then), "certificates")) == {"certificates": state}


def test_open_files_and_folders_are_named_with_the_command_that_closes_them(folder: Path) -> None:
    workspace = folder / "clinic"
    assert found(site(folder), "permissions")["permissions"].state is State.OK
    for path, mode in ((workspace, 0o750), (workspace / "private.key", 0o640), (folder / "clinic.key", 0o640)):
        path.chmod(mode)
        findings = [finding for _, finding in examine(site(folder), {"permissions": CHECKS["permissions"]})]
        assert [finding.state for finding in findings] == [State.FAILED]
        assert str(path) in findings[0].remedy
        path.chmod(0o700 if path.is_dir() else 0o600)
    (workspace / "cohort").chmod(0o755)
    (workspace / "cohort" / "crops.npy").chmod(0o644)
    assert str(workspace / "cohort") in found(site(folder), "permissions")["permissions"].remedy
    (workspace / "cohort").chmod(0o700)
    assert found(site(folder), "permissions")["permissions"].state is State.OK
    (folder / "clinic.key").unlink()
    assert "not there" in found(site(folder), "permissions")["permissions"].found


def test_files_of_the_model_are_known_by_their_hash(folder: Path) -> None:
    workspace = folder / "clinic"
    weights = workspace / "own.safetensors"
    weights.write_bytes(b"weights")
    backbone = {"architecture": "thin", "path": str(weights), "sha256": sha256_file(weights)}
    policy = yaml.safe_load((workspace / "policy.yaml").read_text())
    policy |= {"model": {"release": "release", "backbone": backbone, "allow_unsigned": True}}
    policy["detector"] = {"path": str(weights), "sha256": sha256_file(weights)}
    (workspace / "policy.yaml").write_text(yaml.safe_dump(policy))
    names = ("release", "backbone", "face detector")
    assert states(found(site(folder), *names)) == {"release": "warning", "backbone": "ok", "face detector": "ok"}
    weights.write_bytes(b"others")
    (workspace / "release" / "federated.safetensors").write_bytes(b"altered")
    findings = found(site(folder), *names)
    assert states(findings) == dict.fromkeys(names, "failed")
    assert sha256_file(weights) in findings["backbone"].found
    weights.unlink()
    assert "cannot read" in found(site(folder), "face detector")["face detector"].found


def test_a_policy_without_a_model_fails(folder: Path) -> None:
    (folder / "clinic" / "policy.yaml").write_text("{model: null}")
    assert found(site(folder), "release")["release"].state is State.FAILED


def test_patients_labels_and_photos_are_counted_without_naming_anybody(folder: Path) -> None:
    workspace = folder / "clinic"
    names = ("patients", "labels", "photos")
    assert states(found(site(folder), *names)) == dict.fromkeys(names, "ok")
    import_patients(workspace, {"secret-patient": "OMIM:122470", "other": "OMIM:999999"})
    stored = store.load(workspace / "cohort")
    crops = {photo: stored.crop(photo) for photo in stored.photo_ids}
    crops["secret-patient-1"] = np.full_like(crops["secret-patient-1"], 7)
    store.save(workspace / "cohort", stored.cohort, crops, replace=True)
    findings = found(site(folder), *names)
    assert states(findings) == {"patients": "ok", "labels": "warning", "photos": "warning"}
    assert "OMIM:999999" in findings["labels"].found
    assert "1 unusable" in findings["photos"].found
    assert not [text for finding in findings.values() for text in (finding.found,) if "secret" in text]
    shutil.rmtree(workspace / "cohort")
    assert found(site(folder), "patients")["patients"].state is State.WARNING


def test_the_encryption_worker_is_started(folder: Path) -> None:
    finding = found(site(folder), "encryption worker")["encryption worker"]
    assert finding.state is not State.FAILED
    assert "starts" in finding.found


def device(folder: Path, number: str, uuid: str = "", below: tuple[Path, ...] = ()) -> Path:
    """A block device as /sys shows it."""
    path = folder / number
    (path / "slaves").mkdir(parents=True)
    for lower in below:
        (path / "slaves" / lower.name).symlink_to(lower)
    if uuid:
        (path / "dm").mkdir()
        (path / "dm" / "uuid").write_text(uuid + "\n")
    return path


def test_a_volume_is_encrypted_only_if_every_way_down_is(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    if not os.major(number):
        pytest.skip("the temporary folder lies on no device with a number of its own")
    top = f"{os.major(number)}:{os.minor(number)}"
    cases: dict[str, tuple[tuple[str, ...], bool]] = {
        "plain": ((), False),
        "luks": (("CRYPT-LUKS2-0123",), True),
        "both": (("CRYPT-LUKS2-0123", "CRYPT-LUKS2-4567"), True),
        "half": (("CRYPT-LUKS2-0123", ""), False),
    }
    for name, (uuids, expected) in cases.items():
        lower = [device(tmp_path / name, f"l{index}", uuid) for index, uuid in enumerate(uuids)]
        device(tmp_path / name, top, "LVM-0123", tuple(lower))
        seen = layers(tmp_path, devices=tmp_path / name)
        assert seen is not None
        assert encrypted(seen) is expected, name
    assert layers(tmp_path, devices=tmp_path / "nothing") is None


def test_a_volume_that_cannot_be_judged_is_never_called_fine(folder: Path) -> None:
    finding = found(site(folder), "encrypted volume")["encrypted volume"]
    seen = layers(folder / "clinic")
    if seen is None or not encrypted(seen):
        assert finding.state is State.WARNING
        assert "unknown" in finding.found
    else:
        assert finding.state is State.OK


def test_a_workspace_that_never_joined_fails_once_for_one_cause(tmp_path: Path) -> None:
    workspace = tmp_path / "clinic"
    done("silo", "init", workspace, "--name", "clinic", "--contact", "a@b.example", "--key-file", tmp_path / "key")
    findings = list(examine(Site(Workspace(workspace), environ={}), {n: CHECKS[n] for n in NETWORK}))
    causes = [finding.found for _, finding in findings if finding.state is State.FAILED]
    assert len(causes) == len(set(causes))
    assert any("policy.yaml" in cause or "joined no consortium" in cause for cause in causes)
    assert command("silo", "check", workspace, "--firewall").exception is not None


def test_the_firewall_request_names_one_outbound_way_and_the_key(folder: Path) -> None:
    roster = Workspace(folder / "clinic").roster()
    text = firewall_request(site(folder))
    assert f"TCP port {port_of(folder)}" in text
    assert roster.relay_tls in text
    assert roster.ca in text
    assert "no inbound port" in text
    assert done("silo", "check", folder / "clinic", "--firewall") == text
    set_policy(folder / "clinic", relay={"proxy": "proxy.example:3128"})
    assert "proxy.example:3128, which must allow CONNECT" in firewall_request(site(folder))
