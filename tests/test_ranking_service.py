"""A clinician ranks over hospitals that run: the formula's scores, and nothing of the patient left behind."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from client.relay.link import RelayLink
from client.relay.outbox import Outbox
from common.errors import ConfigError, DisclosureError, PhotoError
from common.releases.bare import read_release
from common.releases.encoder import ReleasedEncoder
from simulations.weights import THIN
from tests.agents import (
    ROWS,
    Hospitals,
    crop,
    found_hospitals,
    hospitals,
    phenofed,
    photo,
    scores_in_clear,
    set_policy,
    write_small_release,
)

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
REFERENCE = "Case-4711 Zaphod"


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES), start=NAMES) as made:
        made.open_epoch()
        yield made


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(photo(5, ROWS[0]))
    return path


def files_of(folder: Path) -> dict[Path, bytes]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # sockets, and files that come and go
            found[path] = path.read_bytes()
    return found


def expected(consortium: Hospitals, content: bytes) -> dict[str, float]:
    clear = scores_in_clear(list(consortium.agents.values()), content)
    del clear[ROWS[2]]  # two patients in all
    return dict(sorted(clear.items(), key=lambda item: -item[1]))


def assert_formula(consortium: Hospitals, ranked: dict, content: bytes) -> None:
    clear = expected(consortium, content)
    assert [row["key"] for row in ranked["syndromes"]] == list(clear)
    for row in ranked["syndromes"]:
        assert row["similarity"] == pytest.approx(clear[row["key"]], abs=1e-4)


@pytest.mark.parametrize("asker", ["alpha", "gamma"])
def test_order_and_scores_are_those_of_the_formula_over_all_hospitals(consortium: Hospitals, asker: str) -> None:
    for seed, syndrome in ((1, ROWS[0]), (2, ROWS[1]), (3, ROWS[3])):
        content = photo(seed, syndrome)
        ranked = consortium.rank(asker, content)
        assert_formula(consortium, ranked.to_json(), content)
        assert ranked.rows[0].key == syndrome
        assert (ranked.silos, ranked.missing, ranked.silent) == (tuple(sorted(NAMES)), (), {})


def test_syndromes_below_the_floor_are_withheld_and_support_is_a_band(consortium: Hospitals) -> None:
    ranked = consortium.rank("beta", photo(4))
    assert {row.key: row.support for row in ranked.rows} == {ROWS[0]: "6-10", ROWS[1]: "3-5", ROWS[3]: "3-5"}
    assert (ranked.answerable, ranked.withheld) == (3, 1)


def test_the_table_begins_with_its_cautions_and_knows_no_percentage(consortium: Hospitals, picture: Path) -> None:
    where = consortium.folder / "alpha"
    done = phenofed("rank", picture, "--patient", "[/bold] 17", "--workspace", where, "--aligned")
    assert done.exception is None
    head, _, rows = done.output.partition("similarity")
    for caution in ("Research use only", "unaffected one too", "may be absent", "not calibrated"):
        assert caution in head
    assert head.index("Research use only") < head.index("Patient [/bold] 17") < head.index("Release test-")
    assert "Hospitals in the scores: alpha, beta, delta, epsilon, gamma. Missing: none." in head
    assert "%" not in done.output
    for text in ("Cornelia de Lange syndrome 1", "OMIM:122470", "NIPBL", "6-10"):
        assert text in rows


def test_json_and_tsv_say_the_same_as_the_formula(consortium: Hospitals, picture: Path) -> None:
    common = ("rank", picture, "--patient", "17", "--workspace", consortium.folder / "delta", "--aligned")
    ranked = json.loads(phenofed(*common, "--json").stdout)
    assert_formula(consortium, ranked, picture.read_bytes())
    assert (ranked["schema"], ranked["calibrated"], ranked["patient"]) == (1, False, "17")
    lines = phenofed(*common, "--format", "tsv").stdout.splitlines()
    assert lines[0] == "disease_identifier\tscore\tgrouping_id"
    clear = expected(consortium, picture.read_bytes())
    assert [line.split("\t")[0] for line in lines[1:]] == list(clear)
    assert [float(line.split("\t")[1]) for line in lines[1:]] == pytest.approx(list(clear.values()), abs=1e-4)
    assert lines[1].split("\t")[2] == "PS122470"


def test_a_batch_gives_each_patient_the_list_of_its_own(consortium: Hospitals, tmp_path: Path) -> None:
    contents = {f"p{number}": photo(100 + number, ROWS[number % 2]) for number in range(10)}
    lines = ["patient,photo"]
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        lines.append(f"{name},{name}.png")
    (tmp_path / "batch.csv").write_text("\n".join(lines))
    where = consortium.folder / "epsilon"
    left = consortium.ask("epsilon", "budget")["left_to_ask"]
    done = phenofed("rank", "--batch", tmp_path / "batch.csv", "--workspace", where, "--aligned", "--json")
    ranked = json.loads(done.stdout)
    assert [item["patient"] for item in ranked] == list(contents)
    for item in ranked:
        assert_formula(consortium, item, contents[item["patient"]])
    assert consortium.ask("epsilon", "budget")["left_to_ask"] == left - len(contents)


def test_reference_photo_and_embedding_pass_no_wire_and_stay_in_no_file(
    consortium: Hospitals, picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[bytes] = []
    take = Outbox.next

    def spied(self: Outbox, timeout: float) -> bytes | None:
        sent.append(take(self, timeout) or b"")
        return sent[-1] or None

    monkeypatch.setattr(Outbox, "next", spied)
    monkeypatch.chdir(tmp_path)
    agent = consortium.agents["alpha"]
    consortium.rank("alpha", photo(1))  # makes keys, which silos keep
    before = files_of(consortium.folder)
    assert consortium.rank("alpha", picture.read_bytes(), reference=REFERENCE).patient == REFERENCE
    embedding = agent.encoder.portrait([picture.read_bytes()], aligned=True).embedding
    kinds = (np.float32, np.float64)
    secrets = [REFERENCE.encode(), REFERENCE.encode().hex().encode(), picture.read_bytes()[60:92]]
    secrets += [embedding.astype(kind).tobytes()[:32] for kind in kinds] + [crop(5, ROWS[0]).tobytes()[:64]]
    wire = b"".join(sent)
    assert len(wire) > 4 * 90_000
    after = files_of(consortium.folder)
    assert {path.name for path in after} - {path.name for path in before} <= {
        "ledger.sqlite-wal",
        "ledger.sqlite-shm",
    }
    for secret in secrets:
        assert secret not in wire
        assert not [path for path, content in after.items() if secret in content]


def test_keep_leaves_crops_embedding_and_list_only_where_policy_lets_it(
    consortium: Hospitals, picture: Path
) -> None:
    workspace = consortium.folder / "gamma"
    with pytest.raises(DisclosureError, match="keeps nothing"):
        consortium.rank("gamma", picture.read_bytes(), reference=REFERENCE, keep=True)
    assert not (workspace / "kept").exists()
    set_policy(workspace, keep={"queries": True, "days": 2})
    consortium.rank("gamma", picture.read_bytes(), reference=REFERENCE, keep=True)
    kept = {path for path in (workspace / "kept").rglob("*") if path.is_file()}
    assert {path.name for path in kept} == {"portrait.safetensors", "ranking.json"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    agent = consortium.agents["gamma"]
    for days, stays in ((0, True), (5000, False)):
        consortium.today = consortium.today.fromordinal(consortium.today.toordinal() + days)
        agent.look_after()
        assert (workspace / "kept").is_dir()
        assert bool(list((workspace / "kept").iterdir())) == stays
    consortium.today = consortium.today.fromordinal(consortium.today.toordinal() - 5000)
    agent.look_after()


@pytest.mark.parametrize(
    ("content", "reference", "kind"),
    [
        (b"no picture", "17", PhotoError),
        (photo(1), "two\nlines", ConfigError),
        (photo(1), "", ConfigError),
        (photo(1), "x" * 129, ConfigError),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_one_line_and_costs_nothing(
    consortium: Hospitals, content: bytes, reference: str, kind: type[Exception]
) -> None:
    left = consortium.ask("beta", "budget")["left_to_ask"]
    with pytest.raises(kind) as refused:
        consortium.rank("beta", content, reference=reference)
    assert "\n" not in str(refused.value)
    assert consortium.ask("beta", "budget")["left_to_ask"] == left


def test_status_names_panels_and_answerable_syndromes(consortium: Hospitals) -> None:
    done = phenofed("silo", "status", consortium.folder / "beta")
    for text in ("connected", "alpha, delta, epsilon, gamma", "3 of 4 syndromes", "profile standard"):
        assert text in done.output
    assert isinstance(consortium.agents["beta"].link, RelayLink)


def test_patients_who_are_encoded_at_the_same_time_keep_their_own_embeddings(tmp_path: Path) -> None:
    write_small_release(tmp_path, rounds=50, ensemble=True)
    encoder = ReleasedEncoder(read_release(tmp_path), THIN)
    crops = [crop(seed)[None] for seed in range(4)]
    alone = [encoder.encode(["p"], one).vectors for one in crops]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda one: encoder.encode(["p"], one).vectors, crops)
            for own, together in zip(alone, found, strict=True):
                np.testing.assert_array_equal(own, together)
