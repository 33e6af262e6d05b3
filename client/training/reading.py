"""Reads what the Flower client forwards: each value of the type that it must have, weights that fit the model.

The client runs what the coordinator names. A round that is 1.0, or true, would be counted as another round than 1,
and weights of another shape would use up what may be asked of a round.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from client.local.door import Request
from common.errors import AgentError, WeightsError
from common.records import Parameters, Question, TrainRequest

_TYPES: dict[str, type] = {"str": str, "int": int, "Mapping[str, Any]": dict}
_MOST_LETTERS = 200


def question_of(request: Request) -> Question:
    """The question that a request holds.

    Raises:
        AgentError: it holds none.
    """
    _check(request.values, Question)
    return Question(**request.values)


def train_request_of(request: Request) -> TrainRequest:
    """The round that a request asks for.

    Raises:
        AgentError: it asks for none, or brings no arrays.
    """
    _check(request.values, TrainRequest)
    try:
        (content,) = request.attachments
        parameters = load(content)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise AgentError("the request has no arrays", remedy="run the same version on both sides") from error
    return TrainRequest(**request.values, parameters=parameters)


def check_fit(parameters: Parameters, wanted: Parameters) -> None:
    """Check that weights have the paths, shapes and type of the model's own.

    Raises:
        WeightsError: they have not.
    """
    wrong = sorted(parameters.keys() ^ wanted.keys())
    wrong += [path for path in wanted if path in parameters and not _alike(parameters[path], wanted[path])]
    if wrong:
        raise WeightsError(
            f"weights do not fit the model at {', '.join(path[:80] for path in wrong[:3])}",
            remedy="lead the run from the model that the plan names",
        )


def _alike(given: Any, wanted: Any) -> bool:
    return bool(given.shape == wanted.shape and given.dtype == np.float32)


def _check(values: dict[str, Any], kind: type[Question] | type[TrainRequest]) -> None:
    known = {field.name: _TYPES[str(field.type)] for field in fields(kind) if field.name != "parameters"}
    needed = {field.name for field in fields(kind) if field.default is MISSING} & known.keys()
    wrong = sorted(str(name)[:40] for name in (values.keys() - known.keys()) | (needed - values.keys()))
    wrong += [name for name, value in values.items() if name in known and not _fits(value, known[name])]
    if wrong:
        raise AgentError(
            f"the request has values that do not fit: {', '.join(wrong[:3])}",
            remedy="run the same version on both sides",
        )


def _fits(value: Any, kind: type[Any]) -> bool:
    # A bool is an int in Python, and 'type' tells them apart.
    return type(value) is kind and (kind is not str or (len(value) <= _MOST_LETTERS and value.isascii()))
