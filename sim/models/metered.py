"""Rows of the ledger's operations, as they were counted on the reference's own SQL.

Sources
-------
``metered_rows.toml`` beside this file, written by ``python -m tests.evidence.metered``; the rules of counting are the
provider's open-source runtime's.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def metered_rows() -> Mapping[str, Any]:
    """Return the tables of the file."""
    found: Mapping[str, Any] = tomllib.loads(files("sim.models").joinpath("metered_rows.toml").read_text("utf-8"))
    return found


def rows_of(path: str) -> Mapping[str, int]:
    """Return one table: ``rows_of("ledger.hardened.append")["rows_written"]``."""
    table: Any = metered_rows()
    for name in path.split("."):
        table = table[name]
    found: Mapping[str, int] = table
    return found
