"""The backtest of alerts, and the health check beside them.

Goal: detection, misses and false alarms are those of the incidents that were drawn; probes follow their closed forms.
Method: seeded backtests, and probes against incidents of one kind.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.experiments.alerting.alerts import alerts
from sim.experiments.alerting.files import write_alerts
from sim.experiments.alerting.incidents import SimulatedIncident, draw_incidents, record_of
from sim.experiments.alerting.probe import Probe
from sim.foundation.errors import UsageError
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
    drawn = draw_incidents(scenario, record_of(scenario), count=300, rng=np.random.default_rng(4))
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
