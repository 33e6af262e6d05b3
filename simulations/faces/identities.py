"""People without a diagnosis, many photos each: what a face-recognition backbone is pre-trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.seeding import generator
from simulations.faces.camera import sample_camera
from simulations.faces.people import sample_person, sample_shift, take_photo

Crops = NDArray[np.uint8]


def identities(people: int, photos_each: int, seed: int) -> tuple[Crops, NDArray[np.int64]]:
    """Photos of people without a diagnosis, to pre-train a face-recognition backbone.

    Returns crops (people * photos_each, 112, 112, 3) uint8 RGB and labels (people * photos_each,) int64 that
    number the people from 0. Two thirds of the people have unusual features of no named syndrome, so that the
    embedding covers syndromic shapes. Person i is the same for every ``people`` and ``photos_each``.
    """
    crops = np.empty((people * photos_each, 112, 112, 3), np.uint8)
    for person in range(people):
        for photo in range(photos_each):
            crops[person * photos_each + photo] = identity_photo(person, photo, seed)
    return crops, np.repeat(np.arange(people, dtype=np.int64), photos_each)


def identity_photo(person: int, photo: int, seed: int) -> Crops:
    """Photo number ``photo`` of person number ``person``, (112, 112, 3) uint8 RGB, whatever else is drawn."""
    random = generator(seed, "identity", person)
    someone = sample_person(random, shift=sample_shift(random))
    moment = generator(seed, "identity", person, "photo", photo)
    age = float(np.clip(someone.age_years * np.exp(moment.normal(0, 0.15)), 0.1, 90))
    crop, _ = take_photo(someone, moment, sample_camera(moment), age_years=age)
    return crop
