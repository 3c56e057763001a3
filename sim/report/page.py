"""The page itself: a plan's tables, drawings and sentences, laid out in one file.

The page loads nothing and runs nothing: style and figures are inside, and its own policy forbids scripts and network.
The same plan gives the same bytes. What a plan does not hold leaves a sentence where it would have stood.
"""

import hashlib
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.foundation.version import __version__
from sim.judgement.logged import contradictions
from sim.report import bill_tables, tables
from sim.report.figures import report_figures
from sim.report.grid import Grid
from sim.report.html import VERDICT_CLASS, table
from sim.report.log_tables import beside_log, logged
from sim.report.phase_tables import phase_table
from sim.report.sentences import (
    answer,
    confirmation,
    deployment,
    facts,
    free_plan,
    from_cold,
    growth,
    headroom,
    in_pairs,
    live_rate,
    lower_load,
    measured_of,
    screened,
    untested,
)
from sim.report.tiles import tiles
from sim.report.wording import percent, significant, target_names, usd
from sim.scenario.platform import CONFIDENCE, LOW_CONFIDENCE

if TYPE_CHECKING:
    from markupsafe import Markup

    from sim.experiments.plan import Plan

TEMPLATE = "report.html"

SENSITIVITIES_MAX = 10
"""Rows of the table; the rest moves the P99 less."""

FINGERPRINT_DIGITS = 12


def write_report(plan: "Plan", path: str | Path, *, command: str = "") -> Path:
    """Write the report of *plan* to *path*, replacing what is there only when the new page is whole.

    Parameters
    ----------
    plan : Plan
    path : str or Path
    command : str
        What to type to get this plan again; by default made from the plan, without changes made in Python.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    page, target = report_html(plan, command=command), Path(path)
    try:
        with whole_file(target) as file:
            file.write(page.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"report={str(target)!r} must be a file that can be written: {error.strerror}") from None
    return target


def report_html(plan: "Plan", *, command: str = "") -> str:
    """The report of *plan* as one HTML document; see :func:`write_report`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = PackageLoader("sim.report")
    pages = Environment(
        loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return pages.get_template(TEMPLATE).render(
        plan=plan,
        version=__version__,
        verdict_class=VERDICT_CLASS[plan.verdict],
        answer=answer(plan),
        log=_log(plan),
        log_contradicts=bool(contradictions(plan.logged)),
        support=[
            text for said in (headroom, lower_load, _growth, confirmation, in_pairs, from_cold) if (text := said(plan))
        ],
        facts=list(facts(plan)),
        urgent=_urgent(plan),
        tiles=list(tiles(plan)),
        tables=_tables(plan),
        figures=report_figures(plan),
        measured=measured_of(plan),
        measured_on=deployment(plan),
        live_rate=live_rate(plan),
        screened=screened(plan),
        later=bill_tables.later(plan.cost) if plan.cost is not None else "",
        free_plan=free_plan(plan.cost) if plan.cost is not None else "",
        missed=target_names(plan.capacity.missed) if plan.capacity is not None else "",
        rest=_rest(plan),
        letters={letter: (CONFIDENCE[letter], letter in LOW_CONFIDENCE) for letter in sorted(CONFIDENCE)},
        low=sum(source.low_confidence for source in plan.scenario.relied_on),
        untested=list(untested(plan)),
        command=command or _command(plan),
        fingerprint=_fingerprint(plan),
        significant=significant,
        usd=usd,
    )


def _growth(plan: "Plan") -> str:
    return growth(plan.cost) if plan.cost is not None else ""


def _log(plan: "Plan") -> str:
    return beside_log(plan.logged, scenario=plan.scenario.given)


def _urgent(plan: "Plan") -> bool:
    """Whether the notes must be read before the numbers."""
    runs = [*plan.simulated, *([plan.measured] if plan.measured is not None else [])]
    return plan.interrupted or not all(run.valid for run in runs)


def _tables(plan: "Plan") -> "dict[str, Markup]":
    """Every table that this plan has the data for."""
    made: dict[str, Grid] = {}
    if plan.targets:
        made["routes"] = tables.routes(plan.simulated, measured_of(plan))
        made["stations"] = tables.stations(plan.simulated, plan.screening)
        if plan.logged:
            made["log"] = logged(plan.logged)
        if plan.scenario.faults:
            made["faults"] = phase_table(plan.simulated)
    if plan.measured is not None and plan.measured.generator:
        made["generator"] = tables.generator(plan.measured.generator)
    if plan.comparison is not None:
        made["comparison"] = tables.comparison(plan.comparison)
    if plan.cost is not None:
        made["cost"] = bill_tables.lines(plan.cost)
        made["limits"], made["free_limits"] = bill_tables.limits(plan.cost), bill_tables.free_limits(plan.cost)
        made["runaways"] = bill_tables.runaways(plan.cost)
    if plan.sensitivity:
        made["sensitivity"] = tables.sensitivity(plan.sensitivity[:SENSITIVITIES_MAX])
    if plan.scenario.relied_on:
        made["provenance"] = tables.provenance(plan.scenario.relied_on)
    drawn = {name: table(grid) for name, grid in made.items() if grid.rows}
    if plan.targets:
        verdicts = tables.targets(plan.targets, plan.measured_targets, heading="simulated")
        drawn["targets"] = table(verdicts, cards=True)
    return drawn


def _rest(plan: "Plan") -> str:
    """What is to be said of the numbers below the table of sensitivities."""
    others = plan.sensitivity[SENSITIVITIES_MAX:]
    if not others:
        return ""
    most = max(max(row.swing_ratio, row.most[1]) for row in others)
    return f"{len(others)} further numbers move each target by at most {percent(most)}."


def _command(plan: "Plan") -> str:
    arrivals = plan.scenario.workload.arrivals
    trace = f" --trace {quote(arrivals.file)}" if arrivals.kind == "trace" else ""
    return f"headroom plan {quote(plan.scenario.given)} --seed {plan.seed}{trace}"


def _fingerprint(plan: "Plan") -> str:
    """Of all numbers of the scenario: two plans with the same one asked the same thing."""
    return hashlib.sha256(plan.scenario.model_dump_json().encode()).hexdigest()[:FINGERPRINT_DIGITS]
