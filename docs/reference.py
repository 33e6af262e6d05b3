"""The table of scenario keys in docs/scenarios.md, made from the settings classes themselves.

    python docs/reference.py        writes it anew between its two markers

Types, bounds and defaults come from the classes; what a key means is said here. A key without a meaning, or a
meaning without a key, is an error, and a test holds the document to this file.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from pydantic.fields import FieldInfo

from common.config import Settings

DOCUMENT = Path(__file__).parent / "scenarios.md"
BEGIN, END = "<!-- keys: made by docs/reference.py -->", "<!-- end of keys -->"

SECTIONS = {
    "": "Top level",
    "cohort": "cohort",
    "cohort.spec": "cohort.spec, with `kind: synthetic`",
    "backbone": "backbone",
    "training": "training",
    "training.episodes": "training.episodes",
    "training.augmentation": "training.augmentation",
    "federation": "federation",
    "ranking": "ranking",
    "encryption": "encryption",
}

MEANING = {
    "name": "Name of the run, and of its folder under `runs/`. Letters, digits, `-` and `_`.",
    "seed": "Decides everything that is drawn: patients, silos, episodes, order. Same seed, same model.",
    "cohort": "Where the patients come from; see below.",
    "backbone": "The face-recognition network; see below.",
    "training": "How the silos train; see below.",
    "federation": "How the rounds run; see below.",
    "modes": "What is compared. `pretrained` must be among them, and none may stand twice.",
    "ranking": "How probes are ranked; see below.",
    "encryption": "The encrypted ranking; see below.",
    "device": "Where networks run: `auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes a GPU if torch sees one.",
    "threads": "Threads of torch. Not set: torch's own choice. The same number is needed for the same bits.",
    "show_imported_photos": "Let the report show photographs of patients whose consent covers `display`.",
    "cohort.kind": "`synthetic` renders faces, `gmdb` reads photographs, `stored` reads an imported cohort.",
    "cohort.spec": "The shape of a synthetic cohort; see below.",
    "cohort.path": "`gmdb`: the folder with `gmdb_metadata`. `stored`: what `phenofed cohort import` wrote.",
    "cohort.version": "`gmdb`: label of the files, such as v1.1.0, where a folder has several.",
    "cohort.partition": "`gmdb`: split files to read: uniform, disjoint, site, or their literal prefix.",
    "cohort.silos": "`gmdb`: number of silos of the partition.",
    "cohort.detector": "`gmdb`: YuNet file (ONNX) for photos that come without landmarks.",
    "cohort.detector_sha256": "`gmdb`: the hash that the detector must have; required with it.",
    "cohort.spec.syndromes": "How many of the syndromes that the renderer knows.",
    "cohort.spec.rare_share": "Share of syndromes with two to six patients. The others have seven or more.",
    "cohort.spec.patients": "Patients of the whole cohort; an error says how many are needed at least.",
    "cohort.spec.tail": "Exponent of the power law of the frequent syndromes' sizes; 0 makes them alike.",
    "cohort.spec.photos_per_patient": "Mean number of photos; each patient has one to five.",
    "cohort.spec.silos": "Number of hospitals.",
    "cohort.spec.case_mix": (
        "`uniform` deals every syndrome evenly, `site` unequally, `disjoint` gives each to one silo."
    ),
    "cohort.spec.skew": "How unequal `site` is.",
    "cohort.spec.severity": "1 moves traits as the table of HPO terms says; less is milder.",
    "cohort.spec.penetrance": "1 shows terms as often as annotated, 0 never.",
    "cohort.spec.identity_spread": "How much people differ without any syndrome; 1 is the population's spread.",
    "cohort.spec.camera_spread": "How much the hospitals' cameras differ.",
    "cohort.spec.test_share": "Share of a frequent syndrome's patients kept for testing.",
    "cohort.spec.val_share": "Share kept for validation.",
    "backbone.architecture": "Which network.",
    "backbone.path": "The weights; `builtin:NAME` is a file that phenofed ships. Not set: random (not onnx).",
    "backbone.sha256": "The file's hash. Required unless a manifest of ours lies beside the file.",
    "backbone.normalisation": "`arcface`, `imagenet`, or `mean`, `std` (of x/255), `channels`. Required likewise.",
    "backbone.embedding_dim": "Length of the embedding. Default: the architecture's own, for onnx the file's.",
    "training.rounds": "Rounds of training; the other modes train as many.",
    "training.epochs": "Passes over a silo's patients in a round, one photo of each patient a pass.",
    "training.warmup_rounds": "Rounds with the local classifier before episodes begin.",
    "training.trainable_fraction": "The last part of the backbone's depth that learns; 0 trains the head alone.",
    "training.batch_size": "Photos a step of the warm-up.",
    "training.optimiser": "The optimiser of every silo; its state lasts one round.",
    "training.learning_rate": "Of the backbone.",
    "training.head_learning_rate": "Of projection and temperature.",
    "training.classifier_learning_rate": "Of the classifier rows, which never leave the silo.",
    "training.schedule": "How learning rates change over the rounds.",
    "training.weight_decay": "Decay of every learning parameter.",
    "training.gradient_norm": "Largest norm of a step's gradient.",
    "training.label_smoothing": "Of the classifier's targets.",
    "training.classifier_weight": "Weight of the classifier's loss beside the episodes'.",
    "training.proximal": "FedProx's mu; 0 is federated averaging.",
    "training.anchor": "Weight of 1 - cosine to the embedding before training; 0 lets embeddings go anywhere.",
    "training.temperature": "Where the learnable temperature starts.",
    "training.cached_views": "Views of a photo kept behind the frozen part; 0 augments every step anew.",
    "training.cache_megabytes": "Memory for those views, a silo.",
    "training.episodes": "Size of an episode; see below.",
    "training.augmentation": "Random changes to training crops; see below.",
    "training.episodes.ways": "Syndromes of an episode; a silo with fewer draws smaller ones.",
    "training.episodes.shots": "Patients a syndrome that make its prototype.",
    "training.episodes.queries": "Patients a syndrome that are asked.",
    "training.augmentation.flip": "Chance of the mirror image.",
    "training.augmentation.grey": "Chance of grey.",
    "training.augmentation.shrink": "Chance of shrinking to 50..100 pixels and back.",
    "training.augmentation.jitter": "Brightness, contrast and saturation vary by 1 plus or minus this.",
    "federation.engine": "`inline` trains one silo after the other in this process; `ray` several at once.",
    "federation.deadline_s": "Seconds that a round waits for updates.",
    "federation.quorum": "Valid updates below which a round is discarded.",
    "federation.max_update_norm": "Largest Euclidean norm of an update; a larger one is refused.",
    "federation.patient_cap": "Largest weight of one silo in the mean.",
    "federation.ray_address": "`ray`: host:port of a Ray cluster that runs already, for several machines. All of "
    "them need phenofed and the run's folder under the same path; empty stays on this machine.",
    "federation.clients_at_once": "`ray`: silos that train at the same time.",
    "federation.gpus_per_client": "`ray`: share of a GPU for each silo, which then trains on it.",
    "ranking.views": "Test-time views of a photo: 1 as it is, 2 with its mirror image, 4 with both in grey too.",
    "ranking.probes": "Ask with one photo at a time, or with all photos of a patient together.",
    "ranking.ensemble": "Rank by the trained and the untouched network together.",
    "ranking.untouched_share": "what the untouched network counts in a cosine of the ensemble, 0 to 1",
    "ranking.scorer": "The scorer of the headline figures. Not set: the validation patients choose.",
    "encryption.enabled": "Rank under encryption too, where the federated mode is run.",
    "encryption.settings": "In which settings.",
    "encryption.splits": "At most so many rare splits of each setting; `null` for all.",
    "encryption.queries": "At most so many probes of a split; `null` for all.",
    "encryption.kernel": "`linear` compares with prototypes, `quadratic` with single patients.",
    "encryption.noise": "Whether silos add noise; off needs `profile: simulation`.",
    "encryption.profile": "Floors and noise as [deployed](privacy.md); `simulation` has no floors and no panels.",
}


def render() -> str:
    """The tables, one for each section.

    Raises:
        ValueError: a key has no meaning here, or a meaning no key.
    """
    from simulations.scenario import Scenario

    found = dict(_keys(Scenario, ""))
    if set(found) != set(MEANING):
        raise ValueError(f"keys and meanings differ: {sorted(set(found) ^ set(MEANING))}")
    lines: list[str] = []
    for section, title in SECTIONS.items():
        rows = [key for key in found if key.rpartition(".")[0] == section]
        lines += [f"### {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {found[key][0]} | {found[key][1]} | {MEANING[key]} |" for key in rows]
        lines.append("")
    return "\n".join(lines)


def filled(document: str) -> str:
    """``document`` with the tables between its markers."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


def _keys(kind: type[Settings], prefix: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """(dotted key, (type, default)) of a settings class and those inside it, each key once."""
    seen: set[str] = set()
    for name, field in kind.model_fields.items():
        key = f"{prefix}{name}"
        inner = _settings_in(field.annotation)
        yield key, (_section_type(inner) if inner else _type(field), _default(field, inner))
        for part in inner:
            for below, description in _keys(part, f"{key}."):
                if below not in seen:
                    seen.add(below)
                    yield below, _kind(inner) if below == f"{key}.kind" else description


def _settings_in(annotation: Any) -> list[type[Settings]]:
    """The section classes that a key may hold; a class that also has a short form counts as a plain value."""
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    classes = [option for option in options if isinstance(option, type) and issubclass(option, Settings)]
    return classes if len(classes) == len(options) else []


def _section_type(inner: list[type[Settings]]) -> str:
    return "section" if len(inner) == 1 else "section, by `kind`"


def _kind(inner: list[type[Settings]]) -> tuple[str, str]:
    names = [typing.get_args(part.model_fields["kind"].annotation)[0] for part in inner]
    return _choice(names), "required"


def _default(field: FieldInfo, inner: list[type[Settings]]) -> str:
    if field.is_required():
        return "required"
    if inner:
        return "its defaults"
    return _value(field.default)


def _value(value: Any) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def _type(field: FieldInfo) -> str:
    bounds = {
        name: getattr(item, name)
        for item in (*field.metadata, *_inner_metadata(field.annotation))
        for name in ("ge", "gt", "le", "lt")
        if getattr(item, name, None) is not None
    }
    return _plain(field.annotation) + _range(bounds)


def _inner_metadata(annotation: Any) -> Iterator[Any]:
    """Bounds inside ``Annotated[int, ...] | None``."""
    for option in typing.get_args(annotation):
        for item in getattr(option, "__metadata__", ()):
            yield from getattr(item, "metadata", None) or (item,)


def _range(bounds: dict[str, Any]) -> str:
    low = next(
        (f"{word} {bounds[name]}" for name, word in (("ge", "at least"), ("gt", "above")) if name in bounds), ""
    )
    high = next(
        (f"{word} {bounds[name]}" for name, word in (("le", "at most"), ("lt", "below")) if name in bounds), ""
    )
    return "".join(f", {part}" for part in (low, high) if part)


def _plain(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _plain(arguments[0])
    if _is_union(annotation):
        return _plain(next(option for option in arguments if option is not types.NoneType))
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple:
        return f"list of {_plain(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choice([item.value for item in annotation])
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "section or short name"
    names = {str: "text", Path: "path", int: "whole number", float: "number", bool: "true or false"}
    return names[annotation]


def _choice(options: typing.Iterable[Any]) -> str:
    return ", ".join(f"`{option}`" for option in options)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
    sys.stdout.write(f"wrote {DOCUMENT}\n")
