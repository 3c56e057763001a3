"""Where the reference and the real runtime are alike and where they are not, each with its check.

``python -m tests.runtime.conformance`` writes docs/CONFORMANCE.md. A row says *implemented* (both do the same), *not
yet* (the reference is to do what the runtime does) or *excluded* (they differ for a reason that stays). Its check plays
a few calls on both and compares one part of the last outcome; ``make test-runtime`` fails when what it finds is not
what the row says, whichever way it moved.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tests.project.tidy import ROOT
from tests.runtime.api_sequences import Client, new_name
from tests.runtime.binding_sequences import SUFFIX
from tests.runtime.conformance_rows import CLEAN, ROWS, Area, Part, Row, sql
from tests.runtime.object_sequences import object_outcomes
from tests.runtime.outcomes import Outcome, Side

PAGE = ROOT / "docs/CONFORMANCE.md"


def part_of(outcome: Outcome, part: Part) -> Any:
    """Return what is compared of an outcome of a binding."""
    failed = "error" in outcome
    if part in ("error", "sentence"):
        return SUFFIX.sub("", outcome["error"]) if failed and part == "sentence" else outcome.get("error")
    if failed:
        return "refused"
    value = outcome["value"]
    if not isinstance(value, dict) or "meta" not in value:
        return value
    meta: Mapping[str, Any] = value["meta"]
    if part == "changes":
        return meta["changes"], meta["last_row_id"]
    return value["results"] if part == "outcome" else meta[part]


def observed(row: Row, side: Side, client: Client, *, name: str) -> Any:
    """Play a row on one side and return what is compared."""
    if row.area == "API":
        return [client.ask(asked.named(name)) for asked in row.calls][-1]
    if row.area == "R2":
        return part_of(side.r2([{"op": "delete", "key": "k"}, *row.calls])[-1], row.part)
    if row.area == "KV":
        emptied = [{"delete": call["put"]} for call in row.calls if "put" in call and len(call["put"]) < 9]
        return part_of(side.kv([*emptied, *row.calls])[-1], row.part)
    if row.area == "Durable Objects":
        return object_outcomes(side, row.calls, name=name)[-1]
    side.d1([sql(one) for one in CLEAN])
    return part_of(side.d1(row.calls)[-1], row.part)


def moved(row: Row, sides: Sequence[tuple[Side, Client]]) -> str | None:
    """Return what is found, if it is not what the row says."""
    name = new_name()
    ours, theirs = (observed(row, side, client, name=name) for side, client in sides)
    if (ours == theirs) == (row.status == "implemented"):
        return None
    return f"{row.area}, {row.what}: {row.status}, but the reference has {ours!r} and the runtime {theirs!r}"


def page() -> str:
    """Return docs/CONFORMANCE.md."""
    counts = {status: sum(row.status == status for row in ROWS) for status in ("implemented", "not yet", "excluded")}
    told = ", ".join(f"{number} {status}" for status, number in counts.items())
    parts = [
        "# Conformance",
        f"""What the reference and the real runtime (workerd, on this machine) do alike, and what they do not: {told}.
Made by `python -m tests.runtime.conformance` from rows that each carry a check; `make test-runtime` fails when one of
them moves, and plays hundreds of random sequences on both beside: of requests, SQL, calls of buckets and of KV, events
of objects, and messages on WebSockets. [BROKEN_VARIANTS.md](BROKEN_VARIANTS.md) shows which mistakes these notice.

- *implemented*: both do the same.
- *not yet*: the reference is to do what the runtime does.
- *excluded*: they differ for a reason that stays.""",
    ]
    for area in get_args(Area):
        lines = ["| what | status | why |", "| --- | --- | --- |"]
        lines += [f"| {row.what} | {row.status} | {row.reason} |" for row in ROWS if row.area == area]
        parts += [f"## {area}", "\n".join(lines)]
    parts += [
        "## What the local runtime does not enforce",
        """CPU time, memory, the number of subrequests, the sizes of an object's values and keys, and the rate of
writes to one key of a bucket: these limits come from the platform file, and the reference enforces them. A tunnel is no
part of the runtime: routes that come in by one are played on the reference only.""",
    ]
    return "\n\n".join(parts) + "\n"


def write(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(), "utf-8")


if __name__ == "__main__":
    write()
