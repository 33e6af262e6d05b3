"""What deploy/ gives away holds what it promises: users apart, nothing writable, one port, nothing but code."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from client.relay.link import LinkLimits
from common.cli import INTERRUPTED
from common.errors import ConfigError, FlowerError, RunError, TrainingError, WeightsError
from common.releases.manifest import BARE_MANIFEST
from tests.nginx_process import CONFIGURATION, nginx, nginx_command
from tests.relay_consortium import PATIENT, RelayConsortium
from tests.tls_files import Authority

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HARDENED = [path for path in UNITS if "renew" not in path.name]
COMPOSE = sorted((DEPLOY / "containers").glob("*.compose.yaml"))
DOCKERFILES = sorted((DEPLOY / "containers").glob("*.Dockerfile"))
VERSION = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
PINNED = re.compile(
    rf"phenofed-\w+:{re.escape(VERSION)}|[\w./-]+:[\w.-]+@sha256:[0-9a-f]{{64}}|\$\{{\w+:\?[^}}]+\}}"
)
"""Our own images by their release, others by digest, or by a variable that has to be set: see containers/build."""

BUILD = DEPLOY / "containers" / "build"

by_name = {"ids": lambda path: path.name}


def unit(path: Path) -> dict[str, list[str]]:
    """Every setting of a unit, with all its values."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def analyse(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("path", [*UNITS, DEPLOY / "systemd" / "phenofed-node.path"], **by_name)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    for each in (*UNITS, DEPLOY / "systemd" / "phenofed-node.path"):
        # The program is not installed there; everything else is judged as it is.
        text = each.read_text().replace("/usr/lib/phenofed/bin/phenofed", sys.executable)
        (tmp_path / each.name).write_text(text)
    done = analyse("verify", "--man=no", tmp_path / path.name)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_led_run_goes_on_by_itself_only_where_that_can_help() -> None:
    run = unit(DEPLOY / "systemd" / "phenofed-run@.service")
    (left_alone,) = run["RestartPreventExitStatus"]
    # Rounds without a quorum, refused input and weights would be met again, and each try may use up rounds.
    hopeless = {2, *(kind.exit_code for kind in (ConfigError, WeightsError, TrainingError, RunError))}
    assert set(map(int, left_alone.split())) == hopeless
    assert FlowerError.exit_code not in hopeless
    assert run["Restart"] == ["on-failure"]
    assert run["SuccessExitStatus"] == [str(INTERRUPTED)]
    assert run["StartLimitBurst"] == ["10"]
    (finished,) = (path for path in run["ConditionPathExists"] if path.startswith("!"))
    assert finished.endswith(f"/release/{BARE_MANIFEST}")


@pytest.mark.parametrize("path", HARDENED, **by_name)
def test_systemd_rates_the_units_as_hardly_exposed(path: Path) -> None:
    done = analyse("security", "--offline=true", "--no-pager", "--threshold=20", path)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_flower_node_is_another_user_that_cannot_reach_the_data() -> None:
    agent, node = (unit(DEPLOY / "systemd" / f"phenofed-{name}.service") for name in ("agent", "node"))
    assert agent["User"] != node["User"]
    (data,) = (f"/var/lib/{name}" for name in agent["StateDirectory"])
    assert data in node["InaccessiblePaths"]
    assert agent["StateDirectoryMode"] == node["StateDirectoryMode"] == ["0700"]
    assert agent["SupplementaryGroups"] == node["Group"]
    assert "SupplementaryGroups" not in node
    for settings in (agent, node):
        assert settings["NoNewPrivileges"] == ["yes"]
        assert settings["CapabilityBoundingSet"] == [""]
        assert settings["ProtectSystem"] == ["strict"]


def problems(content: dict[str, Any]) -> list[str]:
    """What goes against the schema below; services of a compose file may have no other keys."""
    known = {
        *("image", "build", "command", "user", "group_add", "read_only", "cap_drop", "security_opt", "pids_limit"),
        *("shm_size", "tmpfs", "volumes", "ports", "environment", "restart", "healthcheck", "depends_on"),
        *("network_mode", "profiles"),
    }
    found = [f"unknown key {key}" for key in set(content) - {"name", "services", "volumes"}]
    services = content["services"]
    for name, service in services.items():
        found += [f"{name}: unknown key {key}" for key in set(service) - known]
        if not PINNED.fullmatch(str(service.get("image"))):
            found.append(f"{name}: image is not pinned")
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user"))):
            found.append(f"{name}: runs as root")
        if service.get("read_only") is not True:
            found.append(f"{name}: its root can be written")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", ()):
            found.append(f"{name}: keeps privileges")
        mode = service.get("network_mode", "")
        if mode and mode.removeprefix("service:") not in services:
            found.append(f"{name}: network {mode}")
        if any("docker.sock" in str(volume) for volume in service.get("volumes", ())):
            found.append(f"{name}: can steer the engine")
        for needed in service.get("depends_on", ()):
            if needed not in services:
                found.append(f"{name}: depends on no service {needed}")
    return found


@pytest.mark.parametrize("path", COMPOSE, **by_name)
def test_compose_files_are_pinned_and_without_privileges(path: Path) -> None:
    assert problems(yaml.safe_load(path.read_text())) == []


def test_the_schema_of_compose_files_notices_what_it_is_for() -> None:
    content = yaml.safe_load(COMPOSE[0].read_text())
    for key, value in {
        "image": "nginx:latest",
        "user": "0:0",
        "read_only": False,
        "privileged": True,
        "network_mode": "host",
        "cap_drop": [],
        "volumes": ["/var/run/docker.sock:/s"],
    }.items():
        spoilt = json.loads(json.dumps(content))
        next(iter(spoilt["services"].values()))[key] = value
        assert len(problems(spoilt)) == 1, key


def test_in_containers_too_the_node_sees_nothing_of_the_workspace() -> None:
    services = yaml.safe_load((DEPLOY / "containers" / "silo.compose.yaml").read_text())["services"]
    agent, node = services["agent"], services["node"]
    assert agent["user"] != node["user"]
    assert not [volume for volume in node["volumes"] if "WORKSPACE:" in volume or "KEY_FILE" in volume]
    assert "ports" not in agent
    assert "ports" not in node


@pytest.mark.parametrize("path", DOCKERFILES, **by_name)
def test_images_are_pinned_unprivileged_and_without_weights(path: Path) -> None:
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith(("#", " "))]
    named = [line[0] for line in lines]
    assert "ADD" not in named
    assert lines[named.index("ARG")] == ["ARG", "BASE"], "a base that somebody pinned has to be given"
    assert {line[1] for line in lines if line[0] == "FROM"} == {"${BASE}"}
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", [line[1] for line in lines if line[0] == "USER"][-1])
    assert named.index("USER") < named.index("ENTRYPOINT")
    assert not re.search(r"https?://|curl|wget", path.read_text())
    ignored = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {"**/*.safetensors", "**/*.onnx", "**/*.pem", "**/*.key"} <= set(ignored)
    root = DEPLOY.parent
    copied = [line[1] for line in lines if line[0] == "COPY" and not line[1].startswith("--")]
    assert all((root / source).exists() and f"!{source}" in ignored for source in copied)


ENGINE = """#!/bin/sh
echo "$@" >> "$SAID"
case "$1 $2" in
  "image inspect") echo "python@sha256:$DIGEST" ;;
esac
"""


def build(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The build command of a copy of the checkout, with an engine that only writes down what it is asked for."""
    engine = place / "bin" / "docker"
    if not engine.exists():
        engine.parent.mkdir()
        engine.write_text(ENGINE)
        engine.chmod(0o755)
        shutil.copytree(BUILD.parent, place / "deploy" / "containers", ignore=shutil.ignore_patterns(".env"))
        shutil.copy(DEPLOY.parent / "pyproject.toml", place)
    path = f"{engine.parent}:/usr/bin:/bin"
    told = {"PATH": path, "SAID": str(place / "said"), "DIGEST": "1" * 64, **environment}
    command = [str(place / "deploy" / "containers" / "build"), *arguments]
    return subprocess.run(command, env=told, capture_output=True, text=True)


def test_an_image_is_built_from_a_base_whose_digest_is_looked_up_once(tmp_path: Path) -> None:
    assert build(tmp_path, "silo", "--pull").returncode == 0
    assert build(tmp_path, "silo", DIGEST="2" * 64).returncode == 0
    *looked, first, second = (tmp_path / "said").read_text().splitlines()
    assert len(looked) == 2
    for line in (first, second):
        assert f"--build-arg BASE=python@sha256:{'1' * 64} --tag phenofed-silo:{VERSION}" in line
    assert "--pull" in first
    pins = (tmp_path / "deploy" / "containers" / ".env").read_text()
    assert pins == f"PHENOFED_BASE=python@sha256:{'1' * 64}\n"


def test_a_build_without_a_digest_says_so_and_builds_nothing(tmp_path: Path) -> None:
    done = build(tmp_path, "coordinator", DIGEST="")
    assert done.returncode == 2
    assert "set PHENOFED_BASE" in done.stderr
    assert "build --file" not in (tmp_path / "said").read_text()
    assert not (tmp_path / "deploy" / "containers" / ".env").exists()
    assert build(tmp_path, "hospital").returncode == 2
    given = build(tmp_path, "coordinator", DIGEST="", PHENOFED_BASE="localhost/base:1", PIP_CONF="pip.conf")
    assert given.returncode == 0
    (line,) = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("build ")]
    assert "BASE=localhost/base:1" in line
    assert "--secret id=pip.conf,src=pip.conf" in line


def test_containers_are_checked_by_the_commands_that_tell_health_by_exit_codes() -> None:
    services = {
        name: service
        for path in COMPOSE
        for name, service in yaml.safe_load(path.read_text())["services"].items()
        if name in ("agent", "relay", "run")
    }
    assert {service["healthcheck"]["test"][-1] for service in services.values()} == {"--check"}
    assert services["run"]["restart"] == "no", "an engine cannot tell a crash from rounds without a quorum"


@contextlib.contextmanager
def superlink(tls: Any) -> Iterator[tuple[int, list[str]]]:
    """A server in the SuperLink's place: its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()
    thread.join()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def on_loopback(outer: int, relay: int, inner: int, link: int, tls: Any) -> str:
    """The configuration with other ports and files."""
    text = CONFIGURATION.read_text()
    for old, new in {
        "listen 443;": f"listen 127.0.0.1:{outer};",
        "listen [::]:443;": "",
        "127.0.0.1:8443;": f"127.0.0.1:{relay};",
        "127.0.0.1:8444": f"127.0.0.1:{inner}",
        "127.0.0.1:18000": f"127.0.0.1:{link}",
        "/var/lib/phenofed-relay/relay/certificate.pem": str(tls.certificate),
        "/var/lib/phenofed-relay/relay/key.pem": str(tls.key),
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    tls = Authority(tmp_path).relay()
    command = nginx_command(tmp_path, on_loopback(*free_ports(4), tls))
    done = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_port_leads_to_the_relay_and_to_the_node_endpoints_alone(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "a", "b")
    tls = consortium.authority.relay()
    outer, inner = free_ports(2)
    address = f"127.0.0.1:{outer}"
    try:
        with superlink(tls) as (link, asked):
            command = nginx_command(tmp_path, on_loopback(outer, consortium.relay.port, inner, link, tls))
            with nginx(command, outer):
                limits = LinkLimits(patience=PATIENT)
                a, _ = consortium.links("a", "b", address=address, limits=limits)
                assert a.request("b", "q", b"x" * 100_000, deadline=PATIENT) == b"x" * 100_000
                trusted = ssl.create_default_context(cafile=str(tls.authority))

                def status(path: str) -> int:
                    request = urllib.request.Request(f"https://{address}{path}", data=b"x")
                    try:
                        with urllib.request.urlopen(request, context=trusted, timeout=10) as answer:
                            return int(answer.status)
                    except urllib.error.HTTPError as error:
                        with error:
                            return int(error.code)

                assert status("/v1/fleet/pull-messages") == 200
                # Passed on as it was understood, not as it was written.
                assert status("/v1/control/../fleet/x") == 200
                assert asked == ["/v1/fleet/pull-messages", "/v1/fleet/x"]
                for path in (
                    *("/", "/v1/control/start-run", "/v1/fleets/x", "/v1/fleet/../control/start-run"),
                    *("/v1/fleet/..%2fcontrol/start-run", "/v1/fleet/%2e%2e/control/x", "//v1/control/x"),
                ):
                    assert status(path) in (400, 404), path
                assert len(asked) == 2
    finally:
        consortium.close()
