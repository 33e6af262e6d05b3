"""Hospitals with workspaces, patients and discovery desks, joined by a real relay; drawn faces, a real encoder."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

import numpy as np
import yaml

from client.discovery.desk import DiscoveryDesk
from client.discovery.ground import ENCODINGS, FOLDER, Ground
from client.discovery.requests import operations
from client.gallery.encoder import PhotoEncoder
from client.ledger.ledger import Ledger
from client.local.door import LocalServer
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.errors import RelayError
from common.learning.assembly import ModelPool
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.releases.bare import read_release, write_release
from common.releases.encoder import ReleasedEncoder
from common.releases.manifest import Encoding
from common.storage import sha256_bytes, write_text
from tests.cohort_files import drawn_face
from tests.consortium_folder import copy_consortium
from tests.relay_consortium import RelayConsortium

ROOT = Path(__file__).parent.parent
BACKBONE = BackboneSpec(architecture="thin", path=ROOT / "simulations" / "weights" / "thin.safetensors")
TODAY = datetime.date(2026, 1, 5)
THRESHOLD = 0.8
AGREED = Consent(purposes=frozenset({Purpose.DISCOVER}))
OTHERS = Consent(purposes=frozenset(Purpose) - {Purpose.DISCOVER})
SYNDROME = Syndrome(key="OMIM:122470", name="Cornelia de Lange syndrome 1")


def write_thin_release(folder):
    """A release of the untrained thin network, whose embeddings tell drawn faces apart: 0.64 at most."""
    pool, plan = ModelPool(), TrainingPlan()
    parameters = pool.initial(BACKBONE, plan)
    how = Encoding(views=1, ensemble=False)
    write_release(
        folder, parameters, scenario="test", seed=0, rounds=1, backbone=BACKBONE, training=plan, encoding=how
    )
    return folder


class Hospital:
    """One of them, without the rest of its agent."""

    def __init__(self, workspace, release, relay):
        self.workspace, self.release = Workspace(workspace), release
        self.today, self.encoder_made = TODAY, lambda: None
        self.losing = set()
        """Topics that get lost on their way."""
        self.set_policy()
        path = self.workspace.ledger_path
        self.ledger = Ledger(path, today=lambda: self.today, new=not path.exists())
        self.open()
        self.link = relay.link(self.workspace.name, lambda *request: self.desk.handle(*request))
        self.server = LocalServer(
            self.workspace.socket_path, lambda request: operations(self.desk)[request.operation](request)
        )

    def open(self):
        """Begin, or begin again after a restart."""
        ground = Ground(
            self.workspace,
            ledger=self.ledger,
            stored=self._stored,
            encoder=self._encoder,
            today=lambda: self.today,
        )
        self.ground, self.desk = ground, DiscoveryDesk(ground, self._ask)

    def close(self):
        self.server.close()
        self.ledger.close()

    def set_policy(self, *, discover=True, threshold=THRESHOLD, rows=16):
        policy = {
            "allow": {"discover": discover},
            "discovery": {"threshold": threshold, "rows_a_year": rows},
        }
        write_text(self.workspace.folder / "policy.yaml", yaml.safe_dump(policy))

    def import_patients(self, faces, *, solved=(), silent=()):
        """Patients by id, each with the photo of a drawn face; ``silent`` ones agreed to all but discovery."""
        crops = {f"{name}-photo": face for name, face in faces.items()}
        patients = [
            Patient(
                id=name,
                photos=(Photo(id=f"{name}-photo", path=Path("x"), sha256=sha256_bytes(face.tobytes())),),
                syndrome=SYNDROME.key if name in solved else None,
                consent=OTHERS if name in silent else AGREED,
            )
            for name, face in faces.items()
        ]
        cohort = Cohort(name="cohort", patients=tuple(patients), syndromes=(SYNDROME,))
        store.save(self.workspace.cohort_folder, cohort, crops, replace=True)

    def _stored(self):
        folder = self.workspace.cohort_folder
        return store.load(folder) if folder.exists() else None

    def _encoder(self):
        self.encoder_made()
        encoder = ReleasedEncoder(read_release(self.release), BACKBONE.path)
        return PhotoEncoder(encoder, None, self.workspace.folder / FOLDER / ENCODINGS)

    def _ask(self, silo, topic, body, seconds):
        if topic in self.losing:
            raise RelayError(f"{silo} is not connected to the relay", remedy="ask its administrator")
        return self.link.request(silo, topic, body, deadline=seconds)


def face(seed, *, brighter=0):
    """(112, 112, 3) a drawn face; brighter, it is another photo of the same one."""
    crop = np.asarray(drawn_face(seed).crop((8, 8, 120, 120)).convert("RGB"))
    return np.clip(crop.astype(int) + brighter, 0, 255).astype(np.uint8)


@contextlib.contextmanager
def hospitals(made, folder, *names):
    """Their desks, connected; ``made``: what ``make_consortium`` and ``write_thin_release`` put there."""
    copied = copy_consortium(made, folder / "c")
    relay = RelayConsortium(folder / "relay", *names)
    opened = []
    try:
        opened += [Hospital(copied / name, copied / "release", relay) for name in names]
        for hospital in opened:
            hospital.link.wait_for(names, seconds=20)
        yield opened
    finally:
        relay.close()
        for hospital in opened:
            hospital.close()
