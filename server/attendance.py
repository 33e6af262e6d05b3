"""Who takes part in a run: over which node, in which version of the protocol; and why the others do not.

A silo whose release has no version in common with the coordinator's is left out, is asked again, and takes part
once it was updated: the newer side waits, and says so.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable

from common.errors import TrainingError, VersionError
from common.federation import Coordination
from common.records import Question, Refusal, SiloDescription
from common.versions import Hello, agree
from server import round_log
from server.aggregation.gate import signed_by
from server.aggregation.reasons import OTHER_RELEASE, REVOKED

AGAIN_SECONDS = 5.0
"""When a node is asked again whose agent failed, or runs a release that does not fit."""


class Attendance:
    """Of one run, as long as its rounds are led.

    Attributes:
        nodes: by silo, of those that take part.
        protocols: by silo, the version of the training protocol.
    """

    def __init__(self, run: Coordination) -> None:
        self._run = run
        self.nodes: dict[str, int] = {}
        self.protocols: dict[str, int] = {}
        self._revoked: dict[str, tuple[int, int] | None] = {}
        self._refused: dict[str, str] = {}
        self._outdated: dict[str, str] = {}
        self._began = False
        self._ask_again: dict[int, float] = {}
        self._questions: dict[int, Question] = {}

    @property
    def least(self) -> int:
        """Silos without which the run does not begin."""
        return max(2, self._run.quorum, self._run.least)

    @property
    def awaited(self) -> bool:
        """Whether somebody may still come who is needed, or has said nothing yet."""
        told = {*self.nodes, *self._refused, *self._outdated, *self._revoked}
        return len(told) < len(self._run.silos) or (bool(self._outdated) and len(self.nodes) < self.least)

    def look_at_roster(self) -> None:
        """From now on, leave out whom the roster lists no more with the card that approved, until it returns."""
        if self._run.members is None:
            return
        listed = self._run.members()
        for silo in self._run.silos:
            if listed.get(silo) == self._run.cards.get(silo):
                place = self._revoked.pop(silo, None)
                if place is not None:
                    self.nodes[silo], self.protocols[silo] = place
            elif silo not in self._revoked:
                node = self.nodes.pop(silo, None)
                self._revoked[silo] = None if node is None else (node, self.protocols.pop(silo))
                round_log.revoked(self._run.run, silo)

    def due(self, connected: Iterable[int]) -> list[int]:
        """The nodes to be asked now; each is asked once unless ``hear`` has it asked again."""
        now = time.monotonic()
        nodes = [node for node in sorted(connected) if self._ask_again.get(node, now) <= now]
        self._ask_again.update(dict.fromkeys(nodes, math.inf))
        return nodes

    def question(self, node: int) -> Question:
        """What the node is asked: no other answer fits."""
        run, nonce = self._run, secrets.token_hex(16)
        self._questions[node] = Question(run.run, run.digest, nonce, str(node), run.hello.text)
        return self._questions[node]

    def hear(self, node: int, answer: SiloDescription | Refusal | None) -> None:
        """Take what a node answered, None for nothing; strangers and what no silo signed are passed over.

        Raises:
            TrainingError: two nodes claim one name before the run begins; later the first one keeps it.
        """
        if answer is None:
            self._ask_again[node] = time.monotonic() + AGAIN_SECONDS
        if answer is None or answer.silo not in self._run.silos or not self._is_signed(node, answer):
            return
        silo = answer.silo
        if silo in self._revoked:
            return
        try:
            if isinstance(answer, Refusal) and not answer.hello:
                self._refused[silo] = answer.reason
                return
            theirs, own = Hello.from_text(answer.hello), self._run.hello
            protocol = agree(own, theirs, ["training"], we="the coordinator", they=silo)["training"]
        except VersionError as error:
            self._ask_again[node] = time.monotonic() + AGAIN_SECONDS
            self._leave_out(silo, str(error))
            return
        if isinstance(answer, Refusal):
            self._refused[silo] = answer.reason
        elif silo in self.nodes:
            if self._began:
                return
            raise TrainingError(f"two nodes say that they are '{silo}'", remedy="stop one of them")
        else:
            self.nodes[silo], self.protocols[silo] = node, protocol
            self._outdated.pop(silo, None)

    def why_absent(self, silo: str) -> str:
        """Why a silo gets no message in a round."""
        return REVOKED if silo in self._revoked else self._outdated.get(silo, "not connected")

    def begin(self) -> None:
        """Begin the run, if enough silos take part.

        Raises:
            TrainingError: too few do; says why of each other one.
        """
        self._began = len(self.nodes) >= self.least
        if self._began:
            return
        missing = sorted(silo for silo in self._run.silos if silo not in self.nodes)
        reasons = "; ".join(f"{silo}: {self._why_not(silo)}" for silo in missing)
        raise TrainingError(
            f"{len(self.nodes)} of {len(self._run.silos)} silos take part, and the run asks for {self.least} "
            f"({reasons})",
            remedy="start or update the missing silos, or make a plan that asks for fewer (never below two)",
        )

    def _why_not(self, silo: str) -> str:
        return REVOKED if silo in self._revoked else self._outdated.get(silo, self._refused.get(silo, "no answer"))

    def _is_signed(self, node: int, answer: SiloDescription | Refusal) -> bool:
        card = self._run.cards.get(answer.silo)
        # A refusal is not signed: it can only keep its own node out.
        if card is None or isinstance(answer, Refusal):
            return True
        return signed_by(card, answer.signature, answer.statement(self._questions[node]))

    def _leave_out(self, silo: str, why: str) -> None:
        if silo not in self.nodes and self._outdated.get(silo) != f"{OTHER_RELEASE}{why}":
            self._outdated[silo] = f"{OTHER_RELEASE}{why}"
            round_log.outdated(self._run.run, silo, why)
