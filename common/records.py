"""Every key and schema that crosses between coordinator and silo, versioned.

A Flower ``RecordDict`` carries arrays and one JSON text; these classes are the only ones that read or write it.
Bytes from the other side are hostile: whatever does not fit raises ``TrainingError`` and nothing else.

``Question``, ``SiloDescription`` and ``Refusal`` are the handshake, which every release reads; they carry hellos.
``TrainRequest`` and ``Update`` are of the protocol that both sides agree on. Version 2 of it added hellos and
software; version 1's messages are what they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common import record_fields as fields
from common.errors import TrainingError
from common.versions import OWN, SOFTWARE, Range

if TYPE_CHECKING:
    from flwr.app import RecordDict

HANDSHAKE = 1  # the version of its form, which stays
MAX_NOTE_BYTES = 1 << 20

Parameters = Mapping[str, NDArray[np.float32]]
"""Shared parameters by path, float32."""


@dataclass(frozen=True)
class Question:
    """Asks whoever serves a node which silo it is, and whether it takes part.

    ``plan``: digest of the signed plan, empty in simulations. ``nonce`` and ``node`` make each question another,
    so that no answer fits twice. ``hello``: the coordinator's; empty for one of before versions.
    """

    run: str
    plan: str = ""
    nonce: str = ""
    node: str = ""
    hello: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """As JSON values, on every way to the silo."""
        return _without_empty(vars(self), "hello")

    def to_record(self) -> RecordDict:
        return _pack({}, self.values)

    @classmethod
    def from_record(cls, record: RecordDict) -> Question:
        _, note = _unpack(record)
        plan, nonce, node = (fields.text(note, key) for key in ("plan", "nonce", "node"))
        return cls(fields.name(note, "run"), plan, nonce, node, fields.hello(note))


@dataclass(frozen=True)
class SiloDescription:
    """What a silo tells the coordinator before a run: its name and the size of its training data.

    ``signature``: (128 hexadecimal digits) the silo's Ed25519 signature over ``statement``; empty in simulations.
    ``hello``: the silo's; empty for one of before versions, and for a question of such a coordinator.
    """

    silo: str
    patients: int
    photos: int
    syndromes: int
    signature: str = ""
    hello: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """As JSON values, on every way to the coordinator."""
        return _without_empty(vars(self), "hello")

    def statement(self, question: Question) -> bytes:
        """What the silo signs: the question and its answer, with both hellos where both have one."""
        asked = question if self.hello else replace(question, hello="")
        return _statement("description", 2 if self.hello else 1, asked.values, {**self.values, "signature": ""})

    def to_record(self) -> RecordDict:
        return _pack({}, self.values)

    @classmethod
    def from_record(cls, record: RecordDict) -> SiloDescription | Refusal:
        """The description, or the refusal that the silo sent in its place."""
        _, note = _unpack(record)
        if "refused" in note:
            return _refusal(note)
        patients, photos, syndromes = (fields.count(note, key) for key in ("patients", "photos", "syndromes"))
        return cls(
            fields.name(note, "silo"),
            patients,
            photos,
            syndromes,
            fields.text(note, "signature"),
            fields.hello(note),
        )


@dataclass(frozen=True)
class TrainRequest:
    """One round's work: the shared parameters and how to train them.

    ``model`` and ``plan`` are the JSON forms of ``ModelSpec`` and ``TrainingPlan``; the silo parses them anew.
    ``digest``: of the signed plan; empty in simulations. ``protocol``: of training, as agreed with this silo;
    ``software``: the coordinator's, from version 2 on.
    """

    run: str
    round: int
    seed: int
    model: Mapping[str, Any]
    plan: Mapping[str, Any]
    parameters: Parameters = field(repr=False)
    digest: str = ""
    protocol: int = 1
    software: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """All but the parameters as JSON values, on every way to the silo."""
        return _of_protocol(self, "parameters")

    def to_record(self) -> RecordDict:
        return _pack(self.parameters, self.values)

    @classmethod
    def from_record(cls, record: RecordDict) -> TrainRequest:
        arrays, note = _unpack(record, spoken=OWN.speaks["training"])
        return cls(
            run=fields.name(note, "run"),
            round=fields.count(note, "round"),
            seed=fields.count(note, "seed"),
            model=fields.section(note, "model"),
            plan=fields.section(note, "plan"),
            parameters=arrays,
            digest=fields.text(note, "digest"),
            **fields.versions(note),
        )


@dataclass(frozen=True)
class Update:
    """What leaves a silo after training: delta = local - received, and the counts that weigh it.

    ``delta``: float32 by parameter path. ``patients``, ``photos``: how many were trained on. ``loss``: mean
    training loss of the round. ``signature``: (128 hexadecimal digits) the silo's Ed25519 signature over
    ``statement``; empty in simulations. ``protocol``: the request's; ``software``: the silo's, from version 2 on.
    """

    run: str
    round: int
    silo: str
    delta: Parameters = field(repr=False)
    patients: int
    photos: int
    loss: float
    signature: str = ""
    protocol: int = 1
    software: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """All but the delta as JSON values, on every way to the coordinator."""
        return _of_protocol(self, "delta")

    @property
    def statement(self) -> bytes:
        """What the silo signs: run, round, its name, versions, and the SHA-256 of the delta with its counts."""
        note = {key: value for key, value in self.values.items() if key != "signature"}
        return _statement("update", self.protocol, note, digest(self.delta))

    def to_record(self) -> RecordDict:
        return _pack(self.delta, self.values | {"digest": digest(self.delta)})

    @classmethod
    def from_record(cls, record: RecordDict) -> Update | Refusal:
        """The update, or the refusal that the silo sent in its place."""
        arrays, note = _unpack(record, spoken=OWN.speaks["training"])
        if "refused" in note:
            return _refusal(note)
        if note.get("digest") != digest(arrays):
            raise TrainingError("the update's digest does not fit its arrays", remedy="send it again")
        loss = note.get("loss")
        if not isinstance(loss, int | float):
            raise TrainingError("the update states no loss", remedy="use the same software version")
        return cls(
            run=fields.name(note, "run"),
            round=fields.count(note, "round"),
            silo=fields.name(note, "silo"),
            delta=arrays,
            patients=fields.count(note, "patients"),
            photos=fields.count(note, "photos"),
            loss=float(loss),
            signature=fields.text(note, "signature"),
            **fields.versions(note),
        )


@dataclass(frozen=True)
class Refusal:
    """A silo's reason for sending no update. It names no patient. ``hello``: as in ``SiloDescription``."""

    silo: str
    reason: str
    hello: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """As JSON values, on every way to the coordinator."""
        return _without_empty({"silo": self.silo, "refused": self.reason, "hello": self.hello}, "hello")

    def to_record(self) -> RecordDict:
        return _pack({}, self.values)


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


def _statement(kind: str, version: int, *parts: object) -> bytes:
    return f"phenofed {kind} {version}\0{json.dumps(parts, sort_keys=True)}".encode()


def _without_empty(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key or value}


def _of_protocol(message: TrainRequest | Update, arrays: str) -> dict[str, Any]:
    """All values but the arrays; version 1 knows neither protocol nor software."""
    unknown = {arrays} if message.protocol > 1 else {arrays, "protocol", "software"}
    return {key: value for key, value in vars(message).items() if key not in unknown}


def _pack(arrays: Parameters, note: Mapping[str, Any]) -> RecordDict:
    from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

    # NaN is written on purpose: a silo's broken loss must reach the gate that names it.
    text = json.dumps({"protocol": HANDSHAKE, **note}, sort_keys=True)
    record = ArrayRecord({name: Array(np.asarray(arrays[name], "<f4", order="C")) for name in sorted(arrays)})
    return RecordDict({"arrays": record, "note": ConfigRecord({"json": text})})


def _unpack(
    record: RecordDict, *, spoken: Range = (HANDSHAKE, HANDSHAKE)
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
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
    found = note.get("protocol") if isinstance(note, dict) else None
    if type(found) is not int or not spoken[0] <= found <= spoken[1]:
        raise TrainingError(
            f"a message of training protocol {str(found)[:20]} met phenofed {SOFTWARE}, which reads {spoken}",
            remedy="update whichever side is older",
        )
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise TrainingError(f"parameter '{name}' is {array.dtype}, not float32", remedy="use the same version")
    return arrays, note


def _refusal(note: Mapping[str, Any]) -> Refusal:
    return Refusal(fields.name(note, "silo"), str(note["refused"])[:500], fields.hello(note))
