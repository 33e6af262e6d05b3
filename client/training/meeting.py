"""Versions between a coordinator and the agent, whatever releases carry the messages between them."""

from __future__ import annotations

from common.errors import TrainingError
from common.records import Question, TrainRequest
from common.versions import OWN, Hello, agree


def meet(question: Question, silo: str, *, own: Hello = OWN) -> int:
    """The version of the training protocol for a run; a coordinator that says no hello is of before versions.

    Raises:
        VersionError: no version in common, or a hello that cannot be read.
    """
    theirs = Hello.from_text(str(question.hello))
    return agree(own, theirs, ["training"], we=silo, they="the coordinator")["training"]


def check_protocol(request: TrainRequest, silo: str, *, own: Hello = OWN) -> None:
    """Check that a round is asked for in a version that this silo speaks.

    Raises:
        TrainingError: it is not.
    """
    oldest, newest = own.speaks["training"]
    if type(request.protocol) is not int or not oldest <= request.protocol <= newest:
        raise TrainingError(
            f"{silo} speaks training {oldest}-{newest}, and is asked in {str(request.protocol)[:20]}",
            remedy="describe the silo anew",
        )
