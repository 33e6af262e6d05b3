"""Which runs of this hospital a release comes from, written down when it is adopted."""

from __future__ import annotations

from client.patients.participation import Participation
from client.plans.shelf import PlanShelf
from client.workspace.workspace import Workspace
from common.releases.release import Release


def note_release(workspace: Workspace, release: Release) -> None:
    """Add a release to the record of the run that its plan led, and of those that its parent came from."""
    origin = release.manifest.origin
    if origin is None:
        return
    runs = [held.plan.run for held in PlanShelf(workspace).all() if held.plan.digest == origin.plan]
    record = Participation(workspace.folder)
    record.released(release.name, run=next(iter(runs), None), parent=origin.parent)
