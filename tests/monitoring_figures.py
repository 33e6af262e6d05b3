"""What Prometheus and a health check see, over HTTP."""

from __future__ import annotations

import http.client

from prometheus_client.parser import text_string_to_metric_families


def asked(port: int, path: str) -> tuple[int, str]:
    """(HTTP status, text) of a metrics server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scraped(port: int) -> dict[str, float]:
    """Samples by name and labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(asked(port, "/metrics")[1]):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found
