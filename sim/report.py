"""The report: one plan as one page that stands alone, to be read from the verdict down.

The page loads nothing and runs nothing: style and figures are inside, and its own policy forbids scripts and network.
The same plan gives the same bytes. What a plan does not hold leaves a sentence where it would have stood.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim import __version__, plots
from sim import report_tables as tables
from sim.errors import UsageError
from sim.figures import Figure, figure, figures
from sim.html_tables import VERDICT_CLASS, badge, target_table
from sim.platform import CONFIDENCE, LOW_CONFIDENCE
from sim.words import (
    amount,
    answer,
    component_name,
    confirmation,
    headroom,
    listed,
    load_per_s,
    percent,
    significant,
    span,
    target_name,
    target_names,
    usd,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from sim.plan import Plan
    from sim.result import Result

TEMPLATE = "report.html"

SENSITIVITIES_MOST = 10
"""Rows of the table; the rest moves the P99 less."""


def write_report(plan: "Plan", path: str | Path, *, command: str = "") -> Path:
    """Write the report of *plan* to *path*, replacing what is there only when the new page is whole.

    Parameters
    ----------
    plan : Plan
    path : str or Path
    command : str
        What to type to get this plan again; by default made from the plan.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    page, target = report_html(plan, command=command), Path(path)
    draft = target.with_name(f".{target.name}.draft")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise UsageError(f"report={str(target)!r} must be a file that can be written: {error.strerror}") from None
    return target


def report_html(plan: "Plan", *, command: str = "") -> str:
    """The report of *plan* as one HTML document; see :func:`write_report`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("sim"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return pages.get_template(TEMPLATE).render(
        plan=plan,
        version=__version__,
        verdict_class=VERDICT_CLASS[plan.verdict],
        badge=badge,
        answer=answer(plan),
        support=[text for text in (headroom(plan), confirmation(plan.comparison)) if text],
        urgent=_urgent(plan),
        load=load_per_s(plan),
        tiles=list(_tiles(plan)),
        tables=_tables(plan),
        figures=_figures(plan),
        missed=_missed(plan),
        letters={letter: (CONFIDENCE[letter], letter in LOW_CONFIDENCE) for letter in sorted(CONFIDENCE)},
        low=sum(source.low_confidence for source in plan.scenario.provenance),
        rest=_rest(plan),
        untested=list(_untested(plan)),
        command=command or _command(plan),
        fingerprint=_fingerprint(plan),
        significant=significant,
        usd=usd,
    )


def _urgent(plan: "Plan") -> bool:
    """Whether the notes must be read before the numbers."""
    runs = [*plan.simulated, *([plan.measured] if plan.measured is not None else [])]
    return plan.interrupted or not all(run.valid for run in runs)


def _tiles(plan: "Plan") -> Iterator[tuple[str, str, str]]:
    """The few numbers to remember: what, how much, and what stands below it."""
    today_per_s = load_per_s(plan)
    if today_per_s:
        requests = len(plan.simulated[0].frame)
        told = f"mean of {requests:,} requests, simulated {len(plan.simulated)} times"
        yield "Today's load", f"{significant(today_per_s)} requests/s", told
    if plan.capacity is not None:
        rate = plan.capacity.estimate
        interval = span(rate.low, rate.high, unit="requests/s")
        yield "Capacity", f"{significant(rate.value)} requests/s", f"95 % interval {interval}, {rate.n} seeds"
        if today_per_s:
            times = [significant(bound / today_per_s) for bound in (rate.value, rate.low, rate.high)]
            yield "Headroom", f"{times[0]} ×", f"today's load; 95 % interval {times[1]} to {times[2]}"
        first = listed([target_name(name) for name in plan.capacity.limited_by])
        yield "Gives way first", first, f"bottleneck: {component_name(plan.capacity.bottleneck)}"
    if plan.cost is not None:
        each = f"{usd(plan.cost.usd_per_1000_requests)} per 1,000 requests"
        yield "A month costs", usd(plan.cost.month_usd), each


def _missed(plan: "Plan") -> str:
    """Targets that no load keeps, which the capacity therefore leaves out."""
    return target_names(plan.capacity.missed) if plan.capacity is not None else ""


def _tables(plan: "Plan") -> "dict[str, Markup]":
    """Every table that this plan has the data for."""
    made: dict[str, Markup] = {}
    if plan.targets:
        made["targets"] = target_table(plan.targets, plan.measured_targets)
        made["routes"] = tables.route_table(plan.simulated, _measured(plan))
        made["stations"] = tables.station_table(plan.simulated)
    if plan.measured is not None and plan.measured.generator:
        made["generator"] = tables.generator_table(plan.measured.generator)
    if plan.comparison is not None:
        made["comparison"] = tables.comparison_table(plan.comparison)
    if plan.cost is not None:
        made["cost"] = tables.cost_table(plan.cost)
    if plan.sensitivity:
        made["sensitivity"] = tables.sensitivity_table(plan.sensitivity[:SENSITIVITIES_MOST])
    if plan.scenario.provenance:
        made["provenance"] = tables.provenance_table(plan.scenario.provenance)
    return made


def _measured(plan: "Plan") -> "Result | None":
    """The measurement, if it holds a request."""
    return plan.measured if plan.measured is not None and len(plan.measured.frame) else None


def _figures(plan: "Plan") -> dict[str, list[Figure]]:
    """Every figure, by the section that it stands in; what cannot be drawn says why."""
    made = {
        section: figures([figure(*given, **named) for given, named in drawings])
        for section, drawings in _drawings(plan).items()
    }
    return made


def _drawings(plan: "Plan") -> dict[str, list[tuple[tuple[Any, str], dict[str, Any]]]]:
    """What is drawn: function and caption, name and height."""

    def drawn(draw: Any, caption: str, name: str, height_in: float = 3.7, **options: Any) -> Any:
        return (lambda axes: draw(plan, ax=axes, **options), caption), {"name": name, "height_in": height_in}

    def beside(statistic: str, caption: str) -> Any:
        def draw(axes: Any) -> Any:
            measured = plan.measured if plan.comparison is not None else None
            return plots.waterfall(plan.rehearsed, statistic, beside=measured, ax=axes)

        return (draw, caption), {"name": f"beside-{statistic}", "height_in": 3.7}

    return {
        "headroom": [
            drawn(plots.latency_against_load, CAPTIONS["load"], "load"),
            drawn(plots.utilization_against_load, CAPTIONS["utilization"], "utilization"),
        ],
        "latency": [
            drawn(plots.ccdf, CAPTIONS["ccdf"], "ccdf"),
            drawn(plots.over_time, CAPTIONS["time"], "time"),
            drawn(plots.arrivals, CAPTIONS["arrivals"], "arrivals", 2.8),
            drawn(plots.stations, CAPTIONS["stations"], "stations", 2.8),
        ],
        "parts": [
            drawn(plots.waterfall, CAPTIONS["p50"], "parts-p50", 3.0, statistic="p50"),
            drawn(plots.waterfall, CAPTIONS["p99"], "parts-p99", 3.0, statistic="p99"),
        ],
        "comparison": [
            drawn(plots.qq, CAPTIONS["qq"], "qq", 4.4),
            drawn(plots.errors, CAPTIONS["errors"], "errors", 4.4),
            *([beside("p50", CAPTIONS["beside"]), beside("p99", CAPTIONS["beside"])] if plan.comparison else []),
        ],
        "cost": [drawn(plots.cost, CAPTIONS["cost"], "cost", 3.4)],
        "sensitivity": [drawn(plots.tornado, CAPTIONS["tornado"], "tornado", 3.9)],
    }


CAPTIONS = {
    "load": "P50 and P99 of latency against offered load, simulated; each dot is one probe, bands are 95 % intervals. "
    "Green: the capacity and its interval over seeds. Dotted: the knee, where throughput over mean latency is greatest.",
    "utilization": "Share of time in which the busiest instance of each station works. The first line to bend upwards "
    "is the bottleneck; a queue grows long well before 100 %.",
    "ccdf": "Read: so many per cent of requests are slower than so many ms. The curve must stay left of and below each "
    "corner. Bands are 95 % intervals. Dots are measured; the dashed line is the model on the measured requests alone, "
    "which start on cold objects.",
    "time": "One simulation. Darker blue: more requests. The lines are P50 and P99 of each window.",
    "arrivals": "The schedule that every runner plays. Shaded: the part that was played in real time on the reference.",
    "p50": "Mean time of the requests between the 45th and the 55th percentile, part by part, simulated. Hatched: waiting.",
    "p99": "Mean time of the slowest 1 % of requests, part by part: what these requests really spent, not the P99 of each "
    "part, which would not add up.",
    "qq": "Each dot is one percentile: measured across, simulated up. On the diagonal both are the same.",
    "errors": "Dot: error of the model. Line: joint 95 % interval. Grey: the tolerance. An arrow: the measured requests do "
    "not bound the percentile on that side.",
    "beside": "The same requests on the model (thick) and on the reference (thin).",
    "stations": "Bars: simulated. Dots: measured, where the reference tells busy time apart.",
    "cost": "Lines of the monthly bill beyond what the plan includes, at the prices of the platform file.",
    "tornado": "Filled: the number made a quarter larger. Open: made a quarter smaller. Black: the same for the P50. In "
    "brackets: confidence in the number.",
}
"""How to read each figure."""


def _rest(plan: "Plan") -> str:
    """What is to be said of the numbers below the table."""
    others = plan.sensitivity[SENSITIVITIES_MOST:]
    return f"{len(others)} further numbers move the P99 by at most {percent(others[0].swing_ratio)} each." if others else ""


def _untested(plan: "Plan") -> Iterator[str]:
    """What no number of this report says anything about."""
    if plan.measured is None or plan.measured.frame.empty:
        yield "Nothing was measured: no number here was checked against a working deployment."
    else:
        frame = plan.measured.frame
        yield (
            f"Only {len(frame):,} requests were measured, in {significant(plan.measured.duration_s)} s on this machine's "
            "loopback, against the reference deployment, whose platform latencies are drawn from the same assumptions as "
            "the model's. The provider's own service was not loaded."
        )
    if plan.capacity is not None:
        highest = max(probe.rate_per_s for probe in plan.capacity.probes)
        yield (
            f"Loads above {significant(highest)} requests/s were not simulated, and no load above the measured part was "
            "measured: the capacity is the model's."
        )
    else:
        yield "No highest load was searched."
    absent = [route for route, weight in plan.scenario.workload.mix.items() if not weight]
    if absent:
        yield f"Routes that the mix leaves out: {listed(absent)}."
    yield "Numbers were varied one at a time; two that are wrong together were not tried."
    yield (
        "Not modelled: outages of a region or of the provider (but for the up-time line, from its record of incidents), "
        "deployments and restarts under load, the provider's own rate limits, quotas and noisy neighbours, attacks, and "
        "growth of stored data over months."
    )


def _command(plan: "Plan") -> str:
    arrivals = plan.scenario.workload.arrivals
    trace = f" --trace {arrivals.file}" if arrivals.kind == "trace" else ""
    return f"headroom plan {plan.scenario.name} --seed {plan.seed}{trace}"


def _fingerprint(plan: "Plan") -> str:
    """Of all numbers of the scenario: two plans with the same one asked the same thing."""
    return hashlib.sha256(plan.scenario.model_dump_json().encode()).hexdigest()[:12]
