"""The author's own log beside the model.

Goal: a log that the model reproduces is not contradicted, one that it misses is, and where the log's clock was is never
guessed. Method: logs made of the simulation's own quantiles, unchanged or multiplied by a known factor, with the clock
at the client, at the server, or unknown.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import load_scenario
from sim.experiments.plan import Plan
from sim.foundation.errors import ScenarioError
from sim.judgement.comparison import Agreement
from sim.judgement.logged import ASSUMED, OF_LOG, SAY_WHERE, LogRow, beside_log, contradictions
from sim.report.json_document import plan_document, text_of
from sim.report.log_tables import INTERVALS_ASSUMED, logged
from sim.report.log_tables import beside_log as said
from sim.report.page import report_html
from sim.report.terminal import summary
from sim.results.result import Result
from tests.support.plans import example_plan

ROUTE = "search"


def quantiles_ms(*, server: bool = False) -> tuple[float, float]:
    """P50 and P99 of the example's route, pooled over its runs: the whole latency, or without the network."""
    frames = [run.steady().frame for run in example_plan().simulated]
    ours = [frame[(frame["route"] == ROUTE) & (frame["outcome"] == "ok")] for frame in frames]
    latency_ms = np.concatenate([frame["latency_ms"] - (frame["network_ms"] if server else 0) for frame in ours])
    p50_ms, p99_ms = np.quantile(latency_ms, [0.5, 0.99], method="inverted_cdf")
    return float(p50_ms), float(p99_ms)


def with_log(p50_ms: float, p99_ms: float, *, taken_at: str = "client") -> tuple[Result, ...]:
    """The example's simulations, of a scenario whose log says this."""
    measured = {"p50_ms": p50_ms, "p99_ms": p99_ms, "requests": 5_000, "taken_at": taken_at, "source": "ours.csv"}
    scenario = example_plan().scenario.vary(f"routes.{ROUTE}.measured", measured)
    return tuple(replace(run, scenario=scenario) for run in example_plan().simulated)


def plan_with_log(*numbers: float, taken_at: str = "client") -> Plan:
    simulated = with_log(*numbers, taken_at=taken_at)
    return replace(example_plan(), scenario=simulated[0].scenario, simulated=simulated)


def test_without_a_log_there_is_nothing_to_say() -> None:
    assert beside_log(example_plan().simulated) == ()
    assert beside_log(()) == ()
    assert said((), scenario="launch") == ""


def test_the_models_own_latencies_contradict_nothing() -> None:
    rows = beside_log(with_log(*quantiles_ms()))
    assert [(row.route, row.statistic) for row in rows] == [(ROUTE, "p50"), (ROUTE, "p99")]
    assert all(abs(row.errors["client"].value) < 0.03 for row in rows)
    assert contradictions(rows) == ()
    assert "does not contradict" in said(rows, scenario="launch")


@given(factor=st.one_of(st.floats(0.2, 0.5), st.floats(2.0, 5.0)))
@settings(max_examples=10, deadline=None)
def test_a_log_that_is_elsewhere_by_a_factor_is_contradicted_by_that_factor(factor: float) -> None:
    p50_ms, p99_ms = quantiles_ms()
    rows = beside_log(with_log(factor * p50_ms, factor * p99_ms))
    for row in rows:
        assert row.errors["client"].value == pytest.approx(1 / factor - 1, rel=0.1, abs=0.03)
    assert rows[0] in contradictions(rows)


def test_a_server_log_is_held_against_the_model_without_the_network() -> None:
    rows = beside_log(with_log(*quantiles_ms(server=True), taken_at="server"))
    assert all(set(row.modelled) == {"server"} for row in rows)
    assert all(abs(row.errors["server"].value) < 0.03 for row in rows)
    assert contradictions(rows) == ()


def test_an_interval_that_nobody_gave_is_that_of_lognormal_requests_and_is_said_to_be_assumed() -> None:
    """By 4,000 logs of 5,000 requests: the interval of one holds the true quantile in 95 %."""
    p50_ms, p99_ms = quantiles_ms()
    rows = beside_log(with_log(p50_ms, p99_ms))
    logs = np.random.default_rng(5).normal(size=(4_000, 5_000)) * np.log(p99_ms / p50_ms) / 2.3263
    for row, q in zip(rows, (0.5, 0.99), strict=True):
        assert row.logged.method == ASSUMED
        half = np.log(row.logged.high / row.logged.value)
        true, drawn = np.log(row.logged.value / p50_ms), np.quantile(logs, q, axis=1)
        assert float(np.mean(np.abs(drawn - true) <= half)) == pytest.approx(0.95, abs=0.02)
    assert INTERVALS_ASSUMED in logged(rows).caption


def test_an_interval_that_is_given_is_used() -> None:
    measured = {"p50_ms": 40.0, "p50_low_ms": 39.0, "p50_high_ms": 42.0, "p99_ms": 40.0, "requests": 9, "source": "x"}
    scenario = example_plan().scenario.vary(f"routes.{ROUTE}.measured", measured)
    of_p50, of_p99 = beside_log([replace(run, scenario=scenario) for run in example_plan().simulated])
    assert (of_p50.logged.low, of_p50.logged.high, of_p50.logged.method) == (39.0, 42.0, OF_LOG)
    assert of_p99.logged.low == of_p99.logged.high == 40.0, "two equal quantiles leave no law to assume"


@pytest.mark.parametrize("server", [True, False])
def test_where_the_clock_is_unknown_one_reading_that_agrees_contradicts_nothing(server: bool) -> None:
    row = beside_log(with_log(*quantiles_ms(server=server), taken_at="unknown"))[0]
    assert set(row.modelled) == {"client", "server"}
    assert row.modelled["server"].value < row.modelled["client"].value
    assert row.verdict is Agreement.NOT_SETTLED
    assert row.reason == SAY_WHERE


def test_both_readings_that_differ_contradict_an_unknown_clock() -> None:
    p50_ms, p99_ms = quantiles_ms()
    rows = beside_log(with_log(10 * p50_ms, 10 * p99_ms, taken_at="unknown"))
    assert contradictions(rows) == rows[:1], "the P99 of so few requests is not bounded"
    sentence = said(rows, scenario="my app.toml")
    assert "contradicts your own log, wherever its clock was" in sentence
    assert "headroom calibrate 'my app.toml' RUN.parquet" in sentence


def test_the_table_has_a_line_for_each_place_and_says_what_the_log_holds() -> None:
    def lines(rows: tuple[LogRow, ...]) -> tuple[int, str]:
        return len(logged(rows).rows), logged(rows).caption

    count, caption = lines(beside_log(with_log(*quantiles_ms(), taken_at="unknown")))
    assert count == 4
    assert "is unknown" in caption
    count, caption = lines(beside_log(with_log(*quantiles_ms(), taken_at="server")))
    assert count == 2
    assert "at the server: the way to the client is not in it" in caption


def test_a_plan_says_it_and_keeps_its_verdict() -> None:
    p50_ms, p99_ms = quantiles_ms()
    plan = plan_with_log(3 * p50_ms, 3 * p99_ms)
    assert plan.verdict == example_plan().verdict
    assert plan.exit_status == example_plan().exit_status
    document: dict[str, Any] = plan_document(plan)
    assert [row["verdict"] for row in document["log"]] == [row.verdict for row in plan.logged]
    assert '"taken_at": "client"' in text_of(document)


def test_page_and_terminal_say_it_beside_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = ("headroom", "latency", "parts", "comparison", "cost", "sensitivity")
    monkeypatch.setattr("sim.report.page.report_figures", lambda _: dict.fromkeys(sections, ()))
    p50_ms, p99_ms = quantiles_ms()
    plan = plan_with_log(3 * p50_ms, 3 * p99_ms)
    page = report_html(plan)
    box = page[page.index('class="verdict') : page.index('id="targets"')]
    assert "<strong>This verdict contradicts your own log" in box
    assert page.index('id="targets"') < page.index('id="log"') < page.index('id="headroom"')
    assert "contradicts your own log" in summary(plan)
    assert 'id="log"' not in report_html(example_plan())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"p99_ms": 1.0}, "p99_ms >= p50_ms"),
        ({"p50_low_ms": 11.0}, "holds p50_ms"),
        ({"p99_low_ms": 10.0, "p99_high_ms": 11.0}, "holds p99_ms"),
        ({"p99_high_ms": 30.0}, "p99_low_ms beside"),
        ({"requests": 0}, "requests"),
        ({"taken_at": "edge"}, "taken_at"),
        ({"p50_ms": -1.0}, "p50_ms"),
        ({"source": ""}, "source"),
    ],
)
def test_a_log_that_cannot_be_is_refused_in_one_line(change: dict[str, Any], rule: str) -> None:
    measured = {"p50_ms": 10.0, "p99_ms": 20.0, "requests": 10, "source": "ours.csv", **change}
    with pytest.raises(ScenarioError, match=rule) as refused:
        load_scenario("launch").vary(f"routes.{ROUTE}.measured", measured)
    assert "\n" not in str(refused.value)
