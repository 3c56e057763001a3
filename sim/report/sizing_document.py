"""Choices of design numbers as JSON, in the form of :mod:`sim.report.json_document`."""

from typing import TYPE_CHECKING

from sim.report.json_document import Document, capacity_document, estimate_of, head_of

if TYPE_CHECKING:
    from sim.experiments.sizing.choices import Sizing
    from sim.experiments.sizing.one_down import OneDown
    from sim.experiments.sizing.servers import Servers


def sizing_document(found: "Sizing") -> Document:
    """Every choice of one design number."""
    choices = [
        {
            **{name: getattr(one, name) for name in ("name", "value", "unit", "as_good", "undecided", "month_usd")},
            "objective": estimate_of(one.objective),
            "behind": None if one.behind is None else estimate_of(one.behind),
            "beside": dict(one.beside),
        }
        for one in found.choices
    ]
    names = ("what", "objective", "direction", "falsified_by", "notes")
    said = {**head_of(found.scenario, found.scenario.seed), **{name: getattr(found, name) for name in names}}
    return {**said, "question": found.question, "answer": found.answer.name, "choices": choices}


def servers_document(found: "Servers") -> Document:
    """Every station that can be waited for."""
    rows = [{**vars(row), "simulated_share": estimate_of(row.simulated_share)} for row in found.rows]
    limits = {"rate_per_s": found.rate_per_s, "limit_share": found.limit_share}
    return {**head_of(found.scenario, found.scenario.seed), **limits, "stations": rows}


def one_down_document(found: "OneDown") -> Document:
    """The load with all parts, and with one down."""
    searched = {"whole": capacity_document(found.whole), "less": capacity_document(found.less)}
    kept = {"kept_share": found.kept_share, "wanted_per_s": found.wanted_per_s, "verdict": found.verdict}
    return {
        **head_of(found.scenario, found.scenario.seed),
        "path": found.path,
        "parts": found.parts,
        **kept,
        **searched,
    }
