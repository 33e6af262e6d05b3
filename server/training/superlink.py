"""Flower's SuperLink for one run, as a process: TLS, node authentication, and only the nodes that silos approved.

It begins anew at each start, knowing those nodes and nothing else, and ends with the run: what lasts is the run's
checkpoint. The app that it hands to nodes holds no code; they run what they have installed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.children import child, clean_environment, end_former, tool
from common.consortium import certificates
from common.consortium.fields import split_address
from common.errors import FlowerError, TrainingError
from common.storage import write_bytes, write_text
from server.training.led_run import LedRun

START_SECONDS, COMMAND_SECONDS = 60.0, 60.0
_CONNECTION, _PROGRAM = "run", "server.training.flower_superlink"

_APP = """\
[project]
name = "phenofed-run"
version = "1.0.0"
description = "Names the apps that phenofed has installed on both sides; holds no code."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "phenofed"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
provider = "consortium"
folder = ""
"""


class SuperLink:
    """One that runs, as ``superlink`` starts it."""

    def __init__(self, run: LedRun, process: subprocess.Popen[bytes]) -> None:
        self._run, self._process = run, process

    def start_run(self) -> str:
        """Start the ServerApp; gives Flower's number of the run."""
        settings = f"folder={json.dumps(str(self._run.path.resolve()))}"
        return str(self._flwr("run", "app", _CONNECTION, "--run-config", settings)["run-id"])

    @property
    def runs(self) -> bool:
        """Whether its process goes on."""
        return self._process.poll() is None

    def status(self, number: str) -> tuple[str, str]:
        """(Flower's status of a run such as 'running' or 'finished:failed', its reason).

        Raises:
            FlowerError: the SuperLink ended.
        """
        (found,) = self._flwr("list", _CONNECTION, "--run-id", number)["runs"]
        return str(found["status"]), str(found.get("status-details") or "")

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        """What ``flwr`` answers to a command.

        Raises:
            FlowerError: the SuperLink ended, or does not answer.
            TrainingError: it refused.
        """
        log = self._run.path / "flower" / "superlink.log"
        if self._process.poll() is not None:
            raise FlowerError(
                f"the SuperLink ended (exit code {self._process.returncode})",
                remedy=f"read {log}, then phenofed coordinator resume",
            )
        try:
            done = subprocess.run(
                [tool("flwr"), *arguments, "--format", "json"],
                env=_environment(self._run),
                cwd=self._run.path / "flower",
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
            answer = dict(json.loads(done.stdout))
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise FlowerError(f"the SuperLink does not answer 'flwr {arguments[0]}'", remedy="resume") from error
        if not answer.get("success"):
            raise TrainingError(
                f"the SuperLink refused 'flwr {arguments[0]}' ({str(answer.get('error-message'))[:200]})",
                remedy=f"read {log}",
            )
        return answer


def end_left(path: Path) -> None:
    """End what a killed coordinator left behind in a run's folder: SuperLink and ServerApp."""
    end_former(path / "flower" / "superlink.pid", _PROGRAM)


@contextmanager
def superlink(run: LedRun, listen: str, *, nodes: Mapping[str, str]) -> Iterator[SuperLink]:
    """A SuperLink at ``listen`` (HOST:PORT) for the run, ended with everything that it started.

    Args:
        nodes: public keys of the nodes that it admits, by silo.

    Raises:
        FlowerError: the port is taken, or it does not start.
    """
    folder = run.path / "flower"
    host, port = split_address(listen)
    certificate, key, authority = _tls(run, host)
    write_text(folder / "app" / "pyproject.toml", _APP)
    write_text(
        folder / "config.toml",
        f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
        f'address = "{listen}"\nroot-certificates = {json.dumps(str(authority.resolve()))}\n',
    )
    write_text(folder / "nodes.json", json.dumps(dict(sorted(nodes.items())), indent=1) + "\n")
    command = [
        *(sys.executable, "-P", "-m", _PROGRAM, "nodes.json"),
        *("--ssl-certfile", str(certificate.resolve())),
        *("--ssl-keyfile", str(key.resolve())),
        *("--ssl-ca-certfile", str(authority.resolve())),
        "--enable-supernode-auth",
        *("--host", host, "--port", str(port)),
        "--disable-runtime-dependency-installation",
    ]
    with child(
        command, folder=folder, name="superlink", environment=_environment(run), program=_PROGRAM
    ) as process:
        _wait_until_it_listens(process, host, port, folder / "superlink.log")
        yield SuperLink(run, process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise FlowerError(f"the SuperLink does not start at {host}:{port}", remedy=f"read {log}; is the port free?")


def _tls(run: LedRun, host: str) -> tuple[Path, Path, Path]:
    """Certificate, key and authority for ``host``.

    The relay's own where it is for that host. Else what nodes reach is a proxy with the relay's certificate, and
    behind it, on this machine, one of a root that lives as long as the run's folder.
    """
    if host == split_address(run.roster.relay)[0]:
        return run.relay.certificate, run.relay.key, run.relay.ca
    folder = run.path / "flower"
    certificate, key, authority = (folder / name for name in ("certificate.pem", "key.pem", "ca.pem"))
    root_key, own = certificates.new_key(), certificates.new_key()
    root = certificates.root_certificate(root_key, run.plan.consortium)
    write_bytes(authority, root)
    write_bytes(certificate, certificates.relay_certificate(own.public_key(), host, root, root_key))
    write_bytes(key, certificates.key_to_pem(own), private=True)
    return certificate, key, authority


def _environment(run: LedRun) -> dict[str, str]:
    return clean_environment((run.path / "flower").resolve())
