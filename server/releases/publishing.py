"""Publishing: a model and its facts become a signed release with a card, as a candidate of a registry."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.config import parse
from common.releases.card import model_card
from common.releases.facts import CardFacts
from common.releases.manifest import FORMAT, Origin
from common.releases.release import Release
from common.releases.signing import sign_release
from common.versions import PROTOCOLS, SOFTWARE
from server.releases.registry import Listed, ReleaseRegistry

PURPOSES = ("train",)
"""Training reads no photo without this purpose, whatever a plan says."""


def publish(
    registry: ReleaseRegistry,
    model: Release,
    facts: CardFacts,
    key: Ed25519PrivateKey,
    *,
    name: str | None = None,
    parent: str | None = None,
    plan: str | None = None,
    purposes: tuple[str, ...] = PURPOSES,
) -> Listed:
    """Sign a model and list it as a candidate. A model that is listed already stays as it is.

    Args:
        name: for people; by default that of the run.
        parent: id of the release that training began from, if it began from one.
        plan: SHA-256 of the training plan that the silos approved, where there was one.

    Raises:
        ConfigError: a name or hash that does not fit.
        WeightsError: the model is damaged, or the registry's release of that id is.
        RunError: the disk refuses; the registry is unchanged then.
    """
    with registry.locked():
        if known := next((entry for entry in registry.releases if entry.id == model.name), None):
            registry.read(known.id)
            return known
        fields = {
            "name": name or model.manifest.scenario,
            "number": registry.next_number,
            "created": registry.now(),
            "software": SOFTWARE,
            "protocol": PROTOCOLS["training"][1],
            "parent": parent,
            "plan": plan,
            "purposes": purposes,
        }
        origin = parse(fields, Origin, origin="the release")
        manifest = model.manifest.model_copy(update={"minor": FORMAT[1]})
        return registry.add(sign_release(model, origin, model_card(manifest, origin, facts), key))
