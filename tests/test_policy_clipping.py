"""Clipping: never above the bound as the gate measures it, the same bits each time, nothing changed below it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.training.postprocessors.cap import PatientCap
from client.training.postprocessors.clip import Clip
from client.training.postprocessors.order import postprocessed
from common.errors import TrainingError
from common.privacy.clipping import clipped
from common.records import Parameters, Update, digest, norm


def delta(seed: int, scale: float = 1.0) -> Parameters:
    draw = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"head.weight": (37, 11), "head.bias": (11,), "temperature": ()}
    return {path: np.asarray(draw.normal(0, scale, shape), dtype=np.float32) for path, shape in shapes.items()}


def update(parameters: Parameters, patients: int = 8) -> Update:
    return Update("spring", 1, "clinic-a", parameters, patients=patients, photos=2 * patients, loss=1.0)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_clipped_passes_a_gate_at_the_same_bound(seed: int) -> None:
    found = delta(seed, scale=float(10.0 ** (seed % 7 - 3)))
    bound = norm(found) * (0.9999999 if seed % 2 else 0.001 * (1 + seed))
    short = clipped(found, bound)
    assert norm(short) <= bound
    assert norm(short) == pytest.approx(bound, rel=1e-5)
    for path, value in found.items():
        assert short[path].dtype == np.float32
        assert short[path].shape == value.shape
        np.testing.assert_allclose(short[path], value * (bound / norm(found)), rtol=1e-5)
    assert digest(short) == digest(clipped(delta(seed, scale=float(10.0 ** (seed % 7 - 3))), bound))


def test_below_the_bound_not_a_bit_changes() -> None:
    found = delta(1)
    assert clipped(found, norm(found)) is found
    assert clipped(found, float("inf")) is found
    assert norm(clipped(found, 1e-300)) <= 1e-300


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bound", [None, 1.0])
def test_an_update_that_is_not_finite_never_leaves_the_hospital(wrong: float, bound: float | None) -> None:
    found = {**delta(1), "head.bias": np.full(11, wrong, np.float32)}
    with pytest.raises(TrainingError, match="not finite"):
        Clip(bound)(update(found))


def test_steps_are_done_in_order_and_tell_what_they_did() -> None:
    found = update(delta(3))
    treated = postprocessed(found, (PatientCap(5), Clip(0.25)))
    assert treated.update.patients == 5
    assert norm(treated.update.delta) <= 0.25
    assert treated.facts == {"patients": 8, "stated": 5, "norm": "0.25", "clipped": "yes"}
    untouched = postprocessed(found, (PatientCap(None), Clip(None)))
    assert untouched.update == replace(found, delta=found.delta)
    assert untouched.update.delta is found.delta
    assert untouched.facts["clipped"] == "no"


def test_a_cap_never_states_more_patients_than_photos() -> None:
    for patients in (1, 2, 8):
        for cap in (None, 1, 3, 100):
            stated = PatientCap(cap)(update(delta(1), patients)).update
            assert 1 <= stated.patients <= min(patients, stated.photos)
