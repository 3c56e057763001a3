"""The rows and operations that the brief's API costs, counted on the reference's own SQL, as data for the models.

``python -m tests.evidence.metered`` writes ``sim/models/metered_rows.toml``. A whole deployment is played in memory
with its counters on; each operation is measured as the difference of the counters, in the state that a running
deployment is in: objects awake, accounts and users known. What a flush costs is a line in its number of events, and it
is checked to be one. How the counters count is held against the provider's own runtime in
``tests/evidence/rows_of_runtime.json``.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reference_impl.messages import Request
from tests.support.world import World, balance_request, flush_request, log_request, world

PATH = Path(__file__).resolve().parents[2] / "sim/models/metered_rows.toml"
EVENTS = (1, 2, 3, 10, 50)
"""Events of the flushes that are measured."""
ADAPTERS = 60
"""Adapters in the catalogue, more than a search returns."""
HEAD = """\
# Rows that the operations of the brief's API read and write, as the provider counts them.
# Written by `python -m tests.evidence.metered`; a test fails when the reference's SQL and this file part.
"""
Moved = Counter[str]
"""Amounts by ``instance.meter``, such as ``d1.rows_read``."""


def measured(w: World, act: Callable[[], object]) -> Moved:
    """Return what *act* moves on the meters of a deployment."""
    before = w.deployment.billed()
    act()
    after = w.deployment.billed()
    moved = {names: after[names] - before.get(names, 0.0) for names in after}
    return Counter({".".join(names): round(amount) for names, amount in moved.items() if amount})


def ask(w: World, *requests: Request) -> None:
    """Send *requests*, which must succeed."""
    for request in requests:
        response = w.ask(request)[0]
        assert response.status == 200, f"{request.method} {request.path} answered {response.status}: {response.body!r}"


def flushes(w: World, label: str) -> dict[int, Moved]:
    """Measure flushes of several sizes."""
    found = {}
    for events in EVENTS:
        ask(w, *(log_request(f"{label}-{events}-{number}") for number in range(events)))
        found[events] = measured(w, lambda: ask(w, flush_request()))
    return found


def line(found: Mapping[int, Moved], meter: str) -> tuple[int, int]:
    """Return what a flush costs on *meter*: once, and for each event.

    Raises
    ------
    AssertionError
        If the costs do not lie on a line.
    """
    sizes = sorted(found)
    (small, large) = sizes[0], sizes[-1]
    each, rest = divmod(found[large][meter] - found[small][meter], large - small)
    once = found[small][meter] - each * small
    assert rest == 0, f"{meter} is no line in the events: {found}"
    assert all(found[size][meter] == once + each * size for size in sizes), f"{meter} is no line: {found}"
    return once, each


def ledger(policy: str) -> dict[str, dict[str, int]]:
    """Measure a ledger."""
    with world({"ledger": {"policy": policy}}, counts_rows=True) as w:
        # The object is created, its account made, its user known to the database, its alarm set and its log short.
        ask(w, log_request("first"), flush_request(), log_request("second"))
        append = measured(w, lambda: ask(w, log_request("third")))
        balance = measured(w, lambda: ask(w, balance_request()))
        ask(w, flush_request())
        flush = flushes(w, policy) if policy == "hardened" else {}
    found = {
        f"ledger.{policy}.append": _rows(append, "durable_objects"),
        f"ledger.{policy}.balance": _rows(balance, "durable_objects"),
    }
    if flush:
        found[f"ledger.{policy}.flush"] = _lines(flush, "durable_objects")
        found[f"ledger.{policy}.flush_d1"] = _lines(flush, "d1")
    return found


def alarm() -> dict[str, int]:
    """Measure what the alarm of a flush adds to the append that sets it and to the flush that it does."""
    with world({"ledger": {"flush_interval_s": 10}}, counts_rows=True) as w:
        ask(w, log_request("first"), flush_request())
        w.clock.run(w.clock.sleep_until_ms(w.clock.now_ms() + 60_000))
        sets = measured(w, lambda: ask(w, log_request("second")))
        again = measured(w, lambda: ask(w, log_request("third")))
        rings = measured(w, lambda: w.clock.run(w.clock.sleep_until_ms(w.clock.now_ms() + 60_000)))
        ask(w, log_request("fourth"), log_request("fifth"))
        flushes_itself = measured(w, lambda: ask(w, flush_request()))
    assert rings == flushes_itself, f"an alarm's flush moves {rings}, a request's {flushes_itself}"
    return _rows(sets - again, "durable_objects")


def catalogue() -> dict[str, dict[str, int]]:
    """Measure uploads, downloads and searches."""

    def upload(number: int) -> Request:
        return Request("PUT", f"/loras/adapter-{number}/adapter.safetensors", body=b"x")

    with world(counts_rows=True) as w:
        ask(w, *(upload(number) for number in range(ADAPTERS)))
        first = measured(w, lambda: ask(w, upload(ADAPTERS)))
        w.clock.run(w.clock.sleep_until_ms(w.clock.now_ms() + 2_000))
        again = measured(w, lambda: ask(w, upload(ADAPTERS)))
        search = measured(w, lambda: ask(w, Request("GET", "/loras", {"domain": "code", "limit": "20"})))
        download = measured(w, lambda: ask(w, Request("GET", "/loras/adapter-1/adapter.safetensors")))
    return {
        "upload": {**_rows(first, "d1"), "class_a": first["r2.class_a"], "class_b": first["r2.class_b"]},
        "upload_again": {**_rows(again, "d1"), "class_a": again["r2.class_a"], "class_b": again["r2.class_b"]},
        "download": {**_rows(download, "d1"), "class_a": download["r2.class_a"], "class_b": download["r2.class_b"]},
        "search": _rows(search, "d1"),
    }


def metered() -> dict[str, dict[str, int]]:
    """Measure everything: tables of the file by name."""
    return {**ledger("seed"), **ledger("hardened"), "ledger.set_alarm": alarm(), **catalogue()}


def text_of(tables: Mapping[str, Mapping[str, int]]) -> str:
    """Return the file."""
    parts = (f"\n[{name}]\n" + "".join(_entries(table)) for name, table in tables.items())
    return HEAD + "".join(parts)


def _entries(table: Mapping[str, int]) -> Iterable[str]:
    return (f"{key} = {value}\n" for key, value in table.items())


def _rows(moved: Moved, instance: str) -> dict[str, int]:
    return {key: moved[f"{instance}.{key}"] for key in ("rows_read", "rows_written")}


def _lines(found: Mapping[int, Moved], instance: str) -> dict[str, int]:
    table = {}
    for key in ("rows_read", "rows_written"):
        table[key], table[f"{key}_per_event"] = line(found, f"{instance}.{key}")
    return table


def main() -> None:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    PATH.write_text(text_of(metered()), "utf-8")


if __name__ == "__main__":
    main()
