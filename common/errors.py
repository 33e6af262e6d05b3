"""Every error that a user can cause or meet.

    PhenofedError            1
    +- ConfigError           3   scenario, settings, command line values
    +- CohortError           4   a cohort that cannot be read or used
    +- PhotoError            5   one photo that is refused
    +- WeightsError          6   missing, altered or unreadable model weights
    +- TrainingError         7   a silo or a round that cannot go on
    |  +- FlowerError        14   Flower's part of a run, which ended by itself: resume goes on
    +- EncryptionError       8   keys, envelopes, ciphertexts
    +- RunError              9   a run folder that cannot be written, read or resumed
    +- DisclosureError      10   an answer that a policy forbids
    +- RelayError           11   the relay, or a hospital behind it, that cannot be reached
    +- AgentError           12   a silo's agent or workspace that is not ready
    +- VersionError         13   two sides, or a file and a program, of releases that do not fit together

The number is the exit code of the command line. A message says what happened and where (file, line
or key); ``remedy`` says what to do next. The command line prints both and never a traceback.
"""

from __future__ import annotations


class PhenofedError(Exception):
    """What happened, and what to do next.

    >>> str(PhenofedError("a.csv has no column 'label'", remedy="add the column"))
    "a.csv has no column 'label': add the column"
    """

    exit_code = 1

    def __init__(self, what: str, *, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}" if self.remedy else self.what

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between processes, remedy included."""
        return (_rebuild, (type(self), self.what, self.remedy))


def _rebuild(kind: type[PhenofedError], what: str, remedy: str) -> PhenofedError:
    return kind(what, remedy=remedy)


class ConfigError(PhenofedError):
    exit_code = 3


class CohortError(PhenofedError):
    exit_code = 4


class PhotoError(PhenofedError):
    exit_code = 5


class WeightsError(PhenofedError):
    exit_code = 6


class TrainingError(PhenofedError):
    exit_code = 7


class EncryptionError(PhenofedError):
    exit_code = 8


class RunError(PhenofedError):
    exit_code = 9


class DisclosureError(PhenofedError):
    exit_code = 10


class RelayError(PhenofedError):
    exit_code = 11


class AgentError(PhenofedError):
    exit_code = 12


class VersionError(PhenofedError):
    exit_code = 13


class FlowerError(TrainingError):
    exit_code = 14
