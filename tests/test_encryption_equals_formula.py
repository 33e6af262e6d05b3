"""Under encryption each score is the formula of ``common.ranking.kernel``, and ranks alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encryption import EncryptedRanker, GalleryStack
from common.encryption.evaluator import admit, evaluate, prepare
from common.encryption.parameters import QUADRATIC
from common.encryption.sanitise import Noise, sanitise
from common.encryption.seal import SealScheme
from common.encryption.weighted_gallery import weighted_gallery
from common.errors import DisclosureError, EncryptionError
from common.ranking.kernel import (
    Prototypes,
    linear,
    patients_per_syndrome,
    quadratic,
    rbf_coefficients,
    weighted_rows,
)
from tests.encryption_panel import Host, Layout, decrypt, pair_masks, prototypes, silo_panel, unit


@pytest.fixture(scope="module")
def scheme(tmp_path_factory):
    return SealScheme(tmp_path_factory.mktemp("scheme"))


def top_ten(scores):
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1)[:, :10]


def separated(scores, gap=1e-4):
    """Whether neighbours among the first eleven scores of each query differ by more than the promised error."""
    return (-np.diff(-np.sort(-np.nan_to_num(scores, nan=-9.0), axis=1)[:, :11]) > gap).all(axis=1)


@given(
    length=st.sampled_from([1, 5, 64, 100, 128, 256, 512, 2000]),
    rows=st.integers(1, 300),
    queries=st.sampled_from([1, 2, 8]),
    silos=st.integers(3, 4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=8, deadline=None)
def test_masked_panel_sums_equal_the_formula(scheme, length, rows, queries, silos, seed):
    generator = np.random.default_rng(seed)
    layout = Layout(length, rows, min(queries, Layout(length, rows, 1).lanes))
    syndromes = [f"s{number}" for number in range(rows)]
    panel = prototypes(generator, syndromes, length, silos=silos, held=0.4)
    probes = unit(generator, layout.queries, length)
    members, _, of_silos = silo_panel(panel)
    secret, public = scheme.make_keys(layout.rotations)
    keys = scheme.load_keys(public, layout.rotations)
    payload, totals = (
        scheme.encrypt(layout.pack(probes.astype(np.float64)), secret),
        patients_per_syndrome(panel.values()),
    )
    answers = []
    for name, silo in panel.items():
        host = Host(scheme, keys, layout, weighted_rows(silo, syndromes=syndromes, totals=totals))
        answers.append(host.respond(payload, mask_keys=pair_masks(members, of_silos, name, bytes(32))))
    found = layout.unpack(decrypt(scheme, secret, layout, answers).real)
    expected = linear(probes, list(panel.values()), syndromes=syndromes)
    present = ~np.isnan(expected[0])
    assert np.abs(found - expected)[:, present].max() < 1e-5
    found[:, ~present] = np.nan
    clear = separated(expected)
    assert np.array_equal(top_ten(found)[clear], top_ten(expected)[clear])


def patients(generator, length, syndromes, silos):
    """Silos with single patients and small groups, many of some syndromes and few of most, alike within one."""
    centres = unit(generator, len(syndromes), length)
    found = {}
    for number in range(silos):
        count = int(generator.integers(1, 200))
        which = np.minimum(generator.geometric(0.04, count) - 1, len(syndromes) - 1)
        rows = centres[which] + generator.normal(scale=0.8 / np.sqrt(length), size=(count, length))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        names = tuple(syndromes[index] for index in which)
        found[f"silo-{number}"] = Prototypes(names, rows, generator.integers(1, 4, count))
    return found


@pytest.fixture(scope="module")
def deep_scheme(tmp_path_factory):
    return SealScheme(tmp_path_factory.mktemp("scheme"), QUADRATIC)


@given(
    length=st.sampled_from([5, 64, 128, 512, 1024]),
    rows=st.integers(1, 300),
    queries=st.sampled_from([1, 4]),
    width=st.sampled_from([0.2, 0.5, 2.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=4, deadline=None)
def test_masked_panel_sums_equal_the_quadratic_formula(deep_scheme, length, rows, queries, width, seed):
    generator, scheme = np.random.default_rng(seed), deep_scheme
    layout, coefficients = Layout(length, rows, queries, "quadratic"), rbf_coefficients(width)
    syndromes = [f"s{number}" for number in range(rows)]
    panel = patients(generator, length, syndromes, 3)
    probes = unit(generator, queries, length)
    members, _, of_silos = silo_panel(panel)
    secret, public = scheme.make_keys(layout.rotations)
    keys = scheme.load_keys(public, layout.rotations)
    payload = scheme.encrypt(layout.pack(probes.astype(np.float64)), secret)
    totals = patients_per_syndrome(panel.values())
    answers = []
    for name, silo in panel.items():
        rows = weighted_gallery(silo, syndromes=syndromes, totals=totals, coefficients=coefficients)
        gallery = prepare(scheme, layout, rows)
        evaluation = evaluate(scheme, gallery, admit(scheme, payload, keys), keys)
        masks = pair_masks(members, of_silos, name, bytes(32))
        answers.append(sanitise(scheme, evaluation, keys, mask_keys=masks, noise=Noise(0.0)).payload)
    found = layout.unpack(decrypt(scheme, secret, layout, answers).real)
    expected = quadratic(probes, list(panel.values()), syndromes=syndromes, coefficients=coefficients)
    present = ~np.isnan(expected[0])
    assert np.abs(found - expected)[:, present].max() < 1e-5
    found[:, ~present] = np.nan
    clear = separated(expected)
    assert np.array_equal(top_ten(found)[clear], top_ten(expected)[clear])


def test_ranker_equals_the_formula_without_noise():
    generator = np.random.default_rng(3)
    syndromes = [f"s{number}" for number in range(70)]
    silos = prototypes(generator, syndromes[:60], 128, silos=4)
    probes = unit(generator, 19, 128)
    seen = []
    with EncryptedRanker(silos, syndromes=syndromes, noise=False, profile="simulation") as ranker:
        scores, cost = ranker.rank(probes, progress=seen.append)
    expected = linear(probes, list(silos.values()), syndromes=syndromes)
    assert scores.dtype == np.float32
    assert np.array_equal(np.isnan(scores), np.isnan(expected))
    assert np.nanmax(np.abs(scores - expected)) < 1e-5
    clear = separated(expected)
    assert clear.sum() > 5
    assert np.array_equal(top_ten(scores)[clear], top_ten(expected)[clear])
    assert seen == [8, 8, 3]
    assert cost.queries == 19
    assert cost.bytes_up == pytest.approx(3 * 98_678 / 19)
    assert cost.bytes_down == pytest.approx(3 * 115_035 / 19)
    assert cost.seconds_per_query > 0


def test_ranker_with_noise_keeps_the_order_of_separated_scores_over_several_blocks():
    generator = np.random.default_rng(4)
    syndromes = [f"s{number}" for number in range(600)]
    silos = prototypes(generator, syndromes, 64, silos=3)
    probes = unit(generator, 5, 64)
    with EncryptedRanker(silos, syndromes=syndromes) as ranker:
        assert ranker.layout.blocks == 2
        scores, _ = ranker.rank(probes)
        again, _ = ranker.rank(probes)
    expected = linear(probes, list(silos.values()), syndromes=syndromes)
    assert np.nanmax(np.abs(scores - expected)) < 1e-4
    assert np.nanmax(np.abs(scores - again)) > 0
    clear = separated(expected)
    assert np.array_equal(top_ten(scores)[clear], top_ten(expected)[clear])


def test_galleries_that_share_prototypes_are_scored_in_one_pass():
    generator = np.random.default_rng(5)
    frequent = prototypes(generator, [f"f{number}" for number in range(12)], 64, silos=3, held=1.0)
    galleries = {"F/F": frequent}
    for split in range(2):
        rare = prototypes(generator, ["r0", "r1", "r2"], 64, silos=3, held=0.9)
        galleries[f"R/R {split}"] = rare
        galleries[f"both {split}"] = {
            name: type(rare[name])(
                frequent[name].syndromes + rare[name].syndromes,
                np.concatenate([frequent[name].matrix, rare[name].matrix]),
                np.concatenate([frequent[name].counts, rare[name].counts]),
            )
            for name in rare
        }
    stack = GalleryStack(galleries)
    assert len(stack.rows) == 12 + 2 * 3
    probes = unit(generator, 9, 64)
    with EncryptedRanker(stack.silos, syndromes=stack.rows) as ranker:
        rows, _ = ranker.rank(probes)
    for gallery, silos in galleries.items():
        names, scores = stack.scores(gallery, rows)
        expected = linear(probes, list(silos.values()), syndromes=names)
        assert np.abs(scores - expected).max() < 1e-4


def test_small_panels_and_missing_noise_are_refused_outside_simulations():
    generator = np.random.default_rng(6)
    silos = prototypes(generator, ["a", "b"], 64, silos=2)
    with pytest.raises(DisclosureError, match="2 silos"):
        EncryptedRanker(silos, syndromes=["a", "b"])
    three = prototypes(generator, ["a", "b"], 64, silos=3)
    with pytest.raises(DisclosureError, match="noise"):
        EncryptedRanker(three, syndromes=["a", "b"], noise=False)
    with EncryptedRanker(silos, syndromes=["a", "b"], profile="simulation") as ranker:
        scores, _ = ranker.rank(unit(generator, 2, 64))
    assert scores.shape == (2, 2)


def test_unusable_input_is_refused_in_one_line():
    generator = np.random.default_rng(7)
    silos = prototypes(generator, ["a"], 64, silos=3)
    with pytest.raises(EncryptionError, match="lengths"):
        EncryptedRanker({**silos, "other": prototypes(generator, ["a"], 32, silos=1)["silo-0"]}, syndromes=["a"])
    with pytest.raises(EncryptionError, match="syndromes"):
        EncryptedRanker(silos, syndromes=[])
    with EncryptedRanker(silos, syndromes=["a"]) as ranker:
        with pytest.raises(EncryptionError, match="shape"):
            ranker.rank(unit(generator, 1, 32))
        with pytest.raises(EncryptionError, match="unit norm"):
            ranker.rank(3 * unit(generator, 1, 64))
        scores, cost = ranker.rank(np.empty((0, 64), dtype=np.float32))
    assert scores.shape == (0, 1)
    assert cost.queries == 0
