"""What the relay brought, as lines of the audit log and of the log: once for each document."""

from __future__ import annotations

import logging

from client.audit.entry import RELAY
from client.audit.log import AuditLog
from client.newest.judging import Followed
from common.consortium.words import fingerprint_words, key_fingerprint

LOG = logging.getLogger("phenofed.following")


class FollowingNote:
    """Notes offers; what was refused before is not noted again."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._known: set[tuple[str, str]] = set()

    def __call__(self, followed: Followed) -> None:
        """Write down what came of an offer."""
        for item in followed.taken:
            self._log.record("document.taken", RELAY, topic=item.name, digest=item.digest, version=item.number)
            LOG.info("took a newer %s from the relay (%s)", item.name, item.number or item.digest[:12])
        for event, names in (("member.listed", followed.appeared), ("member.unlisted", followed.left)):
            for name in names:
                self._log.record(event, RELAY, member=name)
                LOG.info("%s %s", name, "is new on the roster" if event == "member.listed" else "is revoked")
        if followed.key is not None:
            fingerprint = key_fingerprint(followed.key)
            words = fingerprint_words(fingerprint)
            self._log.record("offline-key.taken", RELAY, key=fingerprint.hex(), words=words.replace(" ", "-"))
            LOG.warning("the consortium has a new offline key, named by the one before: %s", words)
        for refusal in followed.refused:
            if (refusal.name, refusal.digest) not in self._known:
                self._known.add((refusal.name, refusal.digest))
                self._log.record(
                    "document.refused",
                    RELAY,
                    outcome="refused",
                    reason=refusal.why,
                    topic=refusal.name,
                    digest=refusal.digest,
                )
                LOG.error("%s from the relay was refused, nothing was changed: %s", refusal.name, refusal.error)
