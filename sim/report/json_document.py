"""A run or a plan as JSON: for scripts, dashboards, and the next report to be compared with.

Names carry their units. A number that does not exist, or is not bounded, is ``null``: JSON knows neither NaN nor
infinity. ``schema_version`` changes when a name or a meaning does.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.experiments.stopping import target_of
from sim.flow import ELASTIC
from sim.foundation.errors import UsageError
from sim.foundation.files import plain, whole_file
from sim.foundation.version import __version__
from sim.judgement.judge import judge, overall
from sim.judgement.targets import Verdict, decide
from sim.report.log_tables import log_document
from sim.report.lower_loads import lower_document
from sim.report.phase_tables import recoveries_of
from sim.results.background import background_notes, background_rows
from sim.results.breakdown import by_route, waterfall
from sim.results.metrics import unit_of
from sim.results.phases import phases

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from sim.experiments.capacity import Capacity
    from sim.experiments.plan import Plan
    from sim.experiments.sensitivity import Sensitivity
    from sim.experiments.stopping import SequentialEstimate
    from sim.experiments.sweep import Sweep
    from sim.experiments.uncertainty import Uncertainty
    from sim.judgement.comparison import Comparison
    from sim.judgement.cost import Cost
    from sim.judgement.judge import TargetRow
    from sim.judgement.pairing import Pairing
    from sim.results.result import Result
    from sim.scaffold.lint.linting import Linted
    from sim.scenario.scenario import Scenario
    from sim.screening import Screening
    from sim.statistics.intervals import Estimate

SCHEMA_VERSION = 1

Document = dict[str, Any]


def run_document(result: "Result") -> Document:
    """One run, judged."""
    rows = judge(result) if len(result.steady().frame) else ()
    return {
        **head_of(result.scenario, result.seed),
        "on": result.on,
        "requests": len(result.frame),
        "duration_s": result.duration_s,
        "warm_up_s": result.warm_up_ms / 1000,
        "arriving_s": result.arriving_s,
        "answered_s": result.answered_s,
        "verdict": overall(rows) if rows else Verdict.INCONCLUSIVE,
        **_judged([result], rows),
        "valid": result.valid,
        "interrupted": result.interrupted,
        "generator": result.generator,
        "background": background_rows([result]),
        "notes": [*result.notes, *background_notes([result])],
        "provenance": _provenance(result.scenario),
    }


def sequential_document(found: "SequentialEstimate", scenario: "Scenario") -> Document:
    """A statistic that was estimated until it was precise enough, and its target."""
    line = target_of(found.precision, scenario)
    return {
        **head_of(scenario, found.seed),
        "until": str(found.precision),
        "metric": found.precision.metric,
        "statistic": found.precision.statistic,
        "unit": unit_of(found.precision.metric),
        **estimate_of(found.estimate),
        "target": line and line.target,
        "alert": line and line.alert,
        "verdict": line and decide(found.estimate.low, found.estimate.high, line=line),
        "reached": found.reached,
        "reason": found.reason,
        "interrupted": found.interrupted,
        "replications": found.replications,
        "replications_total": found.replications_total,
        "requests": found.requests,
        "requests_total": found.requests_total,
        "provenance": _provenance(scenario),
    }


def plan_document(plan: "Plan") -> Document:
    """A whole plan: the simulation's judgement, and what the measurement says about it."""
    return {
        **head_of(plan.scenario, plan.seed),
        "on": plan.simulated[0].on if plan.simulated else None,
        "requests": sum(len(result.frame) for result in plan.simulated),
        "replications": len(plan.simulated),
        "duration_s": plan.simulated[0].duration_s if plan.simulated else None,
        "verdict": plan.verdict,
        **_judged(plan.simulated, plan.targets),
        "screening": None if plan.screening is None else screening_document(plan.screening),
        "capacity": None if plan.capacity is None else capacity_document(plan.capacity),
        "cost": None if plan.cost is None else cost_document(plan.cost),
        "comparison": None if plan.comparison is None else comparison_document(plan.comparison),
        "pairing": None if plan.pairing is None else _pairing(plan.pairing),
        "model_confirmed": None if plan.comparison is None else plan.comparison.agrees,
        "measured": None if plan.measured is None else _measured(plan),
        "log": log_document(plan.logged),
        "sensitivity": [_sensitivity(row) for row in plan.sensitivity],
        "interrupted": plan.interrupted,
        "background": background_rows(plan.simulated),
        "notes": list(plan.notes),
        "provenance": _provenance(plan.scenario),
    }


def _pairing(found: "Pairing") -> Document:
    """The same requests on both sides."""
    return {
        "pairs": found.pairs,
        "pairs_with_other_ends": found.pairs_with_other_ends,
        "errors": {f"p{100 * probability:g}": estimate_of(error) for probability, error in found.errors.items()},
        "noise_ms": dict(zip(("p5", "p50", "p95"), found.noise_ms, strict=True)),
        "limit_ms": found.limit_ms,
        "parted": dict(found.parted),
    }


def screening_document(found: "Screening") -> Document:
    """What arithmetic said before anything was simulated."""
    return {"label": found.label, "approximation": True} | vars(found)


def uncertainty_document(found: "Uncertainty") -> Document:
    """What low-confidence numbers leave open."""
    return {
        "scenario": found.scenario,
        "factor": found.factor,
        "draws": found.draws,
        "runs": found.runs,
        "ended_early": found.ended_early,
        "inputs": [vars(one) for one in found.inputs],
        "outputs": [
            {
                **{name: getattr(one, name) for name in ("name", "value", "low", "median", "high")},
                "met": None if one.met is None else estimate_of(one.met),
                "effects": dict(one.effects),
                "shares": [
                    {
                        "path": share.path,
                        "alone": estimate_of(share.alone),
                        "in_all": estimate_of(share.in_all),
                    }
                    for share in one.shares
                ],
            }
            for one in found.outputs
        ],
    }


def lint_document(found: "Linted") -> Document:
    """What is wrong with a deployment's files."""
    return {
        "path": found.path,
        "failed": found.failed,
        "looked_at": dict(found.looked_at),
        "findings": [
            {
                **{name: getattr(one, name) for name in ("rule", "line_number", "message", "remedy", "hazard")},
                "severity": str(one.severity),
                "file": one.file.as_posix(),
            }
            for one in found.findings
        ],
    }


def capacity_document(found: "Capacity") -> Document:
    """Highest load that keeps the targets, and the probes that showed it."""
    return {
        "rate_per_s": found.estimate.value,
        "low": found.estimate.low,
        "high": found.estimate.high,
        "warm_up_s": found.warm_up_s,
        "settled": found.settled,
        "cold_start": None if found.cold_start is None else estimate_of(found.cold_start),
        "limited_by": list(found.limited_by),
        "assumption": None if found.assumption is None else found.assumption.path,
        "bottleneck": found.bottleneck,
        "kept": list(found.kept),
        "missed": list(found.missed),
        "lower_loads": lower_document(found),
        "knee_per_s": found.knee_per_s,
        "probes": [
            {
                "rate_per_s": probe.rate_per_s,
                "requests": probe.requests,
                "p50_ms": estimate_of(probe.p50),
                "p99_ms": estimate_of(probe.p99),
                "utilization": probe.utilization,
            }
            for probe in found.probes
        ],
    }


def cost_document(bill: "Cost") -> Document:
    """A month's bill."""
    lines = [
        {name: value for name, value in vars(line).items() if name != "fact"} | {"source": line.fact}
        for line in bill.lines
    ]
    return {
        "month_usd": bill.month_usd,
        "usd_per_1000_requests": bill.usd_per_1000_requests,
        "requests_per_month": bill.requests_per_month,
        "counted": dict(bill.counted),
        "is_lower_bound": bool(bill.unpriced),
        "unpriced": list(bill.unpriced),
        "volume": None if bill.volume is None else {**vars(bill.volume), "is_peak": bill.volume.is_peak},
        "lines": lines,
        "limits": [vars(one) for one in bill.limits],
        "free_plan_first": None if bill.first_of_free_plan is None else vars(bill.first_of_free_plan),
        "spending_limit_usd": bill.spending_limit_usd,
        "runaways": [vars(one) for one in bill.runaways],
        "notes": list(bill.notes),
    }


def sweep_document(found: "Sweep") -> Document:
    """Every point of a sweep, and every run."""
    return {
        **head_of(found.scenario, found.scenario.seed),
        "vary": found.vary,
        "seeds": found.seeds,
        "points": found.points,
        "runs": found.frame,
        "interrupted": found.interrupted,
        "ended_early": found.ended_early,
    }


def comparison_document(found: "Comparison") -> list[Document]:
    """One entry a statistic, simulated beside measured."""
    return [
        {
            "metric": row.metric,
            "route": row.route,
            "statistic": row.statistic,
            "simulated": estimate_of(row.simulated),
            "measured": estimate_of(row.measured),
            "relative_error": row.relative_error,
            "low": row.low,
            "high": row.high,
            "tolerance_ratio": row.tolerance_ratio,
            "verdict": row.verdict,
            "reason": row.reason,
        }
        for row in found.rows
    ]


def text_of(document: Document) -> str:
    """A document as JSON text, in a fixed order of keys."""
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_document(document: Document, path: Path | str) -> None:
    """Write a document; ``-`` is standard output, and a file is replaced only when the new one is whole.

    Raises
    ------
    UsageError
        The place cannot be written to.
    """
    if str(path) == "-":
        sys.stdout.write(text_of(document))
    else:
        write_text(text_of(document), Path(path))


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all; its folder is made if missing.

    Raises
    ------
    UsageError
        The place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror or error}") from None


def head_of(scenario: "Scenario", seed: int) -> Document:
    """Return what every document begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "scenario": scenario.name,
        "question": scenario.question,
        "seed": seed,
    }


def _judged(results: "Sequence[Result]", rows: "Sequence[TargetRow]") -> Document:
    """What a run's requests, routes and stations say."""
    return {
        "targets": [vars(row) for row in rows],
        "routes": by_route(results) if results else [],
        "stations": _stations(results[0].stations) if results else [],
        "waterfall": waterfall(results) if results else [],
        **_faults(results),
    }


def _faults(results: "Sequence[Result]") -> Document:
    """Return the phases of the scenario's faults and the time to recover; nothing for a scenario without faults."""
    if not results or not results[0].scenario.faults or not all(len(result.frame) for result in results):
        return {}
    rows = [
        {
            **{name: getattr(one, name) for name in ("fault", "phase", "requests")},
            "error_share": one.error_share and estimate_of(one.error_share),
            "p99_ms": one.p99_ms and estimate_of(one.p99_ms),
        }
        for one in phases(results)
    ]
    times = [vars(one) | {"time_s": one.time_s and estimate_of(one.time_s)} for one in recoveries_of(results)]
    return {"phases": rows, "recoveries": times}


def _stations(frame: "pd.DataFrame") -> "pd.DataFrame":
    """One row a station; one that scales out has no number of servers."""
    return frame.assign(servers=frame["servers"].astype(object).where(frame["servers"] < ELASTIC, None))


def _measured(plan: "Plan") -> Document:
    assert plan.measured is not None
    document = run_document(plan.measured)
    return {name: document[name] for name in document if name not in ("provenance", *head_of(plan.scenario, 0))}


def estimate_of(found: "Estimate") -> Document:
    """Return an estimate with its interval."""
    return {name: getattr(found, name) for name in ("value", "low", "high", "n")}


def _sensitivity(row: "Sensitivity") -> Document:
    numbers = {name: value for name, value in vars(row).items() if name != "source"}
    return (
        {"path": row.source.path, "confidence": row.source.confidence, "swing_ratio": row.swing_ratio}
        | numbers
        | _most(row)
    )


def _most(row: "Sensitivity") -> Document:
    name, swing = row.most
    return {"moves_most": name, "moves_most_ratio": swing, "targets": dict(row.targets)}


def _provenance(scenario: "Scenario") -> list[Document]:
    return [vars(source) for source in scenario.relied_on]
