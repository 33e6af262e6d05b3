"""What crosses the wire: round trips to the bit, and refusal of everything that does not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TrainingError
from common.records import Refusal, SiloDescription, TrainRequest, Update, digest

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.zeros((), np.float32)}


def record(note: object, arrays: dict[str, np.ndarray] | None = None) -> RecordDict:
    text = note if isinstance(note, str) else json.dumps(note)
    return RecordDict(
        {
            "arrays": ArrayRecord({name: Array(value) for name, value in (arrays or {}).items()}),
            "note": ConfigRecord({"json": text}),
        }
    )


def test_a_request_comes_back_as_it_went() -> None:
    request = TrainRequest("run", 3, 7, {"architecture": "thin"}, {"rounds": 2}, ARRAYS)
    back = TrainRequest.from_record(request.to_record())
    assert (back.run, back.round, back.seed, back.model, back.plan) == ("run", 3, 7, request.model, request.plan)
    assert all(np.array_equal(back.parameters[name], ARRAYS[name]) for name in ARRAYS)


def test_an_update_a_refusal_and_a_description_come_back_as_they_went() -> None:
    update = Update("run", 1, "silo-ö", ARRAYS, patients=3, photos=4, loss=0.25)
    back = Update.from_record(update.to_record())
    assert isinstance(back, Update)
    assert (back.silo, back.patients, back.photos, back.loss) == ("silo-ö", 3, 4, 0.25)
    assert digest(back.delta) == digest(ARRAYS)
    assert Update.from_record(Refusal("silo-1", "no consent").to_record()) == Refusal("silo-1", "no consent")
    description = SiloDescription("silo-1", 1, 2, 3)
    assert SiloDescription.from_record(description.to_record()) == description


def test_the_digest_knows_names_shapes_and_values() -> None:
    base = digest(ARRAYS)
    assert digest(dict(reversed(ARRAYS.items()))) == base
    assert digest({"b": ARRAYS["b"].reshape(3, 2), "a": ARRAYS["a"]}) != base
    assert digest({"c": ARRAYS["b"], "a": ARRAYS["a"]}) != base
    assert digest({"b": ARRAYS["b"] + 1, "a": ARRAYS["a"]}) != base


@pytest.mark.parametrize(
    "message",
    [
        RecordDict(),
        record("no json"),
        record("[" * 100_000),
        record([1]),
        record({"protocol": 2}),
        record({"protocol": 1}),
        record({"protocol": 1, "run": "r", "round": -1, "silo": "s"}),
        record({"protocol": 1, "run": "r", "round": True, "silo": "s"}),
        record({"protocol": 1, "run": "a\nb", "round": 1, "silo": "s"}),
        record({"protocol": 1, "digest": digest({}), "run": "r", "round": 1, "silo": "s", "loss": "low"}),
        record({"protocol": 1, "run": "r", "round": 1, "silo": "s"}, {"w": np.zeros(2, np.float64)}),
        RecordDict({"arrays": ArrayRecord(), "note": ConfigRecord({"json": 3})}),
    ],
)
def test_what_does_not_fit_is_refused_with_one_kind_of_error(message: RecordDict) -> None:
    with pytest.raises(TrainingError):
        Update.from_record(message)


def test_another_protocol_is_named() -> None:
    with pytest.raises(TrainingError, match="protocol 9"):
        TrainRequest.from_record(record({"protocol": 9}))


def test_a_flipped_bit_in_the_arrays_is_found() -> None:
    message = Update("run", 1, "s", ARRAYS, patients=3, photos=4, loss=0.25).to_record()
    changed = {**ARRAYS, "b": ARRAYS["b"].copy()}
    changed["b"][0, 0] = np.nextafter(changed["b"][0, 0], np.float32(1))
    message["arrays"] = ArrayRecord({name: Array(value) for name, value in changed.items()})
    with pytest.raises(TrainingError, match="digest"):
        Update.from_record(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(note=JSON)
def test_no_note_whatever_does_more_than_refuse(note: object) -> None:
    if isinstance(note, dict):
        note = {"protocol": 1, "digest": digest({}), **note}
    for kind in (Update, TrainRequest, SiloDescription):
        try:
            answer = kind.from_record(record(note))
        except TrainingError:
            continue
        assert isinstance(answer, Update | Refusal | TrainRequest | SiloDescription)
