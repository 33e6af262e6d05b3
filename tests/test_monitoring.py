"""What hospital IT watches: figures for Prometheus, log lines without patients, a live view; who may not ask."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.text import Text

from client.monitoring.metrics import AgentMetrics
from client.monitoring.snapshot import Snapshot
from client.workspace.members import FILE
from common.consortium.gallery_epoch import GalleryEpoch
from common.errors import AgentError, CohortError, DisclosureError, PhenofedError, RelayError, RunError
from common.json_logs import FIELDS, JsonLines, LogFormat, start_logging
from common.live_view import watch
from common.transport.refusal import PeerRefusal
from server.checkpoints import RoundSummary
from server.relay.metrics import RelayMetrics
from server.training.metrics import certificate_figure, figures_of
from server.training.run_counts import RunCounts
from server.training.run_state import Phase, RunState
from server.training.standing import RunStanding, Standing
from tests.agents import ROWS, Hospitals, found_hospitals, phenofed, photo, set_policy, wait_until
from tests.monitoring_figures import asked, scraped
from tests.tls_files import Authority

ROOT = Path(__file__).parent.parent
PATIENT_FILE = "P-17-maria.png"
CALM = Snapshot(True, 3, 2, 60.0, 120, {"clinic-b": 7}, 1, 400.5, 0)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """Five hospitals, of which a serves metrics and e was accepted by nobody but itself and d."""
    folder = found_hospitals(tmp_path_factory.mktemp("monitoring") / "made", list("abcde"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        set_policy(folder / "a", metrics_port=free.getsockname()[1], allow={"discover": True})
    for name in "abc":
        content = json.loads((folder / name / FILE).read_text())
        del content["accepted"]["e"]
        (folder / name / FILE).write_text(json.dumps(content))
    made = Hospitals(folder)
    made.start()
    yield made
    made.close()


def test_a_member_that_was_not_accepted_can_ask_nothing_and_is_in_no_epoch(hospitals: Hospitals) -> None:
    link = hospitals.agents["e"].link
    for topic in ("epoch.newest", "query", "discover.ask"):
        with pytest.raises(PeerRefusal, match="e was not accepted at this hospital"):
            link.request("a", topic, b"", deadline=20)
    assert hospitals.ask("a", "status")["not_accepted"] == ["e"]
    assert hospitals.open_epoch("a") == 1
    opened = hospitals.agents["a"].epochs.require()
    assert [card.name for card in opened.epoch.participants] == ["a", "b", "c", "d"]
    standing = hospitals.agents["a"].standing()
    epoch = GalleryEpoch.opening(
        None,
        [standing.roster.member(name).card for name in "abcde"],
        roster=standing.roster.digest,
        registry=standing.registry.digest,
        release=standing.release,
        profile=standing.floor.name,
        kernel=standing.kernel,
        dimension=standing.dimension,
        entries=len(standing.registry.entries),
        number=9,
    )
    with pytest.raises(DisclosureError, match="e was not accepted"):
        standing.check(epoch)
    hospitals.agents["d"].standing().check(epoch)
    with pytest.raises(DisclosureError, match="e was not accepted"):
        hospitals.agents["a"].discovery.ask("e")


def test_figures_and_log_follow_the_requests(hospitals: Hospitals, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "phenofed")
    if hospitals.agents["a"].epochs.current is None:
        hospitals.open_epoch("a")
    hospitals.rank("b", photo(1, ROWS[0]), reference="private-reference")
    with pytest.raises(PeerRefusal):
        hospitals.agents["b"].link.request("a", "no-such-topic", b"", deadline=20)
    port = hospitals.agents["a"].policy.metrics_port
    assert port is not None
    found = scraped(port)
    assert found["phenofed_agent_requests_total{outcome=ok,side=peer,topic=query}"] >= 1
    assert found["phenofed_agent_requests_total{outcome=refused,side=peer,topic=other}"] >= 1
    assert found["phenofed_agent_link_connected{}"] == 1
    assert found["phenofed_agent_silos_present{}"] == 4
    assert found["phenofed_agent_members_waiting{}"] == 1
    assert found["phenofed_agent_epoch_number{}"] >= 1
    assert found["phenofed_agent_epoch_age_seconds{}"] >= 0
    assert 0 < found["phenofed_agent_budget_left{querier=b}"] < 128
    assert found["phenofed_agent_questions_left{}"] == 128
    assert 700 < found["phenofed_agent_certificate_expires_days{}"] < 731
    assert found["phenofed_agent_worker_restarts{}"] == 0
    lines = [JsonLines(silo="a").format(record) for record in caplog.records]
    assert [json.loads(line) for line in lines if '"topic": "query"' in line and '"ok"' in line]
    assert "private-reference" not in "".join(lines)
    assert "no-such-topic" not in " ".join(found)


def test_figures_outlast_a_workspace_that_cannot_be_read_for_a_moment() -> None:
    def look() -> Snapshot:
        raise AgentError("the roster is gone", remedy="join")

    metrics = AgentMetrics(look)
    metrics.answered("peer", "query", "ok", 0.1)
    assert metrics.value("requests_total", side="peer", topic="query", outcome="ok") == 1
    assert metrics.value("link_connected") is None


def test_words_of_others_make_no_labels() -> None:
    metrics = AgentMetrics(lambda: CALM)
    for number in range(100):
        metrics.answered("peer", f"junk-{number}", "refused", 0.1)
    assert metrics.value("requests_total", side="peer", topic="other", outcome="refused") == 100
    assert metrics.value("requests_total", side="peer", topic="junk-1", outcome="refused") is None


def test_a_taken_port_is_one_clear_refusal() -> None:
    metrics = AgentMetrics(lambda: CALM)
    with metrics.serve(0) as server, pytest.raises(AgentError, match="another metrics_port"):
        metrics.serve(server.port)


def test_the_relay_tells_when_its_certificate_ends(tmp_path: Path) -> None:
    metrics, files = RelayMetrics(), Authority(tmp_path).relay()
    metrics.watch_certificate(files.certificate.read_bytes)
    assert 729 < metrics.value("certificate_expires_days") < 731
    files.certificate.write_bytes(b"damaged")
    left = metrics.value("certificate_expires_days")
    assert left != left or left == 0


def test_a_json_line_holds_known_fields_and_no_text_of_exceptions() -> None:
    stream = io.StringIO()
    ours, root = logging.getLogger("phenofed"), logging.getLogger()
    before, roots = (ours.handlers, ours.propagate, ours.level), list(root.handlers)
    try:
        start_logging(LogFormat.JSON, verbose=False, stream=stream, silo="clinic-a")
        extra = {"event": "round", "topic": "train", "run": "r1", "round": 3, "patient": "P-17"}
        logging.getLogger("phenofed.x").info("done\nwith \x1b[1m it", extra=extra)
        try:
            raise ValueError("patient P-17")
        except ValueError:
            logging.getLogger("phenofed.x").exception("failed")
        logging.getLogger("a.library").warning("patient P-17")
    finally:
        ours.handlers, ours.propagate = before[:2]
        ours.setLevel(before[2])
        root.handlers = roots
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    told = {"silo": "clinic-a", "event": "round", "topic": "train", "run": "r1", "round": 3}
    assert {key: first[key] for key in told} == told
    assert second["error"] == "ValueError"
    assert "P-17" not in stream.getvalue()
    assert set(first) <= {"time", "level", "logger", "silo", "message", *FIELDS}


def test_a_live_view_goes_on_while_the_agent_is_away() -> None:
    stop, shown = threading.Event(), iter(["first", "away", "again"])
    output = io.StringIO()

    def draw() -> Text:
        text = next(shown)
        if text == "again":
            stop.set()
        if text == "away":
            raise AgentError("the agent does not answer", remedy="start it")
        return Text(text)

    class Soon(threading.Event):
        """Waits for nothing."""

        def wait(self, timeout: float | None = None) -> bool:
            return stop.is_set()

    watch(draw, stop=Soon(), console=Console(file=output, force_terminal=True, width=80))
    text = output.getvalue()
    assert text.index("first") < text.index("the agent does not answer") < text.index("again")


def test_an_agent_is_well_while_it_is_connected_and_its_certificate_lasts() -> None:
    now = [CALM]
    metrics = AgentMetrics(lambda: now[0])
    with metrics.serve(0) as server:
        assert asked(server.port, "/healthz") == (200, "ok\n")
        now[0] = replace(CALM, connected=False)
        assert asked(server.port, "/healthz") == (503, "not connected to the relay\n")
        now[0] = replace(CALM, certificate_days=-0.1)
        assert asked(server.port, "/healthz") == (503, "the certificate has ended\n")

    def gone() -> Snapshot:
        raise AgentError(f"{PATIENT_FILE} is gone", remedy="join")

    with AgentMetrics(gone).serve(0) as server:
        code, line = asked(server.port, "/healthz")
        assert code == 503
        assert PATIENT_FILE not in line


def test_commands_tell_the_health_of_agent_and_relay_by_exit_codes(hospitals: Hospitals) -> None:
    a, relay = hospitals.folder / "a", hospitals.folder / "operator" / "relay"
    assert phenofed("silo", "status", a, "--check").exit_code == 0
    assert phenofed("coordinator", "status", relay, "--check").exit_code == 0
    certificate = relay / "certificate.pem"
    content = certificate.read_bytes()
    certificate.write_bytes(b"damaged")
    try:
        assert "the relay is not well (the certificate" in str(
            phenofed("coordinator", "status", relay, "--check").exception
        )
    finally:
        certificate.write_bytes(content)
    hospitals.stop_relay()
    try:
        wait_until(lambda: not hospitals.agents["a"].link.connected)
        agent, coordinator = (
            phenofed("silo", "status", a, "--check").exception,
            phenofed("coordinator", "status", relay, "--check").exception,
        )
    finally:
        hospitals.start_relay()
    assert isinstance(agent, AgentError)
    assert "not connected to the relay" in str(agent)
    assert isinstance(coordinator, RelayError)
    for each in hospitals.agents.values():
        assert each.link.wait_for(set(hospitals.agents), seconds=30)


def test_no_line_of_agents_or_relay_names_a_patient_or_a_file_of_one(
    hospitals: Hospitals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "phenofed")
    hospitals.open_epoch("a")
    hospitals.rank("b", photo(1, ROWS[0]), reference=PATIENT_FILE)
    with pytest.raises(PhenofedError):
        hospitals.rank("b", b"no picture", reference=PATIENT_FILE)
    with pytest.raises(PhenofedError):
        hospitals.ask("a", f"rank {PATIENT_FILE}")
    assert phenofed("silo", "consent", "withdraw", hospitals.folder / "a", "a-1").exit_code == 0
    manifest = hospitals.folder / "a" / "cohort" / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(b"damaged")
    with contextlib.suppress(PhenofedError):
        hospitals.ask("a", "look")
    manifest.write_bytes(content)
    hospitals.ask("a", "look")
    lines = [JsonLines(silo="a").format(record) for record in caplog.records]
    assert {"request", "agent"} <= {json.loads(line)["event"] for line in lines}
    assert all({"silo", "event", "time", "level"} <= set(json.loads(line)) for line in lines)
    assert any(json.loads(line).get("topic") == "query" for line in lines)
    text = "\n".join(lines)
    assert not re.search(rf"\b[a-e]-\d+\b|\.png|{PATIENT_FILE}|OMIM|manifest", text), text


def test_an_error_over_patients_or_files_is_told_by_its_kind_alone() -> None:
    def line(error: Exception) -> str:
        record = logging.LogRecord("phenofed.x", logging.ERROR, "x", 1, "not taken in: %s", (error,), None)
        return str(json.loads(JsonLines().format(record))["message"])

    assert line(CohortError(f"{PATIENT_FILE} is twice")) == "not taken in: CohortError"
    assert line(RunError(f"cannot write {PATIENT_FILE}")) == "not taken in: RunError"
    assert line(ValueError(PATIENT_FILE)) == "not taken in: ValueError"
    assert line(AgentError("the roster is old")) == "not taken in: the roster is old"


def offered_figures() -> dict[str, str]:
    """Every figure that agent, relay and leading process offer, and its type."""
    agent, relay = AgentMetrics(lambda: CALM), RelayMetrics()
    relay.watch_certificate(lambda: b"")
    relay.registry.register(RunCounts(ROOT))
    agent.answered("peer", "query", "ok", 0.1)
    kinds = {family.name: family.type for each in (agent, relay) for family in each.registry.collect()}
    run = RunStanding(
        "spring",
        ROOT,
        Standing.TRAINING,
        silos=("a",),
        last=RoundSummary(1, 0.5, 0.1, {"a": 0.1}, {"b": "not connected"}, False, 0.1),
        state=RunState(Phase.TRAINING, 0.0, 1),
        checkpoint_seconds=1.0,
    )
    return kinds | {family.name: family.type for family in (*figures_of(run), certificate_figure("spring", 1.0))}


def names_of(kinds: dict[str, str]) -> set[str]:
    """As Prometheus stores them."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{name}{ending}" for name, kind in kinds.items() for ending in endings.get(kind, ("",))}


def expressions(path: Path) -> list[str]:
    """What a dashboard or a file of rules asks Prometheus for."""
    if path.suffix == ".json":
        panels = json.loads(path.read_text())["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


DASHBOARD = ROOT / "deploy" / "grafana" / "phenofed.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"


@pytest.mark.parametrize("path", [DASHBOARD, RULES], ids=lambda path: path.name)
def test_dashboard_and_rules_ask_for_figures_that_exist(path: Path) -> None:
    asked_for = expressions(path)
    patterns = {found for text in asked_for for found in re.findall(r'__name__=~"([^"]+)"', text)}
    names = {found for text in asked_for for found in re.findall(r"(?<![\"\w])phenofed_\w+", text)}
    offered = names_of(offered_figures())
    assert names
    assert names <= offered
    for pattern in patterns:
        parts = re.fullmatch(r"(\w*)\(([\w|]+)\)(\w*)", pattern)
        assert parts is not None
        assert {f"{parts[1]}{part}{parts[3]}" for part in parts[2].split("|")} <= offered


def test_the_dashboard_is_laid_out_without_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
            assert {"title", "fieldConfig", "targets"} <= set(panel)


def test_rules_say_how_bad_it_is_and_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) == 8
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "action"}


def test_prometheus_takes_the_rules_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed")
    records = [{"record": f"q:{n}", "expr": text} for n, text in enumerate(expressions(DASHBOARD))]
    queries = tmp_path / "queries.yaml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": records}]}))
    for command in (["check", "rules", RULES, queries], ["test", "rules", RULES.with_name("alerts.test.yaml")]):
        done = subprocess.run([promtool, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_document_lists_every_figure() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    assert {name for name in offered_figures() if f"`{name}" not in text} == set()
