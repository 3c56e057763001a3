"""The metrics of a simulated run.

Goal: a simulation exports what a deployment would, under the same names, and its numbers are those of its requests.
Method: the text is parsed by Prometheus's own parser; names and labels are compared with those of the reference, sums
with the frame, the mean number of requests under way with Little's law.
"""

from prometheus_client.parser import text_string_to_metric_families

from reference_impl.monitoring.metrics import LATENCY_BOUNDS_MS, Monitoring
from reference_impl.timing.clock import VirtualClock
from sim import run
from sim.results.exposition import BOUNDS_MS, exposition, series_max
from sim.results.result import Result
from sim.scenario.scenario import load_scenario
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played


def scraped(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def failing() -> Result:
    """Three in ten reads fail."""
    changes = {"system.d1.error_chance": 0.3, "system.d1.read_retries": 0, **at_rate(50.0, 4_000)}
    return played(of_steps("d1.read", scenario=KNOWN_TIMES.with_(**changes)), 4_000)


def test_names_are_those_of_the_reference() -> None:
    monitoring = Monitoring(VirtualClock())
    theirs = {family.name for family in text_string_to_metric_families(monitoring.exposition().body.decode())}
    ours = {family.name for family in text_string_to_metric_families(exposition(failing()))}
    assert ours <= theirs
    assert ours == {"requests", "request_latency_ms", "active_connections"}
    assert BOUNDS_MS == LATENCY_BOUNDS_MS


def test_failed_requests_are_counted_and_have_a_latency() -> None:
    """All of them, by status (hazard H57), and each in the histogram."""
    result = failing()
    found = scraped(exposition(result))
    (method,) = {dict(labels)["method"] for labels in found["requests_total"]}
    by_status = {dict(labels)["status"]: value for labels, value in found["requests_total"].items()}
    counts = result.frame["outcome"].value_counts()
    assert by_status == {"200": counts["ok"], "500": counts["error"]}
    assert found["request_latency_ms_count"][(("method", method),)] == len(result.frame)
    within = result.frame["latency_ms"].le(20).sum()
    assert found["request_latency_ms_bucket"][(("le", "20.0"), ("method", method))] == within


def test_a_scrape_sees_what_has_ended_and_what_is_under_way() -> None:
    """Never below 0, 0 at the end; the mean over many scrapes is rate times time (Little)."""
    result = run("launch", rng=1, requests=3_000)
    last_s = float((result.frame["arrival_ms"] + result.frame["latency_ms"]).max() / 1_000)
    seen = []
    for number in range(200):
        found = scraped(exposition(result, at_s=last_s * (number + 0.5) / 200))
        seen.append(found["active_connections"][()])
        ended = sum(found.get("requests_total", {}).values())
        at_ms = last_s * 1_000 * (number + 0.5) / 200
        assert ended + seen[-1] == (result.frame["arrival_ms"] <= at_ms).sum()
    assert min(seen) >= 0
    assert scraped(exposition(result))["active_connections"][()] == 0.0
    whole = float(result.frame["latency_ms"].sum() / 1_000 / last_s)
    assert abs(sum(seen) / len(seen) - whole) < 0.15 * whole


def test_the_environment_is_a_label_of_every_series() -> None:
    found = scraped(exposition(failing(), labels={"environment": "staging"}))
    assert all(dict(labels)["environment"] == "staging" for samples in found.values() for labels in samples)
    assert found["active_connections"] == {(("environment", "staging"),): 0.0}


def test_series_stay_within_the_estimate() -> None:
    """Product of the labels' values, times buckets: no run has more."""
    for name in ("launch", "feed", "social"):
        result = run(name, rng=1, requests=2_000)
        lines = [line for line in exposition(result).splitlines() if not line.startswith("#")]
        assert 0 < len(lines) <= series_max(load_scenario(name))
