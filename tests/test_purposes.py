"""Every read of patients' data takes those who agreed to its purpose today, and nobody else.

The reads: training, what a silo says of itself, the gallery, discovery, faces in reports, exports of encodings,
and the patients of a simulation. A file that reads crops or stored patients and is not listed here fails a test.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client.discovery.ground import Ground
from client.discovery.unsolved import Unsolved
from client.ledger.ledger import Ledger
from client.patients.participation import Participation
from client.ranking.standing import allowed
from client.silo import Silo
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.errors import RunError
from common.learning.assembly import ModelPool
from common.ranking.patients import Embeddings, Encodings
from common.records import TrainRequest, Update
from simulations.encodings import _keep, read_all_encodings
from simulations.export import export_encodings
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.prepare import matchable as simulated
from simulations.report.faces import contact_sheet
from simulations.report.source import read as read_source
from simulations.scenario import Scenario
from tests.agents import crop
from tests.consortium_folder import new_silo
from tests.report_run import make_run

TODAY = datetime.date(2026, 6, 1)
YESTERDAY = TODAY - datetime.timedelta(days=1)
ROOT = Path(__file__).parent.parent

CONSENTS = {
    **{purpose.value: Consent(purposes=frozenset({purpose})) for purpose in Purpose},
    "all": Consent(purposes=frozenset(Purpose), expires=TODAY),
    "ended": Consent(purposes=frozenset(Purpose), expires=YESTERDAY),
    "none": Consent(),
}
"""One patient for each; those of ``solved`` have a syndrome, the others have none."""


def people(solved: bool) -> tuple[Patient, ...]:
    return tuple(
        Patient(
            id=name,
            photos=(Photo(id=f"photo-{name}", path=Path("x.png"), sha256=f"{number:064x}"),),
            syndrome=("B" if name == "all" else "A") if solved else None,
            consent=consent,
        )
        for number, (name, consent) in enumerate(CONSENTS.items())
    )


def stored(folder: Path, *, solved: bool = True) -> store.StoredCohort:
    syndromes = tuple(Syndrome(key=key, name=key) for key in "AB") if solved else ()
    cohort = Cohort(name="clinic", patients=people(solved), syndromes=syndromes)
    crops = {f"photo-{name}": crop(number) for number, name in enumerate(CONSENTS)}
    store.save(folder, cohort, crops)
    return store.load(folder)


class OneNumberEach:
    """Encodes nothing: what it was asked for is what a gallery would hold."""

    dimension = 4

    def gallery(self, cohort: store.StoredCohort, patients: Cohort) -> Embeddings:
        ids = tuple(patient.id for patient in patients.patients)
        return Embeddings(ids, np.ones((len(ids), 4), np.float32) / 2)


def test_training_reads_for_training(tmp_path: Path, tiny: Scenario) -> None:
    stored(tmp_path / "cohort")
    pool = ModelPool()
    silo = Silo("silo-1", tmp_path, pool=pool, today=lambda: TODAY)
    assert silo.describe().patients == 2
    plan, model = tiny.training.model_dump(mode="json"), tiny.backbone.model_dump(mode="json")
    request = TrainRequest("run-1", 1, 0, model, plan, dict(pool.initial(tiny.backbone, tiny.training)))
    update = silo.train(request)
    assert isinstance(update, Update)
    assert (update.patients, update.photos) == (2, 2)
    took_part = {name for name in CONSENTS if Participation(tmp_path).of(name)}
    assert took_part == {"train", "all"}


def test_the_gallery_reads_for_matching(tmp_path: Path) -> None:
    held = stored(tmp_path / "cohort")
    assert {patient.id for patient in allowed(held, TODAY).patients} == {"match", "all"}


def test_discovery_reads_for_discovery_and_the_unsolved_alone(tmp_path: Path) -> None:
    hospital = Workspace(new_silo(tmp_path, "silo", "clinic-a"))
    held = stored(tmp_path / "cohort", solved=False)
    with_ledger = Ledger(tmp_path / "ledger.sqlite", new=True)
    ground = Ground(hospital, ledger=with_ledger, stored=lambda: held, encoder=OneNumberEach, today=lambda: TODAY)
    assert set(ground.allowed()) == {"discover", "all"}
    with_ledger.close()
    everybody = Embeddings(tuple(CONSENTS), np.ones((len(CONSENTS), 4), np.float32) / 2)
    assert set(Unsolved(held.cohort, everybody, on=TODAY).ids) == {"discover", "all"}
    solved = stored(tmp_path / "solved").cohort
    assert Unsolved(solved, everybody, on=TODAY).ids == ()


def test_a_simulation_reads_for_matching(tmp_path: Path) -> None:
    held = stored(tmp_path / "cohort")
    assert set(simulated(held, TODAY)) == {"photo-match", "photo-all"}


def finished(folder: Path, consent: Callable[[str], Consent]) -> RunFolder:
    """A finished run with these consents, and with encodings of all its photos, whoever agreed to what."""
    run = make_run(folder, names=("A", "B"))
    held = store.load(run.cohort)
    patients = tuple(p.model_copy(update={"consent": consent(p.id)}) for p in held.cohort.patients)
    crops = {photo: held.crop(photo) for photo in held.photo_ids}
    changed = held.cohort.model_copy(update={"patients": patients})
    store.save(run.cohort, changed, crops, protocol=held.protocol, replace=True)
    vectors = np.ones((len(crops), 1, 1, 4), np.float32) / 2
    encodings = Encodings(held.photo_ids, vectors, ("m0",), ((0, 0),))
    _keep(run, Trained("pretrained", "pretrained", {}), encodings)
    return run


def test_reports_show_for_display(tmp_path: Path) -> None:
    others = Consent(purposes=frozenset(Purpose) - {Purpose.DISPLAY})
    agreed = {"p0-1": Consent(purposes=frozenset({Purpose.DISPLAY}))}
    source = read_source(finished(tmp_path / "run", lambda name: agreed.get(name, others)))
    assert [strip.count for strip in contact_sheet(source, TODAY)] == [1]


def test_exports_take_what_may_be_matched_today_whatever_was_encoded(tmp_path: Path) -> None:
    others = Consent(purposes=frozenset(Purpose) - {Purpose.MATCH})
    agreed = {"p0-1": Consent(purposes=frozenset({Purpose.MATCH}))}
    run = finished(tmp_path / "run", lambda name: agreed.get(name, others))
    path = export_encodings(run.path, model="pretrained")
    assert read_all_encodings(path).photo_ids == ("f0-1",)
    nobody = finished(tmp_path / "nobody", lambda name: others)
    with pytest.raises(RunError, match="no patient of the run may be matched today"):
        export_encodings(nobody.path, model="pretrained")


READS = {
    "client/agent.py": "client/ranking/standing.py",
    "client/cli.py": "counts labels at the hospital's own terminal",
    "client/gallery/encoder.py": "client/ranking/standing.py",
    "client/patients/importing.py": "stores what it read again",
    "client/preflight/site.py": "counts at the hospital's own terminal",
    "client/silo.py": "client/silo.py",
    "client/patients/stored_patients.py": "stores what it read again",
    "client/patients/withdrawal.py": "stores what it read again",
    "deploy/registry.py": "syndromes alone",
    "server/releases/finished_run.py": "counts, with small cells suppressed",
    "simulations/benchmarks/evaluation.py": "synthetic and research cohorts, as prepared",
    "simulations/benchmarks/importing.py": "synthetic cohorts",
    "simulations/benchmarks/training.py": "simulations/benchmarks/training.py",
    "simulations/clinic.py": "simulations/clinic.py",
    "simulations/encodings.py": "simulations/prepare.py",
    "simulations/export.py": "simulations/export.py",
    "simulations/finished.py": "simulations/finished.py",
    "simulations/poc/": "plays a consortium of synthetic or research cohorts, through its commands",
    "simulations/prepare.py": "simulations/prepare.py",
    "simulations/probes.py": "synthetic faces, or the run's own test photos",
    "simulations/story/": "plays the people of a consortium, through their commands",
    "simulations/chaos/secrets.py": "looks for pictures in what was sent",
    "simulations/report/faces.py": "simulations/report/faces.py",
    "simulations/report/source.py": "simulations/report/faces.py",
    "simulations/running.py": "simulations/prepare.py",
}
"""Who reads stored patients or crops, and which file filters by purpose for it, or why nothing needs to."""

_READ = re.compile(r"\.crop\(|load_cohort\(|store\.load\(|cohort\.store import .*\bload\b|crops_of\(")
_FILTER = re.compile(r"for_purpose\(|matchable\(|allowed\(")


def test_every_file_that_reads_patients_says_who_filters_for_it() -> None:
    files = [
        path for part in ("client", "server", "deploy", "simulations") for path in (ROOT / part).rglob("*.py")
    ]
    found = {path.relative_to(ROOT).as_posix() for path in files if _READ.search(path.read_text())}
    listed = {name for name in found if name in READS or any(name.startswith(f) for f in READS if f[-1] == "/")}
    assert found == listed
    filters = {where for where in READS.values() if where.endswith(".py")}
    assert {where for where in filters if not _FILTER.search((ROOT / where).read_text())} == set()
