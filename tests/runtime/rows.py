"""Rows that the real runtime counts for every statement of the project, at several sizes of the tables.

``python -m tests.runtime.rows`` runs each statement on workerd and writes scenarios/platform/runtime_rows.toml: what
the bill counts cannot be had from a query's plan, so the runtime itself is asked.

Sources
-------
Runtime: ``rowsRead`` and ``rowsWritten`` of a SQLite-backed object, which D1 uses too.
"""

import json
from collections.abc import Iterator
from typing import Any

from sim.runners.runtime import DEPLOY
from tests.project.tidy import ROOT
from tests.runtime.probe import Probe, probing
from tests.runtime.statements import SIZES, Place, Statement, setup, statements

FILE = ROOT / "scenarios/platform/runtime_rows.toml"
PLACES: tuple[Place, ...] = ("d1", "ledger", "routes")
Counts = dict[str, list[tuple[int, int, int]]]
"""By the statement's name: rows of the tables, rows read, rows written."""


def counted(probe: Probe) -> Iterator[tuple[Statement, int, int, int]]:
    """Run every statement at every size; yield it with the size, and the rows read and written."""
    for rows in SIZES:
        for place in PLACES:
            asked = [one for one in statements(rows) if one.place == place]
            calls = [{"sql": text, "params": params} for text, params in setup(place, rows)]
            calls += [{"sql": one.sql, "params": one.params} for one in asked]
            # A fresh object for each size: its storage is the engine that D1 has as well.
            outcomes = probe.calls("object", "ROUTE_OBJECTS", calls=calls, name=f"{place}-{rows}")
            for outcome in outcomes:
                assert "value" in outcome, outcome
            for one, outcome in zip(asked, outcomes[len(outcomes) - len(asked) :], strict=True):
                yield one, rows, outcome["value"]["rows_read"], outcome["value"]["rows_written"]


def document(found: list[tuple[Statement, int, int, int]], *, version: str) -> str:
    """Return the file's content."""
    lines = [
        "# Rows that the real runtime counts for each statement of the project: [rows of its tables, read, written].",
        "# Made by `python -m tests.runtime.rows`; `make test-runtime` compares.",
        "",
        f'runtime = "workerd {version}"',
    ]
    for name in dict.fromkeys(one.name for one, *_ in found):
        mine = [row for row in found if row[0].name == name]
        counts = ", ".join(f"[{rows}, {read}, {written}]" for _, rows, read, written in mine)
        text = json.dumps(" ".join(mine[0][0].sql.split()))
        lines += ["", "[[statement]]", f"name = {json.dumps(name)}", f'place = "{mine[0][0].place}"']
        lines += [f"sql = {text}", f"counts = [{counts}]"]
    return "\n".join(lines) + "\n"


def made() -> str:
    """Return the file's content as this machine's runtime counts."""
    pins: dict[str, Any] = json.loads((DEPLOY / "package.json").read_text("utf-8"))["devDependencies"]
    with probing() as probe:
        return document(list(counted(probe)), version=pins["workerd"])


if __name__ == "__main__":
    FILE.write_text(made(), "utf-8")
