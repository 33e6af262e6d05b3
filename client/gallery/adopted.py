"""The encoder of the release that a hospital adopted."""

from __future__ import annotations

from pathlib import Path

from client.gallery.encoder import PhotoEncoder
from client.workspace.adoption import adopted_release
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.errors import AgentError
from common.faces.detect import Detector
from common.releases.encoder import ReleasedEncoder


def adopted_encoder(workspace: Workspace, policy: SiloPolicy, cache: Path) -> PhotoEncoder:
    """An encoder of crops, which keeps embeddings in the file ``cache``.

    Raises:
        AgentError: the policy names no model.
        WeightsError: the release is not one that the hospital may load.
    """
    if policy.model is None:
        policy_file = workspace.folder / "policy.yaml"
        raise AgentError(
            "the policy names no model", remedy=f"give model.release and model.backbone in {policy_file}"
        )
    release = adopted_release(workspace, policy.model)
    detector = Detector(policy.detector.path, policy.detector.sha256) if policy.detector else None
    encoder = ReleasedEncoder(release, policy.model.backbone.path)
    return PhotoEncoder(encoder, detector, cache)
