"""Hospitals on different versions are never summed: who lags behind is named, and holds up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from client.clinic.ranking_list import as_table, as_tsv
from client.ranking.steward import Steward
from common.errors import AgentError, DisclosureError
from tests.agents import (
    ROWS,
    Hospitals,
    found_hospitals,
    hospitals,
    import_patients,
    photo,
    set_policy,
    wait_until,
)
from tests.consortium_folder import SYNDROMES, done, write_table
from tests.test_newest_documents import published
from tests.test_steward import Ground

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]
PICTURE = photo(1, ROWS[0])
WHY = "goes by registry 1, this epoch by registry 2"
MERGED = [
    "OMIM:122470,Cornelia de Lange syndrome 1,ORPHA:199,NIPBL,PS122470,OMIM:180849",
    SYNDROMES[1],
    SYNDROMES[3],
    "GENE:ANKRD11,KBG syndrome by its gene,GENE:ANKRD11,ANKRD11,,",
]
"""The second version: the third row goes into the first, and a disorder known by its gene alone is new."""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("versions") / "made", NAMES)


@pytest.fixture
def changed(founded: Path, tmp_path: Path) -> Iterator[Hospitals]:
    with hospitals(founded, tmp_path / "consortium") as consortium:
        yield consortium


def publish(consortium: Hospitals, rows: list[str], *, among: list[str]) -> None:
    """Publish a registry; returns when the agents of ``among`` go by it."""
    table = write_table(consortium.folder / "next.csv", rows)
    done("consortium", "registry", consortium.folder / "operator", "--from", table)
    published(consortium)
    for name in among:
        standing = consortium.agents[name].standing
        wait_until(lambda now=standing: now().registry.version == 2)


def test_who_lags_behind_is_left_out_and_named_in_status_and_in_every_answer(changed: Hospitals) -> None:
    set_policy(changed.folder / "epsilon", relay={"follow": False})
    changed.start()
    publish(changed, MERGED, among=NAMES[:-1])
    opened = changed.ask("alpha", "epoch")
    assert set(opened["silos"]) == set(NAMES) - {"epsilon"}
    assert opened["left_out"] == {"epsilon": WHY}
    # Beta took part and proposed nothing: it finds out by itself.
    ranked = changed.rank("beta", PICTURE)
    assert set(ranked.silos) == set(NAMES) - {"epsilon"}
    assert ranked.not_asked == {"epsilon": WHY}
    assert ranked.to_json()["not_asked"] == {"epsilon": WHY}
    assert f"Not asked: epsilon {WHY}." in str(as_table(ranked).title)
    assert as_tsv(ranked).splitlines()[0] == f"# not asked: epsilon {WHY}"
    assert changed.ask("gamma", "status")["left_out"] == {"epsilon": WHY}
    # A merge sums what two rows held; the row that was taken in answers no more.
    current = changed.agents["beta"].epochs.current
    assert current is not None
    assert list(current.totals.patients[:5]) == [10, 4, 0, 4, 0]
    assert "OMIM:180849" not in [row.key for row in ranked.rows]
    with pytest.raises(AgentError, match="no gallery epoch is open"):
        changed.rank("epsilon", PICTURE)
    # Once it has the registry it is no other than the rest; where it would be isolated it waits.
    set_policy(changed.folder / "epsilon", relay={"follow": True})
    published(changed)
    wait_until(lambda: changed.agents["epsilon"].standing().registry.version == 2)
    changed.open_epoch("alpha")
    assert "waits for a later" in changed.rank("beta", PICTURE).not_asked["epsilon"]


def test_groups_of_fewer_than_four_stay_refused_and_say_who_lags_behind(changed: Hospitals) -> None:
    for name in ("delta", "epsilon"):
        set_policy(changed.folder / name, relay={"follow": False})
    changed.start()
    publish(changed, MERGED, among=NAMES[:-2])
    with pytest.raises(DisclosureError, match=rf"3 silos has no panel.*left out: delta: {WHY}; epsilon: {WHY}"):
        changed.open_epoch("alpha")


def test_two_hospitals_that_name_one_syndrome_differently_are_ranked_as_one_row(changed: Hospitals) -> None:
    own = {"beta": ("brachmann", ("ORPHA:199",)), "gamma": ("local 17", ())}
    for name, (label, identifiers) in own.items():
        patients = {f"{name}-{number}": label for number in (1, 2)} | {f"{name}-3": "unheard of"}
        import_patients(changed.folder / name, patients, known_as={label: identifiers})
    (changed.folder / "gamma" / "labels.yaml").write_text(yaml.safe_dump({"local 17": "OMIM:122470"}))
    assert "unheard of" in done("silo", "labels", changed.folder / "beta")
    changed.start(*NAMES[:-1])
    changed.open_epoch("alpha")
    current = changed.agents["alpha"].epochs.current
    assert current is not None
    assert current.totals.patients[0] == 8, "two of each hospital, whatever they call it"
    assert int(np.sum(current.totals.patients)) == 8 + 2 + 1, "what is unmapped is in no row"
    ranked = changed.rank("alpha", PICTURE)
    assert ranked.not_asked == {"epsilon": "is not connected"}
    (row,) = [row for row in ranked.rows if row.key == "OMIM:122470"]
    assert (row.support, row.group) == ("6-10", "PS122470")


def test_after_a_while_the_steward_opens_without_the_few_that_lag_behind() -> None:
    class Mixed(Ground):
        agree: tuple[str, ...] = ()

        def agreeing(self, names: frozenset[str]) -> set[str]:
            return set(self.agree)

    def proposed(*agree: str) -> list[bool]:
        ground = Mixed("beta", "gamma", "delta", "epsilon")
        ground.agree, ground.current, ground.changed = agree, ground, ("syndrome registry",)
        ground.opened_at, ground.epoch = 10**12, ground  # type: ignore[attr-defined]
        pace = {"settle": 0.02, "turn": 3600.0, "retry": 0.02, "grace": 0.2}
        ground.fails = DisclosureError("not everybody")
        steward = Steward("alpha", ground, ground, ground, lambda: ground, lambda: True, **pace)  # type: ignore[arg-type]
        steward.start()
        wait_until(lambda: len(ground.proposed) > 12)
        steward.close()
        steward.join()
        return [everybody for _, everybody in ground.proposed]

    with_most = proposed("alpha", "beta", "gamma")
    assert with_most[0] is True
    assert with_most[-1] is False
    assert set(proposed("alpha", "beta")) == {True}
