"""The highest rate at which a running deployment keeps its targets, found by loading it.

Each search doubles the rate until a target breaks, then halves the ratio between the highest rate that kept all targets
and the lowest that did not. It is repeated with other seeds; the answers' spread, and the last two rates of each, give
the interval. A rate is judged by the point estimates of one probe: probes are short, and the repetitions say what that
is worth.

The load generator has a limit of its own. A probe at which it was late or saturated says nothing of the deployment, and
the same rate is sent to a server on loopback that answers at once: where that is not far faster than the deployment,
the answer is INVALID.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 9.4 (interval from independent replications).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, inf, log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from sim.experiments.capacity import check_lasting
from sim.experiments.load import default_options, load
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.judgement.judge import judge
from sim.judgement.targets import Verdict
from sim.results.result import Result
from sim.runners.load.floor import Floor, floor_of
from sim.runners.load.options import LoadOptions
from sim.runners.load.self_check import SelfCheck
from sim.runners.play import RUNNERS, prepare
from sim.scenario.generation import schedule
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

PROBES_MAX = 16
"""Of one search: ten doublings and six halvings of the ratio span a thousandfold range to within 1 %."""

FLOOR_SHARE_MAX = 0.10
"""Of the P99 at the answer, the P99 of a server that takes no time may be a tenth, the smallest tolerance of a
comparison."""

FLOOR_S = 3.0


@dataclass(frozen=True)
class LoadProbe:
    """One rate, played once.

    Attributes
    ----------
    rate_per_s, achieved_per_s : float
    seed, requests : int
    p50_ms, p99_ms : float
    ok_share : float
    broken : tuple of str
        Targets that were missed, or why the run ended early; empty when all were kept.
    own_limit : bool
        Whether the load generator itself was the limit, so that nothing follows.
    """

    rate_per_s: float
    achieved_per_s: float
    seed: int
    requests: int
    p50_ms: float
    p99_ms: float
    ok_share: float
    broken: tuple[str, ...]
    own_limit: bool


@dataclass(frozen=True)
class MeasuredCapacity(Shown):
    """The answer of the search.

    Attributes
    ----------
    estimate : Estimate
        Highest rate in requests/s that keeps the targets, and its 95 % interval over the repetitions; *high* is
        infinite where nothing broke up to the cap.
    on : str
    limited_by : tuple of str
        What broke first.
    probes : tuple of LoadProbe
        In the order in which they were played.
    valid : bool
        False where the load generator was the limit.
    notes : tuple of str
    floor : Floor or None
        What the driver measures at that rate of a server that takes no time.
    """

    estimate: Estimate
    on: str
    limited_by: tuple[str, ...]
    probes: tuple[LoadProbe, ...]
    valid: bool
    notes: tuple[str, ...]
    floor: Floor | None = None

    def __repr__(self) -> str:
        rate = self.estimate
        what = "" if self.valid else "INVALID, "
        return f"<MeasuredCapacity {what}{rate.value:,.4g} requests/s, 95 % {rate.low:,.4g} to {rate.high:,.4g}>"


@dataclass(frozen=True)
class _Bracket:
    """The highest rate that kept the targets, and the lowest that did not: 0 and infinite where there is none."""

    kept_per_s: float
    broken_per_s: float
    limited_by: tuple[str, ...] = ()
    own_limit: bool = False

    @property
    def value(self) -> float:
        """The rate between both; the one that there is, where there is only one."""
        if not self.kept_per_s or self.broken_per_s == inf:
            return self.kept_per_s
        return sqrt(self.kept_per_s * self.broken_per_s)


class _Search:
    """Probes of one deployment."""

    def __init__(
        self,
        scenario: "Scenario",
        on: str,
        *,
        options: LoadOptions,
        step_s: float,
        processes: int,
        report: Callable[[str], None],
    ) -> None:
        self.scenario, self.on, self.options = scenario, on, options
        self.step_s, self.processes, self.report = step_s, processes, report
        self.probes: list[LoadProbe] = []

    def bracket(self, start_per_s: float, *, seed: int, most_per_s: float, tolerance_ratio: float) -> _Bracket:
        """Find the bracket from *start_per_s* with one seed."""
        found, rate_per_s = _Bracket(0.0, inf), min(start_per_s, most_per_s)
        for _ in range(PROBES_MAX):
            probe = self.probe(rate_per_s, seed=seed)
            if probe.own_limit:
                return replace(found, own_limit=True)
            if probe.broken:
                found = replace(found, broken_per_s=rate_per_s, limited_by=probe.broken)
            else:
                found = replace(found, kept_per_s=rate_per_s)
            if found.kept_per_s >= most_per_s or found.broken_per_s <= found.kept_per_s * (1 + tolerance_ratio):
                break
            rate_per_s = _next(found, rate_per_s, most_per_s)
        return found

    def probe(self, rate_per_s: float, *, seed: int) -> LoadProbe:
        """Play one rate."""
        self.report(f"seed {seed} at {rate_per_s:.4g} requests/s")
        result = self._play(rate_per_s, seed)
        check = SelfCheck.from_dict(result.generator)
        frame = result.steady().frame
        if not len(frame) and not result.interrupted:
            rule = f"holds no request at {rate_per_s:.3g} requests/s (a longer --duration)"
            raise UsageError(f"step_s={self.step_s:g} {rule}")
        judged = frame.loc[~frame["outcome"].isin(("skipped", "aborted")), "latency_ms"]
        p50_ms, p99_ms = judged.quantile([0.5, 0.99]).tolist() if len(judged) else (float("nan"), float("nan"))
        broken = _broken(result, check)
        found = LoadProbe(
            rate_per_s, check.achieved_per_s, seed, len(frame), p50_ms, p99_ms,
            float((frame["outcome"] == "ok").mean()) if len(frame) else 0.0, broken, check.own_limit and not broken,
        )  # fmt: skip
        self.probes.append(found)
        return found

    def _play(self, rate_per_s: float, seed: int) -> Result:
        result = self._played(rate_per_s, seed)
        if result.generator.get("stopped_because") == "Ctrl-C":
            raise KeyboardInterrupt
        return result

    def _played(self, rate_per_s: float, seed: int) -> Result:
        if self.on not in RUNNERS:
            return load(
                self.scenario,
                self.on,
                rate_per_s=rate_per_s / (1 + self.scenario.messages_per_request),
                duration_s=self.step_s,
                rng=seed,
                options=self.options,
                processes=self.processes,
            )
        from sim.runners import reference, workerd

        length = {"workload.duration_s": self.step_s * 1.1, "workload.warm_up_s": self.step_s * 0.1}
        at_rate = self.scenario.at_rate(rate_per_s).with_(**{**length, "workload.requests": None})
        runner = {"reference": reference, "workerd": workerd}[self.on]
        result: Result = runner.play(at_rate, schedule(at_rate, seed), seed=seed, options=self.options)
        return result


def load_capacity(
    scenario: "Scenario | str | Path",
    on: str,
    *,
    options: LoadOptions | None = None,
    start_per_s: float | None = None,
    step_s: float = 10.0,
    repeats: int = 3,
    tolerance_ratio: float = 0.1,
    processes: int = 1,
    rng: int | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> MeasuredCapacity:
    """Search the highest rate at which the deployment *on* keeps the scenario's targets.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
        With an open loop of arrivals.
    on : str
        A URL, or ``"reference"`` or ``"workerd"``, started anew for each probe.
    options : LoadOptions, optional
        Its caps bound every probe; ``caps.rate_per_s`` ends the search, four fifths of it where arrivals are random.
    start_per_s : float, optional
        First rate; by default a quarter of the scenario's own.
    step_s : float
        Seconds of each probe that are judged, after a warm-up of a tenth.
    repeats : int
        Independent searches, at least 2.
    tolerance_ratio : float
        A search ends when the rates that keep and break are this near.
    processes : int
        That share the sending to a URL.
    rng : int, optional
        First seed; by default the scenario's.
    on_progress : callable, optional
        Given each probe in a few words.

    Returns
    -------
    MeasuredCapacity

    Raises
    ------
    UsageError, RunnerError
        As :func:`sim.experiments.load.load`; also fewer than 2 repeats, or a model in place of a deployment.
    KeyboardInterrupt
        Ctrl-C.
    """
    asked = prepare(scenario)
    _check(asked, on, repeats=repeats, tolerance_ratio=tolerance_ratio)
    for name, value in (("start_per_s", start_per_s), ("step_s", step_s)):
        if value is not None and not 0 < value < inf:
            raise UsageError(f"{name}={value:g} must be > 0 and finite")
    options = options or (
        LoadOptions(abort=default_options("http://127.0.0.1").abort) if on in RUNNERS else default_options(on)
    )
    search = _Search(
        asked, on, options=options, step_s=step_s, processes=processes, report=on_progress or (lambda _: None)
    )
    first_seed = asked.seed if rng is None else rng
    most_per_s = min(0.8 * options.caps.rate_per_s, options.caps.requests / (1.1 * step_s))
    at_per_s = start_per_s or 0.25 * asked.arrivals.rate_per_s  # type: ignore[union-attr]  # checked above
    brackets: list[_Bracket] = []
    for number in range(repeats):
        found = search.bracket(
            at_per_s, seed=first_seed + number, most_per_s=most_per_s, tolerance_ratio=tolerance_ratio
        )
        brackets.append(found)
        if found.own_limit or not found.kept_per_s:
            break
        at_per_s = found.value / 1.5
    return _answer(search, brackets, most_per_s=most_per_s)


def _check(scenario: "Scenario", on: str, *, repeats: int, tolerance_ratio: float) -> None:
    if on in ("simpy", "compiled"):
        raise UsageError(f"on={on!r} is a model; headroom capacity searches it without load")
    check_lasting(scenario)
    if not hasattr(scenario.workload.arrivals, "rate_per_s"):
        kind = scenario.workload.arrivals.kind
        raise UsageError(f"workload.arrivals.kind={kind!r} must have a rate_per_s that the search can change")
    if repeats < 2:
        raise UsageError(f"repeats={repeats} must be >= 2: their variance gives the interval")
    if not 0 < tolerance_ratio < 1:
        raise UsageError(f"tolerance_ratio={tolerance_ratio:g} must be > 0 and < 1")


def _next(found: _Bracket, rate_per_s: float, most_per_s: float) -> float:
    if found.broken_per_s == inf:
        return min(2 * rate_per_s, most_per_s)
    if not found.kept_per_s:
        return rate_per_s / 2
    return sqrt(found.kept_per_s * found.broken_per_s)


def _broken(result: Result, check: SelfCheck) -> tuple[str, ...]:
    """Return what a probe broke: targets by their point estimates, or the run itself."""
    if result.interrupted:
        return (str(result.generator["stopped_because"]),)
    if check.throttled_requests:
        return (f"throttling (Retry-After up to {check.retry_after_s_max:g} s)",)
    if check.skipped_requests > 0.001 * check.planned_requests:
        return (f"more than {check.in_flight_requests} requests in flight",)
    rows = judge(replace(result, valid=True))
    missed = (row for row in rows if row.verdict is Verdict.ALERT or _beyond(row.value, row.target, row.direction))
    return tuple(row.name for row in missed)


def _beyond(value: float, target: float, direction: str) -> bool:
    return value > target if direction == "below" else value < target


def _answer(search: _Search, brackets: list[_Bracket], *, most_per_s: float) -> MeasuredCapacity:
    last = brackets[-1]
    notes: list[str] = []
    estimate = _estimate(brackets)
    if last.own_limit:
        notes.append(
            f"INVALID: at {search.probes[-1].rate_per_s:.4g} requests/s the load generator itself was the limit "
            "(more --processes, or a quieter machine)"
        )
    elif not last.kept_per_s:
        notes.append(f"no rate down to {search.probes[-1].rate_per_s:.4g} requests/s keeps every target")
    elif last.broken_per_s == inf:
        notes.append(f"nothing broke up to {most_per_s:.4g} requests/s, where the caps end the search (--max-rate)")
    floor = _floor(search, estimate) if last.kept_per_s else None
    notes += _against_floor(search, floor)
    return MeasuredCapacity(
        estimate=estimate,
        on=search.on,
        limited_by=next((one.limited_by for one in reversed(brackets) if one.limited_by), ()),
        probes=tuple(search.probes),
        valid=not any(note.startswith("INVALID") for note in notes),
        notes=tuple(notes),
        floor=floor,
    )


def _estimate(brackets: list[_Bracket]) -> Estimate:
    """Return the geometric mean of the answers; its interval holds the t interval and every search's last two rates."""
    low = min(one.kept_per_s for one in brackets)
    high = max(one.broken_per_s for one in brackets)
    values = [log(one.value) for one in brackets if one.value > 0]
    if not values:
        return Estimate(0.0, 0.0, high, len(brackets), "brackets")
    middle = float(np.mean(values))
    if len(values) > 1 and high < inf:
        half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / sqrt(len(values)))
        low, high = min(low, exp(middle - half)), max(high, exp(middle + half))
    return Estimate(exp(middle), low, high, len(values), "t interval of logs, with brackets")


def _floor(search: _Search, estimate: Estimate) -> Floor:
    """Send at the answer's rate to a server that takes no time."""
    search.report(f"floor of the load generator at {estimate.value:.4g} requests/s")
    length = {"workload.duration_s": FLOOR_S, "workload.warm_up_s": 0.0, "workload.requests": None}
    at_rate = search.scenario.at_rate(estimate.value).with_(**length)
    options = search.options
    planned = schedule(at_rate, at_rate.seed)
    return floor_of(at_rate, planned, connections=options.connections, keep_alive=options.keep_alive)


def _against_floor(search: _Search, floor: Floor | None) -> list[str]:
    kept = [probe for probe in search.probes if not probe.broken and not probe.own_limit]
    if floor is None or not kept:
        return []
    nearest = max(kept, key=lambda probe: probe.rate_per_s)
    if not floor.too_slow and floor.latency_ms_p99 <= FLOOR_SHARE_MAX * nearest.p99_ms:
        return []
    rule = f"must be at most a tenth of the {nearest.p99_ms:.3g} ms measured (a quieter machine, or more processes)"
    return [
        f"INVALID: a server that takes no time has a P99 of {floor.latency_ms_p99:.3g} ms at this rate, which {rule}"
    ]
