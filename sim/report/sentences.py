"""What a plan found, in sentences: the answer, the headroom, what the measurement says, and what nobody tested."""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from sim.experiments.durations import START_S
from sim.foundation.version import __version__
from sim.judgement.judge import judge
from sim.judgement.targets import Verdict
from sim.report.lower_loads import below, from_about, held
from sim.report.wording import (
    amount,
    assumption,
    component_name,
    error_span,
    line_of,
    listed,
    percent,
    significant,
    span,
    target_name,
    target_names,
)

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.plan import Plan
    from sim.judgement.cost import Cost
    from sim.judgement.judge import TargetRow
    from sim.results.result import Result

SAME_RATE = 0.1
"""Rates that differ by less are the same."""

INVALID = "INVALID: "
"""How the notes of a run begin that say why no verdict may rest on it."""


def summary(plan: "Plan") -> str:
    """A plan in half a line: what was asked, the verdict, the capacity."""
    met = sum(row.verdict == Verdict.PASS for row in plan.targets)
    parts = [f"{plan.scenario.name}: {plan.verdict}", f"{met} of {len(plan.targets)} targets met"]
    if plan.capacity is not None:
        least = from_about(plan.capacity)
        rate = f"capacity {_rate(plan, plan.capacity.estimate.value)}"
        parts.append(f"{rate} ({least})" if least else rate)
    parts += [f"{len(plan.simulated)} simulations", f"seed {plan.seed}"]
    return ", ".join(parts) + (", interrupted" if plan.interrupted else "")


def answer(plan: "Plan") -> str:
    """What a plan found, in one sentence."""
    rows = plan.targets
    if not rows:
        return "Nothing is judged: the plan was stopped before its simulation ended."
    met = [row for row in rows if row.verdict == Verdict.PASS]
    if len(met) == len(rows):
        whole = f"All {len(rows)} targets are met, each with its whole 95 % interval"
        return (
            f"{whole}."
            if plan.verdict == Verdict.PASS
            else f"{whole}, but {_reservation(plan)}, so nothing is settled."
        )
    parts = [f"{len(met)} of {len(rows)} targets are met", *_missed(rows), *_open(rows)]
    return "; ".join(parts) + "."


def _reservation(plan: "Plan") -> str:
    return "the plan was interrupted" if plan.interrupted else "the measurement does not confirm the model"


def _missed(rows: Sequence["TargetRow"]) -> list[str]:
    """Targets that are missed for certain, with by how much."""
    missed = [row for row in rows if row.verdict in (Verdict.WARN, Verdict.ALERT)]
    if not missed:
        return ["none is missed for certain"]
    beyond = [row.name for row in missed if row.verdict == Verdict.ALERT]
    names = listed([f"{target_name(row.name)} ({_against(row)})" for row in missed])
    tail = f"{target_names(beyond)} beyond the alert line" if beyond else "none beyond its alert line"
    return [f"{names} {'is' if len(missed) == 1 else 'are'} missed, {tail}"]


def _against(row: "TargetRow") -> str:
    lines = (row.target, row.alert)
    follows = f", which follows from your assumption {row.follows_from}" if row.follows_from else ""
    return f"{amount(row.value, row.unit, apart_from=lines)} against {line_of(row.target, row.unit)}{follows}"


def _open(rows: Sequence["TargetRow"]) -> list[str]:
    """Targets that the numbers do not settle."""
    names = [row.name for row in rows if row.verdict in (Verdict.INCONCLUSIVE, Verdict.INVALID)]
    return [f"{target_names(names)} {'is' if len(names) == 1 else 'are'} not settled"] if names else []


def headroom(plan: "Plan") -> str:
    """How far today's load is from the capacity; empty without one."""
    if plan.capacity is None:
        return ""
    rate, today_per_s = plan.capacity.estimate, load_per_s(plan)
    interval = f"95 % interval {span(rate.low, rate.high, unit='requests/s')}"
    times = rate.value / today_per_s if today_per_s else float("inf")
    limits, bottleneck = plan.capacity.limited_by, component_name(plan.capacity.bottleneck)
    end = (
        f"beyond that {bottleneck} is overloaded"
        if plan.capacity.ends_in_overload
        else f"beyond that {target_names(limits)} {_break(len(limits))} first, and the slowest requests wait longest "
        f"for {bottleneck}"
    )
    today = f"{'peak of ' if plan.scenario.demand is not None else ''}{_rate(plan, today_per_s)}"
    return (
        f"{held(plan.capacity)}{plan.scenario.both_rates(rate.value)} ({interval}), {significant(times)} times today's "
        f"{today}; {end}.{_because(plan.capacity)}{_after_start(plan.capacity)}{_but_today(plan)}"
    )


def _rate(plan: "Plan", rate_per_s: float) -> str:
    """A rate, and how much of it are requests and messages on WebSockets if there are any."""
    return f"{significant(rate_per_s)} requests/s{plan.scenario.both_rates(rate_per_s)}"


def lower_load(plan: "Plan") -> str:
    """What the demand's mean load, or another lower one, misses of what the capacity keeps; empty if nothing."""
    return below(plan.capacity) if plan.capacity is not None else ""


def _because(found: "Capacity") -> str:
    """The assumption that limits the answer, and whether the answer holds in the long run."""
    said = "" if found.assumption is None else f" It is limited by your assumption {assumption(found.assumption)}."
    if found.settled:
        return said
    return f"{said} It holds for runs of about {significant(found.longest_s / 60)} min: longer runs still change it."


def _after_start(found: "Capacity") -> str:
    """The rate that meets the targets after a start from empty."""
    rate = found.cold_start
    if rate is None:
        return ""
    start = f"In the first {START_S / 60:.0f} minutes after a cold start or a deploy,"
    kept = "the same targets hold up to" if found.lower.missed_at is None else "the highest load is"
    if not rate.value:
        return f" {start} the same targets hold at no load."
    if rate.value >= found.estimate.value:
        return f" {start} {kept} the same{' rate' if found.lower.missed_at is None else ''}."
    interval = f"95 % interval {span(rate.low, rate.high, unit='requests/s')}"
    return f" {start} {kept} {significant(rate.value)} requests/s ({interval})."


def _but_today(plan: "Plan") -> str:
    """A warning, if a target that holds at higher loads is missed at today's, as when all objects are cold."""
    assert plan.capacity is not None
    missed = [row.name for row in plan.targets if row.verdict in (Verdict.WARN, Verdict.ALERT)]
    names = [name for name in plan.capacity.kept if name in missed]
    if not names:
        return ""
    return (
        f" At today's load, however, {target_names(names)} {'is' if len(names) == 1 else 'are'} missed: see the figure."
    )


def _break(count: int) -> str:
    return "breaks" if count == 1 else "break"


def played(plan: "Plan") -> str:
    """What the load that is played is called: a month's peak where its volume is known too."""
    return "peak" if plan.scenario.demand is not None else "load"


def free_plan(bill: "Cost") -> str:
    """Which bound of the provider's Free plan is reached first, and when."""
    found = bill.first_of_free_plan
    if found is None:
        return "On the Free plan no limit is reached within three years at this volume."
    when = f"day {found.day_number:,.0f}"
    if found.kind == "quota" and found.after_s:
        when += f", after {significant(found.after_s / 3600)} h"
    return f"On the Free plan the first limit is reached on {when}: {found.what}."


def growth(bill: "Cost") -> str:
    """What breaks first of the deployment itself as data and traffic grow; empty if nothing does within three years."""
    found = [one for one in bill.limits if one.plan != "free" and isfinite(one.day_number)]
    if not found:
        return ""
    first = found[0]
    interval = f", 95 % interval {first.low:,.0f} to {first.high:,.0f}" if first.low != first.high else ""
    rate = "the played rate" if bill.volume is not None and bill.volume.is_peak else "the month's volume"
    return (
        f"At {rate} the first limit reached is {first.what}, on day {first.day_number:,.0f}{interval} (month "
        f"{first.month_number:,.0f})."
    )


def load_per_s(plan: "Plan") -> float:
    """Mean arrival rate of the simulated schedule, in requests/s; 0 before anything was simulated."""
    return rate_of(plan.simulated[0]) if plan.simulated and not plan.simulated[0].frame.empty else 0.0


def rate_of(run: "Result") -> float:
    """Mean arrival rate of a run's requests, in requests/s."""
    arrival_ms = run.frame["arrival_ms"]
    return len(arrival_ms) / max(float(arrival_ms.max()), 1.0) * 1000


def confirmation(plan: "Plan") -> str:
    """What the measurement says about the model."""
    found, measured = plan.comparison, plan.measured
    if measured is None or measured.frame.empty:
        return "Nothing was measured: these numbers rest on the model alone."
    if measured.on == "workerd" and not measured.interrupted:
        ok = int(measured.frame["outcome"].eq("ok").sum())
        return (
            f"The real runtime answered {ok:,} of {len(measured.frame):,} requests on this machine; its times have no "
            "distance in them, so the latencies rest on the model alone."
        )
    if found is None:
        return f"The measurement was cut short after {len(measured.frame):,} requests and not compared with the model."
    if not found.valid:
        reasons = (note.removeprefix(INVALID) for note in measured.notes if note.startswith(INVALID))
        why = next(reasons, "its load generator was late")
        return f"The measurement is INVALID and does not confirm the model: {why}."
    shown = [
        f"{row.statistic.upper()} {percent(row.relative_error, signed=True)} [{error_span(row.low, row.high)}]"
        for row in found.judged
    ]
    error = f"its error is {listed(shown)} of the latency"
    on, at = f"The measurement on {deployment(plan)},", f" {live_rate(plan)}".rstrip()
    if found.verdict == "agrees":
        return f"{on} confirms the model: {error}.{at}"
    if found.verdict == "differs":
        return f"{on} contradicts the model: {error}.{at}"
    open_rows = [f"{row.statistic.upper()}: {row.reason}" for row in found.judged if row.reason]
    why = f" ({'; '.join(open_rows)})" if open_rows else ""
    return f"{on} does not settle whether the model is right: {error}{why}.{at}"


def deployment(plan: "Plan") -> str:
    """Name what was measured, with what its times are: empty before anything was."""
    measured = measured_of(plan)
    if measured is None:
        return ""
    if measured.on == "reference":
        return "this project's reference server, whose latencies are drawn from the model's assumptions"
    return f"{measured.on}, the provider's runtime on this machine" if measured.on == "workerd" else measured.on


def live_rate(plan: "Plan") -> str:
    """At which rate the live part was played, where that is not the schedule's own; empty where it is."""
    measured = measured_of(plan)
    if measured is None or not plan.simulated:
        return ""
    live_per_s, whole_per_s = rate_of(measured), load_per_s(plan)
    if abs(live_per_s / whole_per_s - 1) < SAME_RATE:
        return ""
    return (
        f"It was played at {significant(live_per_s)} requests/s, the whole schedule is simulated at "
        f"{significant(whole_per_s)} requests/s: measured queues are those of the lower load."
        if live_per_s < whole_per_s
        else f"It was played at {significant(live_per_s)} requests/s, above the {significant(whole_per_s)} on average."
    )


def in_pairs(plan: "Plan") -> str:
    """What measurement and model say of the same requests with the same random numbers."""
    found = plan.pairing
    if found is None or plan.comparison is None or not plan.comparison.valid:
        return ""
    errors = [
        f"P{100 * probability:g} {error.value:+.2%} [{error.low:+.2%} to {error.high:+.2%}]".replace("%", " %")
        for probability, error in found.errors.items()
    ]
    said = f"Request by request, with the same random numbers, the model's error is {listed(errors)}"
    parted = sum(found.parted.values())
    if not parted:
        return f"{said}; no request differs by more than the machine's noise."
    where = component_name(next(iter(found.parted)))
    return (
        f"{said}; {parted:,} of {found.pairs:,} differ by more than {found.limit_ms:.2g} ms, most of them in {where}."
    )


def from_cold(plan: "Plan") -> str:
    """Why measured and simulated verdicts differ, where the live part, simulated alone, differs in the same way."""
    if not plan.simulated_window or not plan.measured_targets:
        return ""
    simulated = {row.name: row for row in plan.targets}
    alone = {row.name: row.verdict for row in judge(plan.simulated_window)}
    differ = [
        row
        for row in plan.measured_targets
        if row.name in simulated and row.verdict not in (simulated[row.name].verdict, Verdict.INVALID)
    ]
    cold = [row for row in differ if alone[row.name] != simulated[row.name].verdict]
    if not cold:
        return ""
    verdicts = [f"{target_name(row.name)} {row.verdict} against {simulated[row.name].verdict}" for row in cold]
    return (
        f"Measured and simulated verdicts differ ({listed(verdicts)}) because the live part is short and starts on "
        "cold objects: simulated alone, it differs from the whole schedule as well."
    )


def screened(plan: "Plan") -> str:
    """What arithmetic says about latency and bound, beside what was simulated; empty before there is anything."""
    if plan.screening is None or not plan.simulated or plan.simulated[0].frame.empty:
        return ""
    latency_ms = [float(run.frame["latency_ms"].mean()) for run in plan.simulated]
    bound = _rate(plan, plan.screening.rate_per_s_max)
    return (
        f"By arithmetic alone ({plan.screening.label}) a request takes {amount(plan.screening.latency_ms_mean, 'ms')} "
        f"on average, simulated {amount(sum(latency_ms) / len(latency_ms), 'ms')}; "
        f"{component_name(plan.screening.bottleneck)} can never serve more than {bound}, however long requests wait."
    )


def measured_of(plan: "Plan") -> "Result | None":
    """The measurement, if it holds a request."""
    return plan.measured if plan.measured is not None and len(plan.measured.frame) else None


def facts(plan: "Plan") -> Iterator[str]:
    """What a reader wants to know before the verdict: what was played, on what, and when."""
    arrivals = plan.scenario.workload.arrivals
    if arrivals.kind == "trace":
        yield f"arrivals of {Path(arrivals.file).name}"
    else:
        yield f"closed loop of {arrivals.users} users" if arrivals.kind == "closed" else f"{arrivals.kind} arrivals"
    if plan.simulated:
        yield f"simulated {len(plan.simulated)} times on the {plan.simulated[0].on} engine"
    measured = measured_of(plan)
    if measured is not None:
        started = str(measured.generator.get("started_utc", "")).removesuffix("+00:00").replace("T", " ")
        yield f"measured on {deployment(plan)}{f', {started} UTC' if started else ''}"
    yield f"seed {plan.seed}"
    yield f"Headroom {__version__}"


def untested(plan: "Plan") -> Iterator[str]:
    """What no number of this report says anything about."""
    if plan.measured is None or plan.measured.frame.empty:
        yield "Nothing was measured: no number here was checked against a working deployment."
    else:
        frame = plan.measured.frame
        against = (
            "the real runtime, which has none of the platform's latencies here"
            if plan.measured.on == "workerd"
            else "the reference deployment, whose platform latencies are drawn from the same assumptions as the model's"
        )
        yield (
            f"Only {len(frame):,} requests were measured, in {significant(plan.measured.duration_s)} s over one "
            f"machine's loopback, against {against}. The provider's own service was not loaded."
        )
    if plan.capacity is not None:
        highest = max(probe.rate_per_s for probe in plan.capacity.probes)
        yield (
            f"Loads above {significant(highest)} requests/s were not simulated, and none above that of the measured "
            "part was measured: the capacity is the model's."
        )
    else:
        yield "No highest load was searched."
    absent = [name for name, route in plan.scenario.routes.items() if not route.share]
    if absent:
        yield f"Routes without traffic: {listed(absent)}."
    yield "Numbers were varied one at a time; combined errors were not tried."
    yield (
        "Not modelled: outages of a region or of the provider (but for the uptime target, predicted from its record of "
        "incidents, and for the scenario's faults), rate limits of the provider other than those in the table of "
        "numbers (writes of a key of KV, messages of a queue, queues of D1 and of objects), limits on a request's CPU "
        "time, noisy neighbours, attacks, and what growing data does to latency (when it is full is said under cost)."
    )
