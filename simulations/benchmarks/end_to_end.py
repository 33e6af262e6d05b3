"""How long a clinician waits: from an embedding in clear to ranked scores over four hospitals.

Five processes and what they start: a relay, and four hospitals that reach each other through it over mutual TLS on
loopback. Everything of a real query is in it but the photo's way to an embedding, and the distance between
hospitals.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.workspace.joining import examine, install
from client.workspace.key_file import SiloKeys, write_keys
from client.workspace.workspace import About, create_workspace
from common.consortium.certificates import key_from_pem
from common.consortium.key_file import Secret, new_key_file
from common.consortium.kit import read_kit
from common.consortium.request import read_request, write_request
from common.consortium.syndromes import Entry, Registry
from common.errors import RunError
from deploy import membership
from deploy.folder import ConsortiumFolder

DIMENSION, SYNDROMES, HOSPITALS, PATIENTS = 512, 300, 4, 2
WARM = 3
_ROOT = Path(__file__).resolve().parents[2]


def measure_end_to_end(
    times: int = 20, *, dimension: int = DIMENSION, syndromes: int = SYNDROMES, hospitals: int = HOSPITALS
) -> list[float]:
    """Seconds on the clock of each query, after some that warm up; profile ``standard``, one patient a query.

    Raises:
        RunError: a hospital or the relay ended, or answered less than a whole list.
    """
    # Its last word, that it was interrupted, is nobody's concern here.
    relay_up = ("-c", "from common.cli import main; main()", "coordinator", "up")
    with (
        tempfile.TemporaryDirectory(prefix="phenofed-bench-") as name,
        _consortium(Path(name), hospitals, syndromes) as (relay, workspaces),
        _process(*relay_up, str(relay), quiet=True),
    ):
        return _measured(workspaces, dimension, times)


def _measured(workspaces: list[Path], dimension: int, times: int) -> list[float]:
    module = "simulations.benchmarks.silo_process"
    with _all([("-m", module, str(folder), str(dimension), str(PATIENTS)) for folder in workspaces]) as silos:
        _ask(silos[0], do="open")
        _ask(silos[0], do="rank", times=WARM)
        seconds: list[float] = _ask(silos[0], do="rank", times=times)
        return seconds


def median_ms(seconds: list[float]) -> float:
    """What ``end_to_end_ms`` is."""
    return 1000 * statistics.median(seconds)


@contextmanager
def _consortium(folder: Path, hospitals: int, syndromes: int) -> Iterator[tuple[Path, list[Path]]]:
    """(the relay's folder, the workspace of each hospital) of a consortium made for this."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    secret = new_key_file(folder / "bench.key")
    policy = (Path(membership.__file__).parent / "policy.yaml").read_text()
    operator = membership.found(
        folder / "operator",
        name="bench",
        relay=f"127.0.0.1:{port}",
        secret=secret,
        key_file=folder / "bench.key",
        policy=policy,
    )
    keys = operator.keys(secret)
    entries = tuple(
        Entry(key=f"MONDO:{number:07d}", name=f"syndrome {number}", lineage=f"MONDO:{number:07d}")
        for number in range(syndromes)
    )
    operator.publish_registry(Registry("bench", entries), keys)
    workspaces = [_joining(folder, f"hospital-{number}", secret, operator) for number in range(1, hospitals + 1)]
    for workspace in workspaces:
        _join(workspace, folder / "operator" / "kits" / "everybody.zip", secret)
    yield folder / "operator" / "relay", workspaces


def _joining(folder: Path, name: str, secret: Secret, operator: ConsortiumFolder) -> Path:
    keys = SiloKeys.generate(name)
    request = write_request(keys.member, key_from_pem(keys.tls_key), title="", contact=f"it@{name}.example")
    workspace = create_workspace(folder / name, About(name=name, key_file=folder / "bench.key"), secret)
    write_keys(workspace.folder / "private.key", keys, secret)
    (workspace.folder / "request.json").write_bytes(request)
    kit = membership.add(operator, read_request(request), request, operator.keys(secret))
    _join(workspace.folder, kit, secret)
    return workspace.folder


def _join(folder: Path, kit: Path, secret: Secret) -> None:
    from client.workspace.workspace import Workspace

    workspace = Workspace(folder, secret)
    request = read_request((folder / "request.json").read_bytes())
    install(examine(read_kit(kit.read_bytes()), workspace, request), workspace)


@contextmanager
def _process(*arguments: str, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        env={**os.environ, **single, "PYTHONPATH": str(_ROOT)},
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def _all(commands: list[tuple[str, ...]]) -> Iterator[list[subprocess.Popen[str]]]:
    if not commands:
        yield []
        return
    with _process(*commands[0]) as first, _all(commands[1:]) as rest:
        yield [first, *rest]


def _ask(process: subprocess.Popen[str], **request: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(json.dumps(request), file=process.stdin, flush=True)
        answer = json.loads(process.stdout.readline() or "null")
    except (BrokenPipeError, ValueError):
        answer = None
    if answer is None:
        raise RunError("a hospital of the benchmark gave no whole answer", remedy="see what it wrote above")
    return answer
