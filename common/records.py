"""Every key and schema that crosses between coordinator and silo, versioned.

A Flower ``RecordDict`` carries arrays and one JSON text; these classes are the only ones that read or write it.
Bytes from the other side are hostile: whatever does not fit raises ``TrainingError`` and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError

if TYPE_CHECKING:
    from flwr.app import RecordDict

PROTOCOL = 1
MAX_NOTE_BYTES = 1 << 20

Parameters = Mapping[str, NDArray[np.float32]]
"""Shared parameters by path, float32."""


@dataclass(frozen=True)
class Question:
    """Asks whoever serves a node which silo it is, and whether it takes part.

    ``plan``: digest of the signed plan, empty in simulations. ``nonce`` and ``node`` make each question another,
    so that no answer fits twice.
    """

    run: str
    plan: str = ""
    nonce: str = ""
    node: str = ""

    def to_record(self) -> RecordDict:
        return _pack({}, vars(self))

    @classmethod
    def from_record(cls, record: RecordDict) -> Question:
        _, note = _unpack(record)
        return cls(_name(note, "run"), *(_text(note, key) for key in ("plan", "nonce", "node")))


@dataclass(frozen=True)
class SiloDescription:
    """What a silo tells the coordinator before a run: its name and the size of its training data.

    ``signature``: (128 hexadecimal digits) the silo's Ed25519 signature over ``statement``; empty in simulations.
    """

    silo: str
    patients: int
    photos: int
    syndromes: int
    signature: str = ""

    def statement(self, question: Question) -> bytes:
        """What the silo signs: the question and its answer."""
        return _statement("description", vars(question), {**vars(self), "signature": ""})

    def to_record(self) -> RecordDict:
        return _pack({}, vars(self))

    @classmethod
    def from_record(cls, record: RecordDict) -> SiloDescription | Refusal:
        """The description, or the refusal that the silo sent in its place."""
        _, note = _unpack(record)
        if "refused" in note:
            return Refusal(_name(note, "silo"), str(note["refused"])[:500])
        patients, photos, syndromes = (_count(note, key) for key in ("patients", "photos", "syndromes"))
        return cls(_name(note, "silo"), patients, photos, syndromes, _text(note, "signature"))


@dataclass(frozen=True)
class TrainRequest:
    """One round's work: the shared parameters and how to train them.

    ``model`` and ``plan`` are the JSON forms of ``ModelSpec`` and ``TrainingPlan``; the silo parses them anew.
    ``digest``: of the signed plan; empty in simulations.
    """

    run: str
    round: int
    seed: int
    model: Mapping[str, Any]
    plan: Mapping[str, Any]
    parameters: Parameters = field(repr=False)
    digest: str = ""

    def to_record(self) -> RecordDict:
        note = {key: value for key, value in vars(self).items() if key != "parameters"}
        return _pack(self.parameters, note)

    @classmethod
    def from_record(cls, record: RecordDict) -> TrainRequest:
        arrays, note = _unpack(record)
        return cls(
            run=_name(note, "run"),
            round=_count(note, "round"),
            seed=_count(note, "seed"),
            model=_section(note, "model"),
            plan=_section(note, "plan"),
            parameters=arrays,
            digest=_text(note, "digest"),
        )


@dataclass(frozen=True)
class Update:
    """What leaves a silo after training: delta = local - received, and the counts that weigh it.

    ``delta``: float32 by parameter path. ``patients``, ``photos``: how many were trained on. ``loss``: mean
    training loss of the round. ``signature``: (128 hexadecimal digits) the silo's Ed25519 signature over
    ``statement``; empty in simulations.
    """

    run: str
    round: int
    silo: str
    delta: Parameters = field(repr=False)
    patients: int
    photos: int
    loss: float
    signature: str = ""

    @property
    def statement(self) -> bytes:
        """What the silo signs: run, round, its name, and the SHA-256 of the delta with its counts."""
        note = {key: value for key, value in vars(self).items() if key not in ("delta", "signature")}
        return _statement("update", note, digest(self.delta))

    def to_record(self) -> RecordDict:
        note = {key: value for key, value in vars(self).items() if key != "delta"}
        return _pack(self.delta, note | {"digest": digest(self.delta)})

    @classmethod
    def from_record(cls, record: RecordDict) -> Update | Refusal:
        """The update, or the refusal that the silo sent in its place."""
        arrays, note = _unpack(record)
        if "refused" in note:
            return Refusal(_name(note, "silo"), str(note["refused"])[:500])
        if note.get("digest") != digest(arrays):
            raise TrainingError("the update's digest does not fit its arrays", remedy="send it again")
        loss = note.get("loss")
        if not isinstance(loss, int | float):
            raise TrainingError("the update states no loss", remedy="use the same software version")
        return cls(
            run=_name(note, "run"),
            round=_count(note, "round"),
            silo=_name(note, "silo"),
            delta=arrays,
            patients=_count(note, "patients"),
            photos=_count(note, "photos"),
            loss=float(loss),
            signature=_text(note, "signature"),
        )


@dataclass(frozen=True)
class Refusal:
    """A silo's reason for sending no update. It names no patient."""

    silo: str
    reason: str

    def to_record(self) -> RecordDict:
        return _pack({}, {"silo": self.silo, "refused": self.reason})


def applied(parameters: Parameters, delta: Parameters) -> dict[str, NDArray[np.float32]]:
    """``parameters`` moved by ``delta``, shapes kept (numpy would turn a sum of scalars into no array)."""
    return {path: np.asarray(value + delta[path], dtype=np.float32) for path, value in parameters.items()}


def norm(delta: Parameters) -> float:
    """The Euclidean norm of all parameters together, summed in float64; NaN or infinite where one of them is."""
    return float(np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in delta.values())))


def digest(arrays: Parameters) -> str:
    """SHA-256 over sorted names, shapes and little-endian float32 bytes, as 64 hexadecimal digits."""
    result = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], dtype="<f4", order="C")
        head = json.dumps([name, list(array.shape)]).encode()
        result.update(len(head).to_bytes(4, "big") + head)
        result.update(array.tobytes())
    return result.hexdigest()


def _statement(kind: str, *parts: object) -> bytes:
    return f"phenofed {kind} 1\0{json.dumps(parts, sort_keys=True)}".encode()


def _pack(arrays: Parameters, note: Mapping[str, Any]) -> RecordDict:
    from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

    # NaN is written on purpose: a silo's broken loss must reach the gate that names it.
    text = json.dumps({"protocol": PROTOCOL, **note}, sort_keys=True)
    record = ArrayRecord({name: Array(np.asarray(arrays[name], "<f4", order="C")) for name in sorted(arrays)})
    return RecordDict({"arrays": record, "note": ConfigRecord({"json": text})})


def _unpack(record: RecordDict) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    try:
        if set(record) != {"arrays", "note"} or set(record.config_records["note"]) != {"json"}:
            raise ValueError("more than arrays and a note")
        text = record.config_records["note"]["json"]
        if not isinstance(text, str) or len(text) > MAX_NOTE_BYTES:
            raise ValueError("no short text")
        note = json.loads(text)
        arrays = {name: array.numpy() for name, array in record.array_records["arrays"].items()}
    except (KeyError, ValueError, TypeError, RecursionError, OSError, EOFError) as error:
        raise TrainingError("a message does not have the agreed form", remedy="use the same version") from error
    if not isinstance(note, dict) or note.get("protocol") != PROTOCOL:
        found = note.get("protocol") if isinstance(note, dict) else None
        raise TrainingError(
            f"a message of protocol {found!r} met software of protocol {PROTOCOL}",
            remedy="install the same phenofed release on both sides",
        )
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise TrainingError(f"parameter '{name}' is {array.dtype}, not float32", remedy="use the same version")
    return arrays, note


def _name(note: Mapping[str, Any], key: str) -> str:
    value = note.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def _text(note: Mapping[str, Any], key: str) -> str:
    value = note.get(key, "")
    if not isinstance(value, str) or len(value) > 128 or (value and not value.isalnum()):
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def _count(note: Mapping[str, Any], key: str) -> int:
    value = note.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def _section(note: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = note.get(key)
    if not isinstance(value, dict):
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value
