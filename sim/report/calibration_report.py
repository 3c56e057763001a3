"""What a calibration says: on a terminal, in a notebook, and as JSON."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from sim.experiments.calibration.found import Number
from sim.report.grid import Cell, Column, Grid
from sim.report.html import grid_html
from sim.report.json_document import SCHEMA_VERSION
from sim.report.terminal import table

if TYPE_CHECKING:
    from sim.experiments.calibration.calibrate import Calibration
    from sim.experiments.calibration.laws import Interval, Law


def calibration_tables(found: "Calibration") -> Iterator[RenderableType]:
    """Yield everything that ``headroom calibrate`` prints."""
    if found.found:
        yield table(_identified(found))
    if found.refused:
        yield table(_refused(found))
    if found.scalability is not None:
        yield Text(f"ramp: {found.scalability}")
    yield from (Text(note) for note in found.notes)


def calibration_html(found: "Calibration") -> str:
    """Return what was identified, and what was not, for a notebook."""
    said = [*([str(found.scalability)] if found.scalability is not None else []), *found.notes]
    return "".join(
        [
            grid_html(_identified(found), notes=" ".join(said)) if found.found or said else "",
            grid_html(_refused(found)) if found.refused else "",
        ]
    )


def _refused(found: "Calibration") -> Grid:
    rows = tuple((Cell(path), Cell(why)) for path, why in found.refused.items())
    return Grid("not identified: the base's value stays", (Column("key", kind="path"), Column("why")), rows)


def _identified(found: "Calibration") -> Grid:
    columns = (
        Column("key", kind="path"),
        Column("distribution"),
        Column("parameters [95 % interval]"),
        Column("n", kind="number"),
        Column("fit p", kind="number"),
        Column("from"),
    )
    rows = tuple(
        (
            Cell(one.path),
            Cell(one.law.name),
            Cell(", ".join(f"{name} {_interval(number)}" for name, number in one.law.intervals.items())),
            Cell(f"{one.law.n:,}"),
            Cell(_fit(one.law)),
            Cell(one.source),
        )
        for one in found.found
    )
    return Grid(f"{found.base.name}, calibrated", columns, rows)


def _interval(number: "Interval") -> str:
    return f"{number.value:.4g} [{number.low:.4g}, {number.high:.4g}]"


def _fit(law: "Law | Number") -> str:
    if law.fit_probability is not None:
        return f"{law.fit_probability:.2g}"
    return f"({law.rejected}: {law.rejected_probability:.2g})" if law.rejected else ""


def calibration_document(found: "Calibration") -> dict[str, Any]:
    """Return a calibration as JSON."""
    peak = found.scalability
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": found.base.name,
        "identified": [
            {
                "path": one.path,
                "distribution": None if isinstance(one.law, Number) else one.law.distribution.model_dump(mode="json"),
                "value": one.law.entry if isinstance(one.law, Number) else None,
                "intervals": {
                    name: {"value": number.value, "low": number.low, "high": number.high}
                    for name, number in one.law.intervals.items()
                },
                "n": one.law.n,
                "fit_p_value": one.law.fit_probability,
                "aic_above_least": one.law.considered,
                "rejected": one.law.rejected,
                "source": one.source,
            }
            for one in found.found
        ],
        "refused": found.refused,
        "scalability": None
        if peak is None
        else {
            name: {"value": number.value, "low": number.low, "high": number.high}
            for name, number in (
                ("gamma_per_s", peak.gamma_per_s),
                ("alpha", peak.alpha),
                ("beta", peak.beta),
                ("peak_load", peak.peak_load),
                ("peak_per_s", peak.peak_per_s),
            )
        },
        "notes": list(found.notes),
    }
