"""A trial's releases: signed by a key that its roster names, published in ``releases/``, adopted at every silo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from client.audit.opening import written_down
from client.patients.released import note_release
from client.workspace.adoption import adopt
from client.workspace.workspace import Workspace
from common.consortium.key_file import new_key_file
from common.consortium.unlocking import find_secret
from common.releases.facts import CardFacts
from common.releases.manifest import Encoding
from common.releases.release import Release
from server.releases.key import make_key, open_key
from server.releases.pretrained import pretrained_model
from server.releases.publishing import publish
from server.releases.registry import ReleaseRegistry
from simulations.poc.folder import TrialFolder
from simulations.scenario import Scenario


def make_registry(folder: TrialFolder) -> bytes:
    """A registry without releases; gives its public key (32 bytes), for the roster."""
    key_file = folder.key_file("releases")
    return make_key(folder.releases, new_key_file(key_file), key_file)


def release(folder: TrialFolder, model: Release, facts: CardFacts, *, plan: str | None = None) -> Path:
    """Sign a model and make it the current release; gives the folder of the signed one.

    Args:
        plan: digest of the plan that it was trained by; without one, nobody's photos were used.
    """
    registry = ReleaseRegistry(folder.releases)
    key = open_key(folder.releases, find_secret(registry.about.key_file, whose="the release key"))
    purposes = () if plan is None else ("train",)
    listed = publish(registry, model, facts, key, plan=plan, purposes=purposes)
    registry.promote(listed.id)
    return registry.place(listed.id)


def adopt_everywhere(folder: TrialFolder, silos: Iterable[str], signed: Path) -> None:
    """Install a signed release at every silo; agents that run load it when they are started anew."""
    for silo in silos:
        workspace = Workspace(folder.workspace(silo))
        with written_down(workspace, "release.adopt"):
            adopted = adopt(workspace, signed)
        note_release(workspace, adopted.release)


def untouched(scenario: Scenario) -> Release:
    """The pretrained network as a model of no rounds: something to rank with before any training."""
    return pretrained_model(
        scenario.backbone,
        scenario.training,
        Encoding(views=scenario.ranking.views),
        name=scenario.name,
        seed=scenario.seed,
        device=scenario.device,
    )
