"""Hazards of probes, alert lines and deployments, simulated beside their formulas.

Goal: how long an outage goes unseen, what a probe can prove, and what a deployment costs. Method: outages are faults of
the scenario, so the windows that a run had are known to the millisecond; probes are requests of it.
"""

from math import exp, log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim import judge
from sim.judgement.targets import Verdict
from sim.results.phases import spans_of
from sim.results.result import Result
from sim.scenario.scenario import Scenario
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, error_of_a_share, played, shown

PROBE_S = 300.0
"""The brief's health check: every five minutes."""
BUDGET_S = 1e-4 * 30 * 86_400
"""What 99.99 % allows a month to be out: 259 s."""


def failing(rate_per_s: float, requests: int, *faults: dict[str, Any], kind: str = "constant") -> Scenario:
    """Requests that read a database which has faults."""
    scenario = of_steps("d1.read", scenario=KNOWN_TIMES.with_(**at_rate(rate_per_s, requests, kind=kind)))
    return scenario.vary("faults", [{"instance": "d1", "kind": "outage", **fault} for fault in faults])


# --- Detection ------------------------------------------------------------------------------------


def detected_after_s(result: Result) -> Any:
    """From the start of each outage to the first probe that failed; NaN for one that no probe met; shape (outages,)."""
    frame = result.frame
    sent_ms = frame["arrival_ms"].to_numpy()
    spans = [(span.start_ms, span.end_ms) for span in spans_of(result) if span.end_ms < sent_ms[-1]]
    starts, ends = np.array(spans).T
    first = np.searchsorted(sent_ms, starts)
    assert (frame["outcome"].to_numpy()[first[sent_ms[first] < ends]] == "error").all()
    return np.where(sent_ms[first] < ends, sent_ms[first] - starts, np.nan) / 1_000


def test_h12_outages_longer_than_the_probes_interval() -> None:
    """Starts spread evenly over the interval: half of it on average, which is 58 % of a month's budget."""
    outages, every_s = 500, 4_117.3
    fault = {"at_s": 1_000, "duration_s": 600, "every_s": every_s}
    requests = int(outages * every_s / PROBE_S)
    after_s = detected_after_s(played(failing(1 / PROBE_S, requests, fault), requests))
    assert not np.isnan(after_s).any()
    shown("H12", "seconds to detect an outage", formula=PROBE_S / 2, simulated=after_s.mean(), within=0.02)
    share = after_s.mean() / BUDGET_S
    shown("H12", "share of a month's budget that detection takes", formula=0.5787, simulated=share, within=0.02)


def test_h12_outages_that_no_probe_meets() -> None:
    """Of exponential length with mean T: seen is 1 - e^-1 of them, after T (1 - 2/e) / (1 - 1/e) on average."""
    requests = 30_000
    fault = {"mean_between_s": 4_000, "mean_length_s": PROBE_S}
    after_s = detected_after_s(played(failing(1 / PROBE_S, requests, fault), requests))
    assert len(after_s) > 1_800
    missed = np.isnan(after_s).mean()
    within = error_of_a_share(exp(-1), len(after_s))
    shown("H12", "share of random outages missed, 300 s on average", formula=exp(-1), simulated=missed, within=within)
    formula = PROBE_S * (1 - 2 * exp(-1)) / (1 - exp(-1))
    mean_s = np.nanmean(after_s)
    shown("H12", "seconds to detect those that are seen", formula=formula, simulated=mean_s, within=0.08)
    short = {"at_s": 1_000, "duration_s": 100, "every_s": 4_117.3}
    missed = np.isnan(detected_after_s(played(failing(1 / PROBE_S, 6_000, short), 6_000))).mean()
    shown("H12", "share of outages of 100 s missed", formula=1 - 100 / PROBE_S, simulated=missed, within=0.02)


def test_h12_confirmations_add_an_interval_each() -> None:
    """An alert after three failed probes in a row comes two intervals later."""
    fault = {"at_s": 1_000, "duration_s": 1_200, "every_s": 4_117.3}
    result = played(failing(1 / PROBE_S, 6_000, fault), 6_000)
    failed = (result.frame["outcome"] == "error").to_numpy()
    third = np.flatnonzero(failed[2:] & failed[1:-1] & failed[:-2]) + 2
    third = third[~failed[third - 3]]
    sent_s = result.frame["arrival_ms"].to_numpy()[third] / 1_000
    starts_s = np.array([span.start_ms for span in spans_of(result)])[: len(third)] / 1_000
    mean_s = (sent_s - starts_s).mean()
    formula = PROBE_S / 2 + 2 * PROBE_S
    shown("H12", "seconds to an alert after 3 failed probes", formula=formula, simulated=mean_s, within=0.02)


@pytest.mark.parametrize(("probes", "chance"), [(8_640, 1e-4), (29_956, 1e-4), (8_640, 3.467e-4)])
def test_h47_what_probes_can_prove(probes: int, chance: float) -> None:
    """A service that meets 99.99 % exactly fails the month's probes more often than not; 29,956 are clean in 5 %."""
    months, runs = 300, 4
    frames = []
    for seed in range(runs):
        changes = {"system.d1.error_chance": chance, "system.d1.read_retries": 0, "system.d1.rtt_ms": 0.0}
        requests = probes * months // runs
        scenario = of_steps(
            "d1.read", scenario=KNOWN_TIMES.with_(**changes, **at_rate(10.0, requests, kind="constant"))
        )
        frames.append((played(scenario, requests, seed=seed).frame["outcome"] == "error").to_numpy())
    failed = np.concatenate(frames).reshape(months, probes).any(axis=1).mean()
    formula = 1 - (1 - chance) ** probes
    what = f"share of months with a failed probe of {probes:,}, availability {1 - chance:.4%}"
    shown("H47", what, formula=formula, simulated=failed, within=error_of_a_share(formula, months))


def test_h48_an_alert_line_of_ten_times_the_budget() -> None:
    """Thirty days without an error, then an outage: the share of the last thirty days crosses 0.1 % after 2,592 s."""
    days, rate_per_s = 30, 0.1
    window = int(days * 86_400 * rate_per_s)
    requests = window + 1_000
    scenario = failing(rate_per_s, requests, {"at_s": days * 86_400, "duration_s": 5_000})
    result = played(scenario, requests)
    failed = np.cumsum((result.frame["outcome"] == "error").to_numpy())
    share = (failed[window:] - failed[:-window]) / window
    sent_s = result.frame["arrival_ms"].to_numpy()[window:] / 1_000 - days * 86_400
    fired_s = {line: sent_s[np.argmax(share >= line)] for line in (1e-3, 1e-4)}
    shown("H48", "seconds of outage until 99.9 % alerts", formula=2_592, simulated=fired_s[1e-3], within=0.01)
    shown("H48", "seconds of outage until 99.99 % is missed", formula=BUDGET_S, simulated=fired_s[1e-4], within=0.05)


def test_h49_between_target_and_alert_line() -> None:
    """M/M/1: the P99 is 200 ms at mu - ln(100) / 0.2 and 500 ms at mu - ln(100) / 0.5; between them nothing fires."""
    requests, mu = 1_000_000, 200.0
    read = {"distribution": "exponential", "mean": 1_000 / mu}
    rates = (170.0, 175.0, 180.0, 185.0, 189.0, 192.0, 196.0)
    p99_ms, verdicts = [], {}
    for rate in rates:
        scenario = of_steps(
            "d1.read", scenario=KNOWN_TIMES.with_(**{"system.d1.read_ms": read}, **at_rate(rate, requests))
        )
        result = played(scenario, requests)
        p99_ms.append(result.frame["latency_ms"].quantile(0.99))
        rows = judge(result)
        verdicts[rate] = next(row.verdict for row in rows if row.metric == "api_latency_ms" and row.statistic == "p99")
    # 1 / P99 is linear in the rate.
    low, high = np.interp([1 / 500, 1 / 200], 1 / np.array(p99_ms[::-1]), rates[::-1])
    formula = log(100) * 1_000 * (1 / 200 - 1 / 500)
    shown("H49", "requests/s between target and alert, mu = 200/s", formula=formula, simulated=low - high, within=0.1)
    assert verdicts[170.0] is Verdict.PASS
    assert {verdicts[rate] for rate in (185.0, 189.0)} == {Verdict.WARN}, "the target is missed and nobody is paged"
    assert verdicts[196.0] is Verdict.ALERT


def test_h52_a_check_on_the_platform_that_it_checks() -> None:
    """The check's Worker is down with the platform and reports nothing: it sees the outages of the database only."""
    requests = 100_000
    changes = at_rate(1.0, requests)
    both = {"mean_between_s": 60, "mean_length_s": 10}
    faults = [{"instance": name, "kind": "outage", **both} for name in ("workers", "d1")]
    scenario = of_steps("workers.compute", "d1.read", scenario=KNOWN_TIMES.with_(**changes)).vary("faults", faults)
    frame = played(scenario, requests).frame
    down = (frame["outcome"] == "error").to_numpy()
    reported = down & (frame["worker_cpu_ms"] > 0).to_numpy()
    down_share = 10 / 70
    formula = down_share * (1 - down_share) / (1 - (1 - down_share) ** 2)
    seen = reported.sum() / down.sum()
    shown("H52", "share of the downtime that such a check reports", formula=formula, simulated=seen, within=0.08)


def test_h52_a_dead_mans_switch_sees_what_the_check_cannot() -> None:
    """Each check that ran is a sign of life; the alarm comes when two are missing: 1.5 intervals after the start."""
    fault = {"at_s": 1_000, "duration_s": 1_200, "every_s": 4_117.3}
    result = played(failing(1 / PROBE_S, 6_000, fault), 6_000)
    frame = result.frame
    signs_ms = frame.loc[frame["outcome"] == "ok", "arrival_ms"].to_numpy()
    starts_ms = np.array([span.start_ms for span in spans_of(result) if span.end_ms < signs_ms[-1]])
    last_ms = signs_ms[np.searchsorted(signs_ms, starts_ms) - 1]
    mean_s = (last_ms + 2 * PROBE_S * 1_000 - starts_ms).mean() / 1_000
    what = "seconds until two signs of life are missing"
    shown("H52", what, formula=1.5 * PROBE_S, simulated=mean_s, within=0.02)


@pytest.mark.parametrize("together", [True, False])
def test_h50_parts_that_fail_together(together: bool) -> None:
    """Three parts that are up 90 % of the time: 0.9 if they share a region, 0.9 cubed if each fails for itself."""
    requests, names = 100_000, ["part0", "part1", "part2"]
    parts = {f"system.{name}": {"like": "d1", "component": "d1"} for name in names}
    steps = [f"{name}.read" for name in names]
    scenario = of_steps(*steps, scenario=KNOWN_TIMES.with_(**parts, **at_rate(1.0, requests)))
    fault = {"kind": "outage", "mean_between_s": 90, "mean_length_s": 10}
    apart = [{"instance": name, **fault} for name in names]
    region = [{"instance": names[0], "together_with": names[1:], **fault}]
    frame = played(scenario.vary("faults", region if together else apart), requests).frame
    up = (frame["outcome"] == "ok").mean()
    what = f"availability of three parts up 90 %, failing {'together' if together else 'apart'}"
    shown("H50", what, formula=0.9 if together else 0.9**3, simulated=up, within=0.02)


# --- Deployments ----------------------------------------------------------------------------------


def test_h27_code_before_its_migration() -> None:
    """From the deployment until the migration the statements of the new column fail: rate x time x their share."""
    requests, rate_per_s, share = 100_000, 50.0, 0.3
    window = {"kind": "errors", "share": share, "at_s": 500, "duration_s": 600}
    frame = played(failing(rate_per_s, requests, window, kind="poisson"), requests).frame
    failed = (frame["outcome"] == "error").sum()
    formula = rate_per_s * 600 * share
    within = error_of_a_share(share, int(rate_per_s * 600))
    shown(
        "H27", "requests that fail until the migration, 10 min later", formula=formula, simulated=failed, within=within
    )
    for_ever = {"kind": "errors", "share": share, "at_s": 500, "duration_s": 1_500}
    frame = played(failing(rate_per_s, requests, for_ever, kind="poisson"), requests).frame
    still = (frame.loc[frame["arrival_ms"].between(1_900e3, 2_000e3), "outcome"] == "error").mean()
    shown("H27", "share that still fails without --remote", formula=share, simulated=still, within=0.09)


def test_h51_what_deployments_use_of_the_budget() -> None:
    """Ten deployments a day of 2 s each: 20 s of the 8.64 s that 99.99 % allows a day."""
    requests, rate_per_s, deploys, lasting_s = 864_000, 10.0, 10, 2.0
    fault = {"at_s": 4_000, "duration_s": lasting_s, "every_s": 8_640}
    frame = played(failing(rate_per_s, requests, fault), requests).frame
    used = (frame["outcome"] == "error").sum() / (1e-4 * requests)
    formula = deploys * lasting_s / (1e-4 * requests / rate_per_s)
    what = "times the budget of a day, ten deployments of 2 s"
    shown("H51", what, formula=formula, simulated=used, within=0.03)


def test_h51_objects_that_start_again() -> None:
    """Each object is cold once after each deployment, and once at the beginning."""
    objects, deploys, requests = 64, 5, 30_000
    changes: dict[str, Any] = {
        "workload.keys": {"count": objects, "zipf": 0},
        "system.durable_objects.cold_start_ms": 500.0,
        "system.durable_objects.evict_idle_ms": 1e9,
        **at_rate(50.0, requests),
    }
    scenario = of_steps("durable_objects.read", scenario=KNOWN_TIMES.with_(**changes))
    deploy = {"instance": "durable_objects", "kind": "deploy", "at_s": 100, "every_s": 100}
    frame = played(scenario.vary("faults", [deploy]), requests).frame
    cold = (frame["durable_objects_ms"] > 500).sum()
    assert frame["arrival_ms"].max() > 550_000
    what = f"cold starts of {objects} objects in {deploys} deployments"
    shown("H51", what, formula=objects * (deploys + 1), simulated=cold, within=0)


def test_h51_a_wave_of_reconnections() -> None:
    """Every client of a room is dropped and comes back at once: the last one waits for all others."""
    members, connect_ms, cold_ms = 400, 2.0, 50.0
    rooms = {
        "component": "websocket", "members": members, "connect_ms": connect_ms, "message_ms": 1.0, "send_us": 1.0,
        "message_bytes_max": 1_000_000, "hibernates": True, "hibernate_idle_ms": 10_000.0, "open_fraction": 1.0,
        "request_messages": 20,
    }  # fmt: skip
    changes: dict[str, Any] = {
        "system.rooms": rooms,
        "system.durable_objects.cold_start_ms": cold_ms,
        "workload.keys": {"count": 1, "zipf": 0},
        "workload.arrivals": {"kind": "closed", "users": members, "think_ms": 0.0},
        "workload.requests": members,
        "workload.warm_up_s": 0.0,
    }
    frame: pd.DataFrame = played(of_steps("rooms.connect", scenario=KNOWN_TIMES.with_(**changes)), members).frame
    last_ms = (frame["arrival_ms"] + frame["latency_ms"]).max() - frame["arrival_ms"].min()
    formula = cold_ms + members * connect_ms
    shown("H51", f"ms until {members} sockets are back", formula=formula, simulated=last_ms, within=1e-6)
