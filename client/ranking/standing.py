"""What a gallery epoch rests on: what this silo goes by at the moment, and which patients may be matched."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from client.gallery.encoder import PhotoEncoder
from client.workspace.labels import map_labels, read_labels
from client.workspace.members import check_accepted
from client.workspace.workspace import Workspace
from common.cohort.schema import Cohort, Purpose
from common.cohort.store import StoredCohort
from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.roster import Roster
from common.consortium.syndromes import Registry
from common.errors import AgentError, DisclosureError
from common.privacy.disclosure import Profile, at_least_as_strict, by_name
from common.ranking.patients import Embeddings


@dataclass(frozen=True)
class Standing:
    """What this silo goes by.

    ``floor``: the least strict profile that it takes part in; ``budget``: queries a year where the hospital grants
    fewer than the profile; ``dimension``: length of an embedding; ``strangers``: members not accepted here.
    """

    roster: Roster
    registry: Registry
    release: str
    floor: Profile
    kernel: str
    dimension: int
    budget: int | None = None
    simulated: bool = False
    strangers: frozenset[str] = frozenset()

    def check(self, epoch: GalleryEpoch) -> None:
        """Check that an epoch stands on the same ground.

        Raises:
            AgentError: another roster, registry, release, kernel or length.
            DisclosureError: a participant was not accepted here, or the epoch's profile gives away more than this
                silo's policy allows.
        """
        differing = self.differences(epoch)
        if differing:
            raise AgentError(
                f"gallery epoch {epoch.number} goes by another {' and '.join(differing)} than this silo",
                remedy="bring both to the newest one",
            )
        for card in epoch.participants:
            check_accepted(card.name, self.strangers)
            if not self.roster.holds(card.name) or self.roster.member(card.name).card != card:
                raise AgentError(
                    f"gallery epoch {epoch.number} shows {card.name} with another card than the roster",
                    remedy="refuse it, and talk to the operator",
                )
        self.check_profile(epoch)

    def admits(self, name: str) -> bool:
        """Whether this silo deals with a member of that name."""
        return self.roster.holds(name) and name not in self.strangers

    def differences(self, epoch: GalleryEpoch) -> tuple[str, ...]:
        """What the epoch goes by and this silo does not, in words."""
        return tuple(
            what
            for what, theirs, own in (
                ("roster", epoch.roster, self.roster.digest),
                ("syndrome registry", epoch.registry, self.registry.digest),
                ("release", epoch.release, self.release),
                ("kernel", epoch.kernel, self.kernel),
                ("embedding length", epoch.dimension, self.dimension),
            )
            if theirs != own
        )

    def check_model(self, epoch: GalleryEpoch) -> None:
        """Check that embeddings made here can be compared with an epoch's gallery.

        Raises:
            AgentError: they cannot.
        """
        if epoch.release != self.release or epoch.dimension != self.dimension:
            raise AgentError(
                f"gallery epoch {epoch.number} goes by another release than this silo",
                remedy="wait for a gallery epoch of this release, or go back to the other one",
            )

    def check_profile(self, epoch: GalleryEpoch) -> None:
        """Check that an epoch gives away no more than this silo's policy allows.

        Raises:
            DisclosureError: it does.
        """
        if not at_least_as_strict(self.profile(epoch), self.floor):
            raise DisclosureError(
                f"gallery epoch {epoch.number} has profile {epoch.profile}, below this silo's {self.floor.name}",
                remedy="open it with a stricter profile",
            )

    def profile(self, epoch: GalleryEpoch) -> Profile:
        """The disclosure profile of an epoch."""
        return by_name(epoch.profile, simulated=self.simulated)

    def granted(self, profile: Profile) -> Profile:
        """The profile with this hospital's own budget, where that is smaller."""
        limits = [limit for limit in (profile.queries_a_year, self.budget) if limit is not None]
        return replace(profile, queries_a_year=min(limits, default=None))


@dataclass(frozen=True)
class Matchable:
    """Patients who may be matched today.

    ``embeddings``: (n, D) unit rows; ``places``: patient -> row of the registry; ``alone``: who agreed to be a row
    of its own; ``unmapped``: labels without a row, whose patients stay out.
    """

    embeddings: Embeddings
    places: dict[str, int]
    alone: frozenset[str]
    unmapped: tuple[str, ...] = ()


def allowed(stored: StoredCohort, today: datetime.date) -> Cohort:
    """Solved patients with photos whose consent to matching holds today."""
    cohort = stored.cohort.for_purpose(Purpose.MATCH, today)
    return cohort.subset(p.id for p in cohort.patients if p.syndrome is not None and p.photos)


def matchable(
    workspace: Workspace, registry: Registry, stored: StoredCohort, encoder: PhotoEncoder, today: datetime.date
) -> Matchable:
    """The silo's patients as a gallery wants them.

    Raises:
        ConfigError: labels.yaml leads to rows that the registry does not have.
    """
    cohort = allowed(stored, today)
    labels = map_labels(registry, cohort.syndromes, read_labels(workspace.labels_path))
    known = cohort.subset(p.id for p in cohort.patients if str(p.syndrome) in labels.rows)
    return Matchable(
        encoder.gallery(stored, known),
        {patient.id: labels.rows[str(patient.syndrome)] for patient in known.patients},
        frozenset(patient.id for patient in known.patients if patient.consent.alone),
        labels.unmapped,
    )
