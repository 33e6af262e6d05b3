"""From an empty folder to a consortium that has everything it needs to start: what the commands of operator and
hospitals do, one after the other, for all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import yaml

from client.audit.opening import written_down
from client.workspace.adoption import USUAL_FOLDER
from client.workspace.joining import examine, install
from client.workspace.key_file import SiloKeys, write_keys
from client.workspace.policy import load_policy
from client.workspace.workspace import About, Workspace, create_workspace
from common.cohort import store
from common.cohort.schema import Syndrome
from common.consortium.certificates import key_from_pem
from common.consortium.key_file import new_key_file
from common.consortium.kit import read_kit
from common.consortium.request import read_request, write_request
from common.consortium.syndromes import Registry
from common.storage import write_bytes, write_text
from deploy import membership
from deploy.folder import ConsortiumFolder, OfflineKeys
from deploy.registry import Listed, revise
from simulations.poc.folder import TrialFolder
from simulations.poc.patients import Patients
from simulations.poc.releasing import make_registry
from simulations.scenario import Scenario

CONSORTIUM = "trial"
_POLICY_HEAD = "# Written for a trial by phenofed poc. What each key means stands in deploy/policy.yaml.\n"


def found(folder: TrialFolder, scenario: Scenario, patients: Patients) -> None:
    """Found the consortium of a trial; nothing runs yet."""
    operator, keys = _found_consortium(folder, patients.syndromes)
    store.save(folder.held_out, patients.held_out, patients.crops)
    requests = {silo: _make_silo(folder, silo) for silo in patients.of}
    for request in requests.values():
        membership.add(operator, read_request(request), request, keys)
    for silo, request in requests.items():
        # Asked for again, a kit brings the roster with everybody on it, who are accepted with the first join.
        kit = membership.add(operator, read_request(request), request, keys)
        workspace = Workspace(folder.workspace(silo))
        install(examine(read_kit(kit.read_bytes()), workspace, read_request(request)), workspace)
        with written_down(workspace, "import"):
            store.save(workspace.cohort_folder, patients.of[silo], patients.crops)
        _write_policy(workspace.folder / "policy.yaml", scenario)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _found_consortium(folder: TrialFolder, syndromes: Sequence[Syndrome]) -> tuple[ConsortiumFolder, OfflineKeys]:
    key_file = folder.key_file("operator")
    secret = new_key_file(key_file)
    operator = membership.found(
        folder.operator,
        name=CONSORTIUM,
        relay=f"127.0.0.1:{free_port()}",
        secret=secret,
        key_file=key_file,
        policy=(Path(membership.__file__).parent / "policy.yaml").read_text(),
    )
    keys = operator.keys(secret)
    listed = [
        Listed(syndrome.key, syndrome.name[:200], "the scenario", syndrome.identifiers) for syndrome in syndromes
    ]
    operator.publish_registry(Registry(CONSORTIUM, revise((), listed, whole=True)), keys)
    membership.name_release_key(operator, make_registry(folder), keys)
    return operator, keys


def _make_silo(folder: TrialFolder, name: str) -> bytes:
    """A workspace with keys; gives its request to join."""
    secret = new_key_file(folder.key_file(name))
    keys = SiloKeys.generate(name)
    request = write_request(
        keys.member,
        key_from_pem(keys.tls_key),
        title=f"Trial hospital {name}",
        contact=f"genetics@{name}.example",
    )
    place = folder.workspace(name)
    create_workspace(place, About(name=name, key_file=folder.key_file(name)), secret)
    write_keys(place / "private.key", keys, secret)
    write_bytes(place / "request.json", request)
    return request


def _write_policy(path: Path, scenario: Scenario) -> None:
    """Everything allowed, the model named, and new members accepted without asking."""
    policy = yaml.safe_load(path.read_text())
    backbone = scenario.backbone.model_dump(mode="json", exclude_none=True)
    policy["model"] = {"release": USUAL_FOLDER, "backbone": {**backbone, **_whole_path(scenario)}}
    policy["allow"] = dict.fromkeys(policy["allow"], True)
    policy["members"] = "automatic"
    # The lowest there is: the small network of the shipped scenarios finds few resemblances.
    policy["discovery"]["threshold"] = 0.3
    write_text(path, _POLICY_HEAD + yaml.safe_dump(policy, sort_keys=False))
    load_policy(path)


def _whole_path(scenario: Scenario) -> dict[str, str]:
    """A policy's paths are relative to it, a scenario's to where its command runs."""
    path = scenario.backbone.path
    return {} if path is None else {"path": str(path.resolve())}
