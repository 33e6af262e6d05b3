"""The process that alone handles homomorphic ciphertexts: whether it starts, and how well it is confined."""

from __future__ import annotations

from collections.abc import Iterator

from client.preflight.finding import Finding, ok, warning
from client.preflight.site import Site
from common.encryption.worker import Worker


def worker(site: Site) -> Iterator[Finding]:
    """Start one and end it.

    Raises:
        EncryptionError: it does not start.
    """
    with Worker("silo") as process:
        process.start()
        if process.unconfined:
            yield warning(
                f"the encryption worker starts, but this machine cannot confine it with "
                f"{' and '.join(process.unconfined)}",
                remedy="use a kernel of Linux 5.13 or newer with Landlock and seccomp (see lsm= at boot)",
            )
        else:
            yield ok("the encryption worker starts and is confined (seccomp, Landlock)")
