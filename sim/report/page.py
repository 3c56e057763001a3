"""The page itself: a plan's tables, drawings and sentences, laid out in one file.

The page loads nothing and runs nothing: style and figures are inside, and its own policy forbids scripts and network.
The same plan gives the same bytes. What a plan does not hold leaves a sentence where it would have stood.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.foundation.files import whole_file
from sim.foundation.version import __version__
from sim.report import bill_tables, tables
from sim.report.figures import report_figures
from sim.report.grid import Grid
from sim.report.html import VERDICT_CLASS, table
from sim.report.phase_tables import phase_table
from sim.report.sentences import (
    answer,
    confirmation,
    facts,
    free_plan,
    growth,
    headroom,
    in_pairs,
    measured_of,
    screened,
    tiles,
    untested,
)
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
        What to type to get this plan again; by default made from the plan.

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
        support=[text for text in (headroom(plan), _growth(plan), confirmation(plan), in_pairs(plan)) if text],
        facts=list(facts(plan)),
        urgent=_urgent(plan),
        tiles=list(tiles(plan)),
        tables=_tables(plan),
        figures=report_figures(plan),
        measured=measured_of(plan),
        screened=screened(plan),
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
        if plan.scenario.faults:
            made["faults"] = phase_table(plan.simulated)
    if plan.measured is not None and plan.measured.generator:
        made["generator"] = tables.generator(plan.measured.generator)
    if plan.comparison is not None:
        made["comparison"] = tables.comparison(plan.comparison)
    if plan.cost is not None:
        made["cost"] = bill_tables.lines(plan.cost)
        made["limits"] = bill_tables.limits(plan.cost)
        made["runaways"] = bill_tables.runaways(plan.cost)
    if plan.sensitivity:
        made["sensitivity"] = tables.sensitivity(plan.sensitivity[:SENSITIVITIES_MAX])
    if plan.scenario.relied_on:
        made["provenance"] = tables.provenance(plan.scenario.relied_on)
    drawn = {name: table(grid) for name, grid in made.items()}
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
    trace = f" --trace {arrivals.file}" if arrivals.kind == "trace" else ""
    return f"headroom plan {plan.scenario.name} --seed {plan.seed}{trace}"


def _fingerprint(plan: "Plan") -> str:
    """Of all numbers of the scenario: two plans with the same one asked the same thing."""
    return hashlib.sha256(plan.scenario.model_dump_json().encode()).hexdigest()[:FINGERPRINT_DIGITS]
