"""What the checks share: the workspace, and one try at reaching the relay whose result all of them judge."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping
from functools import cached_property

from cryptography import x509

from client.preflight.attempt import Attempt, attempt
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.cohort.store import StoredCohort, load
from common.consortium.certificates import read_certificate, read_certificates
from common.consortium.console import read_file
from common.consortium.fields import split_address
from common.consortium.roster import Roster

_CERTIFICATE = 1 << 20


def _now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.UTC)


class Site:
    """One hospital's machine, as far as the agent sees it.

    Args:
        seconds: for each step on the network.
        environ: where the environment's proxy is looked for.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        now: Callable[[], datetime.datetime] = _now,
        environ: Mapping[str, str] = os.environ,
        seconds: float = 5.0,
    ) -> None:
        self.workspace, self.now, self.environ, self.seconds = workspace, now, environ, seconds

    @cached_property
    def policy(self) -> SiloPolicy:
        """See ``Workspace.policy``."""
        return self.workspace.policy()

    @cached_property
    def roster(self) -> Roster:
        """See ``Workspace.roster``."""
        return self.workspace.roster()

    @cached_property
    def relay(self) -> tuple[str, int]:
        """Host and port."""
        return split_address(self.roster.relay)

    @cached_property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """The consortium's root certificates, newest first; one, save while the root is being changed."""
        return read_certificates(read_file(self.workspace.folder / "ca.pem", limit=_CERTIFICATE))

    @property
    def root(self) -> x509.Certificate:
        """The newest root certificate."""
        return self.roots[0]

    @cached_property
    def own_certificate(self) -> x509.Certificate:
        """The hospital's."""
        return read_certificate(read_file(self.workspace.folder / "certificate.pem", limit=_CERTIFICATE))

    @cached_property
    def attempt(self) -> Attempt:
        """One try at the relay."""
        host, port = self.relay
        proxy = self.policy.relay.proxy
        return attempt(host, port, split_address(proxy) if proxy else None, seconds=self.seconds)

    @cached_property
    def stored(self) -> StoredCohort | None:
        """The hospital's patients; None before the first import.

        Raises:
            CohortError: the files are damaged.
        """
        folder = self.workspace.cohort_folder
        return load(folder) if (folder / "manifest.json").is_file() else None
