"""Procedural faces: bit-identical from a seed, and every trait seen where it should be."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.faces.align import TEMPLATE
from common.seeding import generator
from simulations.faces.camera import IDEAL, Camera, photograph, sample_camera
from simulations.faces.face import Appearance, Face, View, of_age, sample_appearance, sample_view
from simulations.faces.hpo import TERMS, shift_of
from simulations.faces.people import sample_person, take_photo
from simulations.faces.renderer import landmarks, render, render_with_landmarks
from simulations.faces.syndromes import SYNDROMES
from simulations.faces.traits import LIMIT, NAMES, TRAITS, as_mapping, sample_identity, vector
from simulations.synthetic import identities, identity_photo

PLAIN = Appearance()
OPEN = View(opening=0.8)


def face(view: View | None = None, **traits: float) -> Face:
    return Face(traits, PLAIN, view or View(), age_years=9.0)


def span(points: np.ndarray, axis: int) -> float:
    return float(np.ptp(points[:, axis]))


# What each trait moves: a measure of the landmarks that grows with it. Distances are shares of the face's own
# size, since alignment scales what it is given.
def _unit(p: dict[str, np.ndarray]) -> float:
    return float(p["subnasale"][0, 1] - p["eyes"][:, 1].mean())


MEASURES = {
    "eye_spacing": lambda p: span(p["eyes"], 0) / span(p["outline"], 0),
    "fissure_slant": lambda p: p["upper_lid_right"][0, 1] - p["upper_lid_right"][-1, 1],
    "fissure_length": lambda p: span(p["upper_lid_right"], 0),
    "fissure_height": lambda p: float((p["lower_lid_right"] - p["upper_lid_right"])[:, 1].max()),
    "ptosis": lambda p: -float((p["lower_lid_right"] - p["upper_lid_right"])[:, 1].max()),
    "lid_eversion": lambda p: float(p["lower_lid_right"][:, 1].max()),
    "brow_height": lambda p: -p["brow_right"][:, 1].mean(),
    "brow_arch": lambda p: span(p["brow_right"], 1),
    "nose_length": lambda p: (p["nose_tip"] - p["nasion"])[0, 1] / span(p["outline"], 0),
    "nose_width": lambda p: span(p["alae"], 0) / _unit(p),
    "philtrum_length": lambda p: (p["upper_lip"][:, 1].mean() - p["subnasale"][0, 1]) / _unit(p),
    "mouth_width": lambda p: span(p["mouth"], 0) / span(p["eyes"], 0),
    "upper_lip": lambda p: p["upper_lip_inner"][:, 1].max() - p["upper_lip"][:, 1].min(),
    "lower_lip": lambda p: p["lower_lip"][:, 1].max() - p["lower_lip_inner"][:, 1].mean(),
    "cupid_bow": lambda p: np.median(p["upper_lip"][:, 1]) - p["upper_lip"][:, 1].min(),
    "mouth_corners": lambda p: p["lower_lip"][:, 1].max() - p["mouth"][:, 1].mean(),
    "mouth_opening": lambda p: (p["lower_lip_inner"] - p["upper_lip_inner"])[:, 1].max(),
    "chin_length": lambda p: (p["chin"][0, 1] - p["lower_lip"][:, 1].max()) / _unit(p),
    "chin_point": lambda p: -_width_at(p, 0.93),
    "jaw_width": lambda p: _width_at(p, 0.7),
    "cheek_fullness": lambda p: _width_at(p, 0.7),
    "face_width": lambda p: span(p["outline"], 0) / _unit(p),
    "face_length": lambda p: span(p["outline"], 1) / span(p["outline"], 0),
    "forehead_height": lambda p: (p["eyes"][0, 1] - p["vertex"][0, 1]) / _unit(p),
    "forehead_width": lambda p: _width_at(p, -0.45),
    "hairline": lambda p: -p["hairline"][0, 1],
    "ear_position": lambda p: -p["ear_right"][:, 1].mean(),
    "ear_size": lambda p: span(p["ear_right"], 1),
    "ear_protrusion": lambda p: p["ear_right"][:, 0].max() - p["outline"][:, 0].max(),
    "asymmetry": lambda p: abs(p["brow_right"][:, 1].mean() - p["brow_left"][:, 1].mean()),
}


def _width_at(p: dict[str, np.ndarray], height: float) -> float:
    """Width of the outline at a share of the way from the eyes to the chin (below 0: above the eyes)."""
    eyes, chin = p["eyes"][:, 1].mean(), p["chin"][0, 1]
    y = eyes + height * (chin - eyes)
    right = p["outline"][p["outline"][:, 0] > p["chin"][0, 0]]
    order = np.argsort(right[:, 1])
    return float(np.interp(y, right[order, 1], right[order, 0])) - float(p["chin"][0, 0])


# Rows and columns of the crop in which a trait must be seen.
REGIONS = {
    "eye_depth": (slice(40, 64), slice(20, 92)),
    "epicanthus": (slice(44, 62), slice(36, 76)),
    "ptosis": (slice(44, 60), slice(24, 88)),
    "lid_eversion": (slice(50, 62), slice(24, 88)),
    "periorbital_fullness": (slice(42, 66), slice(22, 90)),
    "lash_length": (slice(42, 62), slice(22, 90)),
    "strabismus": (slice(44, 60), slice(64, 84)),
    "brow_thickness": (slice(34, 52), slice(18, 94)),
    "brow_arch": (slice(32, 52), slice(18, 94)),
    "brow_lateral_loss": (slice(34, 52), slice(18, 94)),
    "synophrys": (slice(36, 52), slice(40, 72)),
    "bridge_height": (slice(44, 80), slice(40, 72)),
    "bridge_width": (slice(40, 76), slice(40, 72)),
    "tip_width": (slice(62, 84), slice(38, 74)),
    "columella": (slice(68, 84), slice(46, 66)),
    "philtrum_depth": (slice(74, 92), slice(46, 66)),
    "teeth_spacing": (slice(82, 104), slice(36, 76)),
    "malar": (slice(54, 100), slice(14, 98)),
    "frontal_bossing": (slice(0, 48), slice(16, 96)),
    "hair_density": (slice(0, 64), slice(0, 112)),
    "facial_coarseness": (slice(66, 108), slice(26, 86)),
    "ear_protrusion": (slice(36, 92), slice(0, 112)),
}


def test_every_trait_has_a_check() -> None:
    assert len(TRAITS) >= 24
    assert set(NAMES) - {"nares_anteversion"} == (set(MEASURES) | set(REGIONS))


@pytest.mark.parametrize("trait", sorted(MEASURES))
def test_a_trait_moves_its_landmarks(trait: str) -> None:
    low = -3.0 if not next(t for t in TRAITS if t.name == trait).one_sided else 0.0
    below, middle, above = (
        MEASURES[trait](landmarks(face(OPEN, **{trait: v}))) for v in (low, (low + 3) / 2, 3.0)
    )
    assert below < middle < above


@pytest.mark.parametrize("trait", sorted(REGIONS))
def test_a_trait_is_seen_in_its_region(trait: str) -> None:
    # A trait that moves the outline or a landmark shifts the whole crop a little; the region must change the most.
    changed = np.abs(render(face(OPEN, **{trait: 3.0})).astype(int) - render(face(OPEN)).astype(int)).sum(axis=2)
    inside = np.zeros(changed.shape, dtype=bool)
    inside[REGIONS[trait]] = True
    assert changed[inside].max() > 30
    assert changed[inside].mean() > 2.5 * changed[~inside].mean()


def test_anteverted_nares_show_more_dark_nostril() -> None:
    def dark(value: float) -> int:
        crop = render(face(nares_anteversion=value))[66:84, 42:70].astype(int).sum(axis=2)
        return int((crop < 260).sum())

    assert dark(-2.5) < dark(0.0) < dark(2.5)


def test_thick_brows_and_synophrys_darken_the_brow() -> None:
    def ink(rows: slice, columns: slice, **traits: float) -> float:
        return float(render(face(**traits))[rows, columns].mean())

    sides, middle = (slice(38, 48), slice(30, 48)), (slice(40, 48), slice(51, 61))
    assert ink(*sides, brow_thickness=3.0) < ink(*sides) - 3 < ink(*sides, brow_thickness=-3.0) - 4
    assert ink(*middle, synophrys=3.0) < ink(*middle) - 10


def test_an_average_face_sits_on_the_template() -> None:
    crop, points = render_with_landmarks(face())
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
    assert np.abs(points - TEMPLATE).max() < 2.0


def test_alignment_keeps_the_eyes_and_shrinks_the_rest_of_a_hypertelorist_face() -> None:
    usual, wide = landmarks(face()), landmarks(face(eye_spacing=3.0))
    assert span(wide["eyes"], 0) < 1.13 * span(usual["eyes"], 0)  # 19 % wider before alignment
    assert span(wide["outline"], 0) < 0.95 * span(usual["outline"], 0)


def test_turning_the_head_keeps_the_five_points_near_the_template() -> None:
    crop, points = render_with_landmarks(face(View(yaw=0.2, pitch=0.1)))
    assert np.abs(points - TEMPLATE).max() < 6.0
    assert not np.array_equal(crop, render(face()))


def test_larger_pictures_show_the_same_face() -> None:
    small, large = render(face(synophrys=3.0)), render(face(synophrys=3.0), size=224)
    assert large.shape == (224, 224, 3)
    assert np.abs(cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 2.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2 * LIMIT, 2 * LIMIT), min_size=len(NAMES), max_size=len(NAMES)), st.integers(0, 2**32))
def test_any_trait_values_give_a_picture(values: list[float], seed: int) -> None:
    random = generator(seed, "any")
    age = float(random.uniform(0.0, 90.0))
    someone = Face(
        as_mapping(np.array(values)),
        of_age(sample_appearance(random), random, age),
        sample_view(random),
        age,
        "male",
    )
    crop = photograph(render(someone), sample_camera(random), random)
    assert crop.shape == (112, 112, 3)
    assert crop.std() > 5
    assert all(np.isfinite(points).all() for points in landmarks(someone).values())


def test_photos_do_not_depend_on_what_is_drawn_before_them() -> None:
    crops, labels = identities(3, 2, seed=4)
    assert crops.shape == (6, 112, 112, 3)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    for place in (5, 0, 3):
        assert np.array_equal(identity_photo(place // 2, place % 2, 4), crops[place])
    more, _ = identities(2, 3, seed=4)
    assert np.array_equal(more[3], crops[2])
    assert not np.array_equal(identity_photo(0, 0, 5), crops[0])


def test_another_process_draws_the_same_pixels() -> None:
    code = (
        "import hashlib; from simulations.synthetic import identity_photo; "
        "print(hashlib.sha256(identity_photo(7, 1, 9).tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == hashlib.sha256(identity_photo(7, 1, 9).tobytes()).hexdigest()


def test_photos_of_one_person_resemble_each_other_more_than_others() -> None:
    crops, labels = identities(8, 3, seed=2)
    small = np.array([cv2.resize(c, (16, 16), interpolation=cv2.INTER_AREA) for c in crops], dtype=float)
    flat = small.mean(axis=3).reshape(len(crops), -1)
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    alike = flat @ flat.T / flat.shape[1]
    same = (labels[:, None] == labels[None, :]) & ~np.eye(len(labels), dtype=bool)
    assert alike[same].mean() > alike[labels[:, None] != labels[None, :]].mean() + 0.05


def test_cameras_differ_and_the_ideal_one_changes_little() -> None:
    crop = render(face())
    ideal = photograph(crop, IDEAL, generator(0, "shot"))
    assert np.abs(ideal.astype(int) - crop).mean() < 9
    warm = photograph(crop, Camera(gains=(1.2, 1.0, 0.8)), generator(0, "shot"))
    assert warm[..., 0].mean() - warm[..., 2].mean() > ideal[..., 0].mean() - ideal[..., 2].mean() + 30
    fine = np.abs(np.diff(ideal.astype(int), axis=1)).mean()
    soft = photograph(crop, Camera(detail=0.4, blur=1.0), generator(0, "shot"))
    assert np.abs(np.diff(soft.astype(int), axis=1)).mean() < 0.7 * fine


def test_every_hpo_term_maps_to_known_traits() -> None:
    assert len(TERMS) >= 60
    for term in TERMS.values():
        assert term.id.startswith("HP:")
        assert len(term.id) == 10
        assert set(dict(term.shift)) <= set(NAMES)
        assert np.abs(term.vector()).max() >= 1.5
    assert len({term.label for term in TERMS.values()}) == len(TERMS)
    assert set().union(*(dict(term.shift) for term in TERMS.values())) >= set(NAMES)


def test_opposite_terms_shift_opposite_ways() -> None:
    for one, other in (
        ("0000316", "0000601"),
        ("0000343", "0000322"),
        ("0000256", "0000252"),
        ("0000582", "0000494"),
    ):
        assert TERMS[f"HP:{one}"].vector() @ TERMS[f"HP:{other}"].vector() < 0


def test_shifts_add_up_within_bounds() -> None:
    assert not shift_of({}).any()
    one = shift_of({"HP:0000343": 1.0})
    assert np.allclose(one, vector({"philtrum_length": 2.6}))
    assert np.allclose(shift_of({"HP:0000343": 0.5}), one / 2)
    bulky = shift_of({"HP:0000455": 1.0, "HP:0000414": 1.0})
    assert bulky[NAMES.index("tip_width")] == pytest.approx(4 / 3 * 3.2)
    with pytest.raises(KeyError):
        shift_of({"HP:9999999": 1.0})


def test_syndromes_are_told_apart_by_their_terms() -> None:
    assert len(SYNDROMES) >= 24
    assert len({syndrome.omim for syndrome in SYNDROMES}) == len(SYNDROMES)
    assert all(100_000 <= syndrome.omim <= 999_999 for syndrome in SYNDROMES)
    assert all(len(syndrome.frequency) >= 5 for syndrome in SYNDROMES)
    shapes = np.array([shift_of(syndrome.frequency) for syndrome in SYNDROMES])
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    assert (shapes @ shapes.T - np.eye(len(shapes))).max() < 0.85


def test_identity_varies_by_one_standard_deviation() -> None:
    people = np.array([sample_identity(generator(0, n)) for n in range(400)])
    assert people.std(0) == pytest.approx(np.ones(len(NAMES)), abs=0.2)
    shown = as_mapping(people[0] * 100)
    assert max(map(abs, shown.values())) == LIMIT


def test_a_person_keeps_their_colours_from_photo_to_photo() -> None:
    person = sample_person(generator(1, "person"), melanin=0.9)
    pale = sample_person(generator(1, "person"), melanin=0.05)
    assert np.array_equal(person.traits, pale.traits)
    dark_photo, _ = take_photo(person, generator(1, "moment"), IDEAL)
    pale_photo, _ = take_photo(pale, generator(1, "moment"), IDEAL)
    centre = (slice(56, 70), slice(24, 88))
    assert dark_photo[centre].mean() < pale_photo[centre].mean() - 30
