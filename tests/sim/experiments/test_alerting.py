"""The backtest of alerts, and the health check beside them.

Goal: detection, misses and false alarms are those of the incidents that were drawn; probes follow their closed forms.
Method: seeded backtests, and probes against incidents of one kind.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.experiments.alerting.alerts import alerts
from sim.experiments.alerting.backtest import Backtest, Trial
from sim.experiments.alerting.detection_costs import detection_costs
from sim.experiments.alerting.files import write_alerts
from sim.experiments.alerting.incidents import SimulatedIncident, draw_incidents
from sim.experiments.alerting.probe import OFTEN, PROBES, Probe
from sim.experiments.alerting.timeline import Timeline
from sim.experiments.sizing.probes import probes_until
from sim.foundation.errors import UsageError
from sim.judgement.dependence import record_of
from sim.report.alert_tables import alerts_document
from sim.scenario.scenario import load_scenario

FOUND = alerts("launch", incidents=40, quarters=1, rng=3)
OUTAGE = SimulatedIncident(
    600.0, "critical", ("workers",), 1.0, slow=False, counted=True, phase_share=0.0, offset_s=0.0
)


def test_the_same_seed_gives_the_same_backtest() -> None:
    assert alerts_document(alerts("launch", incidents=40, quarters=1, rng=3)) == alerts_document(FOUND)


def test_an_alert_that_is_due_fires_in_nearly_all_incidents() -> None:
    due = [(trial, name) for trial in FOUND.backtest.trials for name in trial.due]
    assert len(due) >= 10
    fired = sum(np.isfinite(trial.fired_minutes[name]) for trial, name in due)
    assert fired >= 0.9 * len(due)


def test_requests_that_never_arrive_burn_nothing() -> None:
    """Hazard H52: the pages on budgets are blind to what is stopped before the Worker."""
    stopped = [trial for trial in FOUND.backtest.trials if not trial.incident.counted]
    assert len(stopped) >= 10
    for trial in stopped:
        assert not trial.due - {"NoRequests"}
        assert np.isinf(trial.fired_minutes["UptimeBurn1h"])


@pytest.mark.parametrize("length", [1.0, 2.5, 4.0])
def test_a_short_outage_slips_between_two_probes(length: float) -> None:
    """Hazard H12: an outage of length D < T is missed with probability 1 - D / T."""
    rng, probe = np.random.default_rng(1), Probe("", 300.0, outside=True)
    delays = np.array([probe.delay_minutes(replace(OUTAGE, length_s=60 * length), rng=rng) for _ in range(4_000)])
    assert np.isinf(delays).mean() == pytest.approx(1 - length / 5, abs=0.03)


def test_mean_detection_is_half_the_interval() -> None:
    """Hazard H12: 150 s of a budget of 259 s, 58 %."""
    rng, probe = np.random.default_rng(2), Probe("", 300.0, outside=True)
    delays = np.array([probe.delay_minutes(OUTAGE, rng=rng) for _ in range(4_000)])
    assert delays.mean() * 60 == pytest.approx(150, abs=5)
    assert delays.mean() * 60 / (30 * 86_400 * 1e-4) == pytest.approx(0.58, abs=0.02)


def test_a_cron_trigger_is_down_with_its_platform() -> None:
    """Hazard H52."""
    rng, gone = np.random.default_rng(3), replace(OUTAGE, counted=False)
    assert np.isinf(Probe("", 300.0, outside=False).delay_minutes(gone, rng=rng))
    assert np.isfinite(Probe("", 300.0, outside=True).delay_minutes(gone, rng=rng))


def test_hit_shares_and_lengths_stay_in_their_bounds() -> None:
    scenario = load_scenario("launch")
    drawn = draw_incidents(scenario, record_of(scenario.facts), count=300, rng=np.random.default_rng(4))
    assert all(0 < one.hit_share <= 1 and 1 <= one.minutes <= 4_320 for one in drawn)
    assert {one.counted for one in drawn} == {one.slow for one in drawn} == {True, False}


@pytest.mark.parametrize(("incidents", "quarters"), [(0, 1), (1, 0)])
def test_nothing_to_try_is_refused(incidents: int, quarters: int) -> None:
    with pytest.raises(UsageError, match="must be >= 1"):
        alerts("launch", incidents=incidents, quarters=quarters)


def test_files_are_written_and_name_the_runbooks_asked_for(tmp_path: Path) -> None:
    written = write_alerts(FOUND, tmp_path / "new", runbooks="https://example.org/run/")
    assert [path.name for path in written][:1] == ["rules.yml"]
    assert len(written) == 5
    assert 'runbook_url: "https://example.org/run/uptime-burn.md"' in written[0].read_text("utf-8")


def test_the_view_of_a_notebook_holds_both_tables() -> None:
    page = FOUND._repr_html_()
    assert "UptimeBurn1h" in page
    assert "stopped before the Worker" in page


@pytest.mark.parametrize(("share", "failures"), [(1.0, 1), (1.0, 3), (0.5, 2), (0.2, 2)])
def test_failures_in_a_row_come_after_the_closed_form(share: float, failures: int) -> None:
    """The k-th in a row, with a share q failing, after (1 - q^k) / ((1 - q) q^k) probes, the first half a step on."""
    rng, probe = np.random.default_rng(5), Probe("", 10.0, outside=True, failures=failures)
    long = replace(OUTAGE, length_s=36_000.0, hit_share=share)
    delays = np.array([probe.delay_minutes(long, rng=rng) for _ in range(4_000)])
    assert delays.mean() * 60 == pytest.approx(5 + 10 * (probes_until(failures, share) - 1), rel=0.05)


def test_no_failure_in_a_row_is_refused() -> None:
    with pytest.raises(UsageError, match="failures=0 must be >= 1"):
        Probe("", 10.0, outside=True, failures=0)


def test_an_outage_shorter_than_the_failures_in_a_row_is_missed() -> None:
    short = replace(OUTAGE, length_s=5.0)
    assert np.isinf(OFTEN.delay_minutes(short, rng=np.random.default_rng(1)))


# ---------------------------------------------------------------- one incident over time


def first_minutes(line: Timeline, name: str) -> float:
    """Minutes from the start to the first evaluation at which an alert fires, until one after the end."""
    inside = (line.minutes >= 0) & (line.minutes <= line.trial.incident.minutes + 1)
    hits = line.minutes[inside & line.firing[name]]
    return float(hits[0]) if hits.size else np.inf


def test_a_timeline_fires_when_the_backtest_did() -> None:
    for number, trial in enumerate(FOUND.backtest.trials):
        line = FOUND.timeline(number)
        for alert in line.alerts:
            assert first_minutes(line, alert.name) == pytest.approx(trial.fired_minutes[alert.name])


def test_an_alert_fires_only_where_both_its_windows_burn_faster_than_its_line() -> None:
    for number in range(len(FOUND.backtest.trials)):
        line = FOUND.timeline(number)
        for alert in line.alerts:
            firing, factor = line.firing[alert.name], float(alert.windows.factor)
            for window in (alert.windows.long_minutes, alert.windows.short_minutes):
                assert (line.burns[window][firing] > factor * (1 - 1e-9)).all()


def test_a_timeline_shows_the_budget_that_the_incident_hurts() -> None:
    for number, trial in enumerate(FOUND.backtest.trials):
        assert (FOUND.timeline(number).objective.name == "Uptime") != trial.incident.slow


@pytest.mark.parametrize("number", [-1, 40])
def test_an_incident_that_was_not_simulated_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match=rf"number={number} must be in 0\.\.39"):
        FOUND.timeline(number)


# ---------------------------------------------------------------- detection and repair


def test_detection_and_repair_are_the_whole_incident() -> None:
    failing = [trial.incident.minutes for trial in FOUND.backtest.trials if not trial.incident.slow]
    for cost in FOUND.detection_costs:
        assert cost.incidents == len(failing)
        assert (cost.mttd_s + cost.mttr_s) / 60 == pytest.approx(np.mean(failing))
        assert 0 <= cost.before.low <= cost.before.value <= cost.before.high <= 1


def test_more_means_detect_no_later() -> None:
    costs = {cost.means: cost for cost in FOUND.detection_costs}
    both = costs[f"pages, and {OFTEN.name}"]
    for part in ("pages", OFTEN.name):
        assert both.detections >= costs[part].detections
        assert both.mttd_s <= costs[part].mttd_s


def test_the_share_before_detection_is_that_of_incidents_counted_by_hand() -> None:
    """An outage of 10 minutes detected after 3, and one of 90 minutes that hits a tenth and that nobody detects."""
    long = replace(OUTAGE, length_s=5_400.0, hit_share=0.1)
    blind = {alert.name: np.inf for alert in FOUND.rules.alerts}
    probed = {probe.name: np.inf for probe in PROBES}
    trials = (
        Trial(OUTAGE, 1.0, frozenset(), {**blind, "UptimeBurn1h": 3.0}, probed),
        Trial(long, 1.0, frozenset(), blind, probed),
    )
    pages, *_ = detection_costs(FOUND.rules, Backtest(trials, {}))
    assert (pages.means, pages.detections) == ("pages", 1)
    assert pages.mttd_s == pytest.approx(60 * (3 + 90) / 2)
    assert pages.before.value == pytest.approx((3 + 9) / (10 + 9))


def test_alerts_that_fire_on_the_scenarios_own_latency_are_named() -> None:
    """A round trip of 300 ms is over the target of 200 ms for all but those in a tunnel: all four alerts of it fire."""
    slow = load_scenario("launch").with_(**{"system.network.client_rtt_ms": 300.0, "workload.duration_s": 120})
    (said,) = (note for note in alerts(slow, incidents=1, quarters=1).notes if "LatencyP99Burn1h" in note)
    assert "LatencyP99Burn1h, LatencyP99Burn6h, LatencyP99Burn1d, LatencyP99Burn3d. Of" in said
    share = r"8\d(\.\d)?"
    assert re.search(rf"{share} % \[{share}, {share}\] took longer than 200 ms, {share} times the budget", said)
    fast = load_scenario("launch").with_(**{"system.network.client_rtt_ms": 1.0, "workload.duration_s": 120})
    assert not any("LatencyP50" in note for note in alerts(fast, incidents=1, quarters=1).notes)
