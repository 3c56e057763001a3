"""What the load driver itself can do, beside other tools; writes docs/DRIVER.md.

    python -m tests.evidence.driver [--out docs/DRIVER.md] [--repeats 5]

Everything is on loopback. The load generator and the server have a processor each; every number is the median of the
repetitions, with the least and the greatest beside it, and the tools take turns so that other work on the machine falls
on all of them. About six minutes. Needs Linux; wrk and hey where they are compared (``apt-get install wrk hey``).
"""

import argparse
import csv
import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from sim import load_scenario
from sim.runners.load.floor import Floor, floor_of
from sim.runners.load.trivial_server import trivial_server
from tests.support import schedules

RATES_PER_S = (500, 1000, 2000, 3000, 4000)
SECONDS = 5.0
GOAL_PER_S, GOAL_LAG_MS = 3000, 5.0

COMPARED_PER_S, DELAY_S, AGREE = 1000, 0.020, 0.10
STALL_PER_S, STALL_SECONDS, STALL_S = 200, 10.0, 1.0
STALL_REPEATS = 3

DRIVER_ON, SERVER_ON = 0, 1
RATE_COLUMNS = ("send lag P50, ms", "send lag P99, ms", "latency P50, ms", "latency P99, ms")

UNIT_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Quantiles:
    """P50 and P99 of one run in ms, and the rate that it reached."""

    rate_per_s: float
    p50_ms: float
    p99_ms: float


def steady(rate_per_s: float, seconds: float) -> Floor:
    """Send at equal distances to a server that answers at once."""
    with trivial_server(processor=SERVER_ON) as url:
        return ours(url, rate_per_s, seconds)


def ours(url: str, rate_per_s: float, seconds: float) -> Floor:
    """Send at equal distances with our driver."""
    times_ms = np.arange(int(rate_per_s * seconds)) * 1000 / rate_per_s
    return floor_of(load_scenario("launch"), schedules.at(times_ms), url=url)


def hey(url: str, rate_per_s: float, seconds: float) -> Quantiles:
    """Send with hey: workers that wait for their answers, each at its part of the rate."""
    workers = max(int(rate_per_s * DELAY_S * 2), 2)
    command = ["hey", "-n", str(int(rate_per_s * seconds)), "-c", str(workers), "-q", f"{rate_per_s / workers:g}"]
    text = _run([*command, "-o", "csv", f"{url}/health"])
    rows = list(csv.DictReader(io.StringIO(text)))
    times_ms = np.array([float(row["response-time"]) for row in rows]) * 1000
    sent_s = np.array([float(row["offset"]) for row in rows])
    return Quantiles(len(rows) / max(float(np.ptp(sent_s)), 1e-9), *np.quantile(times_ms, (0.5, 0.99)).tolist())


def wrk(url: str, rate_per_s: float, seconds: float) -> Quantiles:
    """Send with wrk: as many connections as keep the rate busy, each sending when its answer has come."""
    connections = max(int(rate_per_s * DELAY_S), 1)
    text = _run(["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", f"{url}/health"])
    found = {
        share: float(value) * UNIT_MS[unit] for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)
    }
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None
    return Quantiles(float(rate[1]), found["50"], found["99"])


def raw(url: str, rate_per_s: float, seconds: float) -> Quantiles:
    """Send with our driver; latency from the actual send, which is all that the others can count from."""
    found = ours(url, rate_per_s, seconds)
    return Quantiles(found.rate_per_s, found.service_ms_p50, found.service_ms_p99)


def corrected(url: str, rate_per_s: float, seconds: float) -> Quantiles:
    """Send with our driver; latency from the intended send."""
    found = ours(url, rate_per_s, seconds)
    return Quantiles(found.rate_per_s, found.latency_ms_p50, found.latency_ms_p99)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def compared(
    tools: dict[str, Callable[[str, float, float], Quantiles]],
    rate_per_s: float,
    seconds: float,
    *,
    repeats: int,
    stall: bool,
) -> dict[str, list[Quantiles]]:
    """Let each tool in turn send to a server of its own; return its runs."""
    found: dict[str, list[Quantiles]] = {name: [] for name in tools}
    for _ in range(repeats):
        for name, tool in tools.items():
            at = int(rate_per_s * seconds / 2) if stall else 0
            with trivial_server(
                delay_s=DELAY_S, stall_at_request=at, stall_s=STALL_S if stall else 0.0, processor=SERVER_ON
            ) as url:
                found[name].append(tool(url, rate_per_s, seconds))
    return found


def spread(values: Sequence[float], digits: str = ".3g") -> str:
    """Median, and least and greatest in brackets."""
    return f"{median(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def rate_table(runs: dict[int, list[Floor]]) -> str:
    """One row for each rate."""
    lines = [
        f"| asked, requests/s | sent, requests/s | {' | '.join(RATE_COLUMNS)} | of a core |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rate, floors in runs.items():
        columns = [
            [floor.rate_per_s for floor in floors],
            [floor.check.send_lag_ms_p50 for floor in floors],
            [floor.check.send_lag_ms_p99 for floor in floors],
            [floor.service_ms_p50 for floor in floors],
            [floor.service_ms_p99 for floor in floors],
        ]
        cells = [spread(columns[0], ".0f"), *(spread(column) for column in columns[1:])]
        cpu = f"{median([floor.check.cpu_ratio for floor in floors]):.0%}"
        lines.append(f"| {rate:,} | {' | '.join(cells)} | {cpu} |")
    return "\n".join(lines)


def tool_table(runs: dict[str, list[Quantiles]], *, against: str) -> str:
    """One row for each tool, with its ratio to ours."""
    base = {name: median([getattr(run, name) for run in runs[against]]) for name in ("p50_ms", "p99_ms")}
    lines = [
        "| tool | sent, requests/s | P50, ms | P99, ms | P50 / ours | P99 / ours |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in runs.items():
        rates, p50, p99 = ([getattr(run, field) for run in found] for field in ("rate_per_s", "p50_ms", "p99_ms"))
        ratios = f"{median(p50) / base['p50_ms']:.2f} | {median(p99) / base['p99_ms']:.2f}"
        lines.append(f"| {name} | {spread(rates, '.0f')} | {spread(p50)} | {spread(p99)} | {ratios} |")
    return "\n".join(lines)


def agreement(runs: dict[str, list[Quantiles]], *, against: str) -> str:
    """Say whether the medians agree, tool by tool."""
    own = _medians(runs[against])
    said = []
    for name, found in runs.items():
        if name == against:
            continue
        ratios = [other / mine for other, mine in zip(_medians(found), own, strict=True)]
        apart = [label for label, ratio in zip(("P50", "P99"), ratios, strict=True) if abs(ratio - 1) > AGREE]
        far = f"{' and '.join(apart)} more than {AGREE:.0%} apart"
        said.append(f"{name}: {far if apart else f'both within {AGREE:.0%}'}")
    return "; ".join(said) or "No other tool is installed, so nothing was compared"


def _medians(runs: list[Quantiles]) -> tuple[float, float]:
    return median([run.p50_ms for run in runs]), median([run.p99_ms for run in runs])


def page(
    rates: dict[int, list[Floor]],
    same: dict[str, list[Quantiles]],
    stalled: dict[str, list[Quantiles]],
    *,
    repeats: int,
) -> str:
    """The whole page."""
    lag = median([floor.check.send_lag_ms_p99 for floor in rates[GOAL_PER_S]])
    sent = median([floor.rate_per_s for floor in rates[GOAL_PER_S]])
    met = sent >= 0.98 * GOAL_PER_S and lag < GOAL_LAG_MS
    busy = os.getloadavg()[0]
    missing = [tool for tool in ("wrk", "hey") if shutil.which(tool) is None]
    left_out = f" Not installed, so left out: {', '.join(missing)}." if missing else ""
    return f"""# The load driver, measured

Written by `python -m tests.evidence.driver`. Medians of {repeats} runs (least to greatest in brackets) on loopback.
{os.cpu_count()} processors: the generator has one, the server another. Load average at the end: {busy:.1f}. The
measurement itself makes about 2; what is above that is other work, which competes for the same processors and makes the
driver late.

## How fast one process sends

A server that answers at once; {SECONDS:g} s for each rate. Send lag is the lateness of the driver: actual minus
intended send.

{rate_table(rates)}

Goal: {GOAL_PER_S:,} requests/s with a send lag P99 below {GOAL_LAG_MS:g} ms.
Measured: {sent:,.0f} requests/s and {lag:.2g} ms: {"met" if met else "**not met in this measurement**"}.

## Agreement with other tools

A server that takes {DELAY_S * 1000:g} ms for each answer, about {COMPARED_PER_S:,} requests/s, {SECONDS:g} s.
wrk and hey are closed loops: a connection sends when its answer has come, so they count from the actual send, and our
row does the same here.{left_out}

{tool_table(same, against="headroom, raw")}

{agreement(same, against="headroom, raw")}.

## What a stall looks like

The same server stands still once for {STALL_S:g} s; about {STALL_PER_S} requests/s, {STALL_SECONDS:g} s,
{STALL_REPEATS} runs. {STALL_PER_S * STALL_S:g} of {STALL_PER_S * STALL_SECONDS:,.0f} requests should have been sent
meanwhile.
An open loop sends them and counts their wait. A closed loop does not send them. hey reports what it sent, and of
that a handful met the stall. wrk sends no more than hey, but fills in the requests that it assumes it
missed (`stats_correct` in its source), so its P99 knows of the stall by assumption.

{tool_table(stalled, against="headroom, from the intended send")}
"""


def main() -> None:
    """Measure and write the page."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    asked.add_argument("--out", type=Path, default=Path("docs/DRIVER.md"))
    asked.add_argument("--repeats", type=int, default=5)
    how = asked.parse_args()
    os.sched_setaffinity(0, {DRIVER_ON})
    tools = {name: tool for name, tool in (("wrk", wrk), ("hey", hey)) if shutil.which(name)}
    rates: dict[int, list[Floor]] = {rate: [] for rate in RATES_PER_S}
    for _ in range(how.repeats):
        for rate, floors in rates.items():
            floors.append(steady(rate, SECONDS))
    same = compared({"headroom, raw": raw, **tools}, COMPARED_PER_S, SECONDS, repeats=how.repeats, stall=False)
    own = {"headroom, from the intended send": corrected}
    stalled = compared({**own, **tools}, STALL_PER_S, STALL_SECONDS, repeats=STALL_REPEATS, stall=True)
    how.out.write_text(page(rates, same, stalled, repeats=how.repeats), encoding="utf-8")


if __name__ == "__main__":
    main()
