"""What hospital IT watches: figures for Prometheus, log lines without patients, a live view; who may not ask."""

from __future__ import annotations

import http.client
import io
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.text import Text

from client.monitoring.metrics import AgentMetrics
from client.monitoring.snapshot import Snapshot
from client.workspace.members import FILE
from common.consortium.gallery_epoch import GalleryEpoch
from common.errors import AgentError, DisclosureError
from common.json_logs import FIELDS, JsonLines, LogFormat, start_logging
from common.live_view import watch
from common.transport.refusal import PeerRefusal
from server.relay.metrics import RelayMetrics
from tests.agents import ROWS, Hospitals, found_hospitals, photo, set_policy
from tests.tls_files import Authority

ROOT = Path(__file__).parent.parent
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


def scraped(port: int) -> dict[str, float]:
    """Samples by name and labels, as Prometheus reads them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


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


def test_the_dashboard_asks_for_figures_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "phenofed.json").read_text())
    asked = set(re.findall(r"phenofed_\w+", json.dumps(dashboard["panels"])))
    agent, relay = AgentMetrics(lambda: CALM), RelayMetrics()
    relay.watch_certificate(lambda: b"")
    agent.answered("peer", "query", "ok", 0.1)
    offered = {
        name
        for registry in (agent.registry, relay.registry)
        for family in registry.collect()
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    assert asked
    assert asked <= offered
    assert {f"phenofed_{which}_certificate_expires_days" for which in ("agent", "relay")} <= asked


def test_the_document_lists_every_figure() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    agent, relay = AgentMetrics(lambda: CALM), RelayMetrics()
    relay.watch_certificate(lambda: b"")
    names = {family.name for registry in (agent.registry, relay.registry) for family in registry.collect()}
    assert {name for name in names if f"`{name}" not in text} == set()
