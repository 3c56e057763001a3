"""Our replay of alerts against Prometheus itself.

Goal: for every run, ``promtool test rules`` finds the firing times that the replay found. Method: rules and test files
written from the same samples: simulated incidents, and awkward runs (a restart, failed scrapes, a full outage, a
start from nothing). `make promtool` gets the program; without it these tests are skipped.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.experiments.alerting.alerts import rules_of
from sim.experiments.alerting.backtest import replayed
from sim.experiments.alerting.incidents import SimulatedIncident, draw_incidents
from sim.experiments.alerting.traffic import Scraped, during, quiet
from sim.judgement.alerts.replay import Counter, Samples
from sim.judgement.alerts.rule_file import rule_file
from sim.judgement.alerts.rule_tests import rule_tests
from sim.judgement.dependence import record_of
from sim.scenario.scenario import load_scenario
from tests.project.tidy import ROOT

UNPACKED = ROOT / "out/promtool/usr/bin/promtool"
PROMTOOL = shutil.which("promtool") or (str(UNPACKED) if UNPACKED.is_file() else None)
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here (make promtool unpacks it)")

LAUNCH = load_scenario("launch")
RULES, WAVE, _ = rules_of(LAUNCH)
OUTAGE = SimulatedIncident(
    length_s=37.3 * 60, severity="critical", products=("workers",), hit_share=1.0, slow=False, counted=True,
    phase_share=0.1, offset_s=21.0,
)  # fmt: skip


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    command = [PROMTOOL, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def disagreement(folder: Path, scraped: Scraped, *, name: str = "run") -> str:
    """What promtool says against the replay of a run; empty if both agree."""
    (folder / "rules.yml").write_text(rule_file(RULES, runbooks="docs/runbooks"), "utf-8")
    firing = replayed(RULES, scraped)
    text = rule_tests(
        RULES, scraped.samples, firing=firing, name=name, rules_file="rules.yml", runbooks="docs/runbooks"
    )
    (folder / "run_test.yml").write_text(text, "utf-8")
    done = promtool(folder, "test", "rules", "run_test.yml")
    return "" if done.returncode == 0 and "SUCCESS" in done.stdout + done.stderr else done.stdout + done.stderr


def shown(incident: SimulatedIncident, seed: int = 1, *, before_minutes: int = 90) -> Scraped:
    rng = np.random.default_rng(seed)
    return during(incident, RULES.objectives, wave=WAVE, rng=rng, before_minutes=before_minutes)


def mapped(scraped: Scraped, change: Callable[[Counter], Counter]) -> Scraped:
    """The same run with every counter changed."""
    samples = scraped.samples
    changed = Samples(change(samples.total), {name: change(counter) for name, counter in samples.good.items()})
    return replace(scraped, samples=changed)


@needs_promtool
@pytest.mark.parametrize("name", ["launch", "phase2", "social", "feed"])
def test_prometheus_loads_the_rules_of_every_kind_of_scenario(name: str, tmp_path: Path) -> None:
    rules, _, _ = rules_of(load_scenario(name))
    (tmp_path / "rules.yml").write_text(rule_file(rules, runbooks="docs/runbooks"), "utf-8")
    done = promtool(tmp_path, "check", "rules", "rules.yml")
    assert done.returncode == 0, done.stderr
    series = len(rules.request_windows) + sum(len(rules.windows_of(one)) for one in rules.objectives)
    assert f"SUCCESS: {series + len(rules.alerts)} rules found" in done.stdout


@needs_promtool
def test_a_full_outage_fires_when_the_replay_says(tmp_path: Path) -> None:
    scraped = shown(OUTAGE)
    assert replayed(RULES, scraped).firing["UptimeBurn1h"].any()
    assert disagreement(tmp_path, scraped) == ""


@needs_promtool
def test_one_evaluation_off_is_found(tmp_path: Path) -> None:
    """The comparison itself: a replay that is late by a minute must not pass."""
    scraped = shown(OUTAGE)
    firing = replayed(RULES, scraped)
    late = replace(firing, firing={name: np.roll(flags, 1) for name, flags in firing.firing.items()})
    (tmp_path / "rules.yml").write_text(rule_file(RULES, runbooks="docs/runbooks"), "utf-8")
    text = rule_tests(
        RULES, scraped.samples, firing=late, name="late", rules_file="rules.yml", runbooks="docs/runbooks"
    )
    (tmp_path / "run_test.yml").write_text(text, "utf-8")
    done = promtool(tmp_path, "test", "rules", "run_test.yml")
    assert done.returncode != 0
    assert re.search(r"UptimeBurn1h", done.stdout + done.stderr)


@needs_promtool
def test_silence_fires_after_its_window_and_its_patience(tmp_path: Path) -> None:
    gone = replace(OUTAGE, counted=False, length_s=24_000.0, products=("network",))
    scraped = shown(gone, before_minutes=200)
    assert replayed(RULES, scraped).first_s("NoRequests", since_s=scraped.begin_s, until_s=scraped.end_s) < np.inf
    assert disagreement(tmp_path, scraped) == ""


@needs_promtool
def test_restarts_and_failed_scrapes_change_nothing_in_the_agreement(tmp_path: Path) -> None:
    kept = np.random.default_rng(3).uniform(size=shown(OUTAGE).at_s.size) > 0.2

    def awkward(counter: Counter) -> Counter:
        values = np.where(counter.at_s >= 100 * 60, counter.values - counter.values[100], counter.values)
        return Counter(counter.at_s[kept], values[kept])

    assert disagreement(tmp_path, mapped(shown(OUTAGE), awkward)) == ""


@needs_promtool
def test_counters_that_begin_at_zero(tmp_path: Path) -> None:
    """Extrapolation stops at zero, and a young deployment has few requests in its long windows."""

    def young(counter: Counter) -> Counter:
        return Counter(counter.at_s, counter.values - counter.values[0])

    assert disagreement(tmp_path, mapped(shown(OUTAGE, before_minutes=5), young)) == ""


def _simulated(count: int) -> list[tuple[SimulatedIncident, np.random.Generator]]:
    rng = np.random.default_rng(20261126)
    drawn = draw_incidents(LAUNCH, record_of(LAUNCH.facts), count=count, rng=rng)
    return list(zip(drawn, rng.spawn(count), strict=True))


def _disagreements(folder: Path, count: int, *, before_minutes: int) -> dict[int, str]:
    found = {}
    for number, (incident, rng) in enumerate(_simulated(count)):
        scraped = during(incident, RULES.objectives, wave=WAVE, rng=rng, before_minutes=before_minutes)
        said = disagreement(folder, scraped, name=f"incident {number}")
        if said:
            found[number] = said
    return found


@needs_promtool
def test_simulated_incidents_fire_at_equal_times(tmp_path: Path) -> None:
    assert _disagreements(tmp_path, 4, before_minutes=120) == {}


@pytest.mark.nightly
@needs_promtool
def test_two_hundred_simulated_incidents_fire_at_equal_times(tmp_path: Path) -> None:
    assert _disagreements(tmp_path, 200, before_minutes=360) == {}


@pytest.mark.nightly
@needs_promtool
def test_with_full_windows_they_fire_at_equal_times_too(tmp_path: Path) -> None:
    assert _disagreements(tmp_path, 10, before_minutes=4_320) == {}
    rng = np.random.default_rng(5)
    assert disagreement(tmp_path, quiet(RULES.objectives, WAVE, minutes=600, rng=rng)) == ""
