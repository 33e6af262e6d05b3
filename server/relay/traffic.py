"""What another process may learn of a relay: its metrics, by the port that it noted in its folder."""

from __future__ import annotations

import http
import http.client
import json
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from common.errors import RelayError

RUNNING = "running.json"
VERSION = 1
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class SiloTraffic:
    """One silo as the metrics show it: bytes sent, requests begun and refusals since the relay began."""

    name: str
    connected: bool
    bytes: int
    requests: int
    refusals: int
    waiting: int
    """Bytes that wait for it now."""
    software: str = ""
    """The release of phenofed that it runs, while it is connected."""


def traffic(folder: Path) -> list[SiloTraffic]:
    """What the relay that runs from ``folder`` counted, a silo each, in order of names.

    Raises:
        RelayError: none runs, or it does not answer.
    """
    sums: dict[str, dict[str, float]] = {}
    software: dict[str, str] = {}
    for family in text_string_to_metric_families(_scrape(_metrics_port(folder))):
        for sample in family.samples:
            silo, name = sample.labels.get("silo"), sample.name.removeprefix("phenofed_relay_")
            if name == "messages_total" and sample.labels["kind"] == "request":
                name = "requests"
            if silo and name == "silo_software":
                software[silo] = sample.labels["version"]
            elif silo:
                of_silo = sums.setdefault(silo, {})
                of_silo[name] = of_silo.get(name, 0.0) + sample.value
    return [
        SiloTraffic(
            silo,
            connected=figures.get("connected", 0.0) > 0,
            bytes=int(figures.get("bytes_total", 0)),
            requests=int(figures.get("requests", 0)),
            refusals=int(figures.get("refusals_total", 0)),
            waiting=int(figures.get("queue_bytes", 0)),
            software=software.get(silo, ""),
        )
        for silo, figures in sorted(sums.items())
    ]


def relay_ailing(folder: Path) -> str | None:
    """What the relay that runs from ``folder`` says is wrong with it, in a line; None where nothing is.

    Raises:
        RelayError: none runs, or it does not answer.
    """
    status, line = _asked(_metrics_port(folder), "/healthz")
    return None if status == http.HTTPStatus.OK else line.strip() or f"it answers with {status}"


def _metrics_port(folder: Path) -> int:
    path = folder / RUNNING
    try:
        note = json.loads(path.read_text())
        if note["version"] == VERSION:
            return int(note["metrics_port"])
    except FileNotFoundError as error:
        raise RelayError(
            f"no relay runs from {folder}", remedy=f"start it: phenofed coordinator up {folder}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RelayError(f"{path} is damaged", remedy="start the relay anew") from error
    raise RelayError(f"{path} is of another version", remedy="use the release that the relay runs")


def _scrape(port: int) -> str:
    return _asked(port, "/metrics")[1]


def _asked(port: int, path: str) -> tuple[int, str]:
    """(HTTP status, text) of the relay's metrics server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise RelayError(
            "the relay does not answer", remedy="see whether it still runs; start it anew if not"
        ) from error
    finally:
        connection.close()
