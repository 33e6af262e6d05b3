"""On which terms this hospital trains: what its policy asks of a plan, at its approval and at every round."""

from __future__ import annotations

import threading

from client.workspace.adoption import held_release
from client.workspace.model_policy import OtherModel
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.consortium.plan import RunPlan
from common.errors import DisclosureError
from common.models.specs import BackboneSpec
from common.releases.release import Release


class Terms:
    """The terms of one workspace. A release that a plan begins from is verified once, until trust changes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._verifying = threading.Lock()
        self._parents: dict[tuple[object, ...], Release] = {}

    def check(self, plan: RunPlan, policy: SiloPolicy) -> BackboneSpec:
        """Check a plan; gives its model as this machine has it.

        Raises:
            DisclosureError: the policy takes no part in training, names another model, trusts no signer of the
                release that the plan begins from, or has floors that the plan does not meet.
        """
        if not policy.allow.train:
            raise DisclosureError(
                "this hospital's policy takes no part in training", remedy="set allow.train in policy.yaml"
            )
        policy.training.check(plan)
        policy.models.check(plan.model.sha256)
        self.parent(plan, policy)
        named = policy.model
        if named is None or named.backbone.sha256 not in (None, plan.model.sha256):
            raise OtherModel(
                f"this hospital's policy allows another model than that of run {plan.run}",
                remedy="see model.backbone in policy.yaml",
            )
        # Its hash is compared when it is loaded.
        return plan.model.model_copy(update={"path": named.backbone.path})

    def parent(self, plan: RunPlan, policy: SiloPolicy) -> Release | None:
        """The release that a plan begins from, as it lies here with the signature of somebody whom policy trusts.

        Raises:
            OtherModel: none of that digest lies here, or it does not hold.
        """
        if plan.parent is None or plan.parent_digest is None:
            return None
        trust = (plan.parent_digest, self._workspace.roster().release_key, policy.models, policy.model)
        with self._verifying:
            found = self._parents.get(trust)
            if found is None and policy.model is not None:
                found = held_release(self._workspace, policy.model, plan.parent_digest)
            if found is None:
                raise OtherModel(
                    f"run {plan.run} begins from release {plan.parent}, which lies here with no trusted signature",
                    remedy="adopt it first: phenofed silo adopt",
                )
            # One is enough: a hospital trains one run at a time.
            self._parents = {trust: found}
            return found
