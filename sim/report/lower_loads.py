"""What is said of loads below a capacity: from where on its targets hold, and what the demand's mean load misses."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sim.judgement.targets import Verdict
from sim.report.grid import Cell
from sim.report.wording import amount, component_name, line_of, listed, significant, span, target_name, target_names

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.lower_loads import JudgedLoad
    from sim.judgement.judge import TargetRow


def held(found: "Capacity") -> str:
    """Return the targets that a capacity keeps, and the loads at which: never "up to" where a lower one misses them.

    It ends with the highest of them.
    """
    names, high = target_names(found.kept), f"{significant(found.estimate.value)} requests/s"
    verb = "holds" if len(found.kept) == 1 else "hold"
    if found.lower.missed_at is None:
        return f"{names} {verb} up to {high}"
    if found.lower.holds_from_per_s is None:
        missed = f"but not at {significant(found.lower.missed_at.rate_per_s)} requests/s"
        return f"{names} {verb}, {missed}, at the highest load of {high}"
    return f"{names} {verb} from about {significant(found.lower.holds_from_per_s, 2)} to {high}"


def below(found: "Capacity") -> str:
    """Return, in one sentence, what is missed or not settled at the mean load, or at another low one; empty if met."""
    load, where = _reported(found)
    if load is None:
        return ""
    missed, rows = load.missed(found.kept), load.of(found.kept)
    ends = "is missed" if len(missed) == 1 else "are missed"
    said = [f"{listed([_against(row) for row in missed])} {ends}"] if missed else []
    open_rows = [row for row in rows if row not in missed]
    if open_rows:
        ends = "is not settled" if len(open_rows) == 1 else "are not settled"
        said.append(f"{listed([_against(row) for row in open_rows])} {ends}")
    return f"{where} {'; '.join(said)}{_because(load) if missed else ''}."


def rows(found: "Capacity") -> Iterator[tuple[Cell | str, ...]]:
    """Yield the rows of a capacity's table that are about lower loads."""
    lower = found.lower
    if lower.holds_from_per_s is not None:
        yield "holds from", Cell(f"about {significant(lower.holds_from_per_s, 2)} requests/s", "of one seed")
    if lower.mean is not None:
        said = below(found) if _reported(found)[0] is lower.mean else ""
        yield f"at the mean load of {_rate(lower.mean)}", said or "the same targets hold"
    if lower.missed_at is not None and _reported(found)[0] is lower.missed_at:
        yield "at lower load", below(found)


def tile(found: "Capacity") -> Iterator[tuple[str, str, str]]:
    """Yield the tile of the demand's mean load, if it misses a target that the capacity keeps."""
    mean = found.lower.mean
    missed = mean.missed(found.kept) if mean is not None else ()
    if mean is not None and missed:
        yield (
            "Mean load",
            _rate(mean),
            f"missed: {listed(list(map(_against, missed)))}",
        )


def from_about(found: "Capacity") -> str:
    """Return the lower end of the loads at which the targets hold, for beside the highest; empty if there is none."""
    if found.lower.missed_at is None:
        return ""
    least = found.lower.holds_from_per_s
    missed = f"missed at {significant(found.lower.missed_at.rate_per_s)} requests/s"
    return missed if least is None else f"from about {significant(least, 2)} requests/s on"


def missed_below(found: "Capacity") -> str:
    """Return, for the title of a figure, what is missed below which load; empty if nothing is."""
    if found.lower.missed_at is None:
        return ""
    names = target_names([row.name for row in found.lower.missed_at.missed(found.kept)])
    least = found.lower.holds_from_per_s
    where = f"at {significant(found.lower.missed_at.rate_per_s)}" if least is None else f"below {significant(least, 2)}"
    return f"; {names} missed {where} requests/s"


def lower_document(found: "Capacity") -> dict[str, Any]:
    """Return the same as fields of a JSON document."""
    lower = found.lower
    return {
        "holds_from_per_s": lower.holds_from_per_s,
        "mean": None if lower.mean is None else _load_document(lower.mean),
        "missed_at": None if lower.missed_at is None else _load_document(lower.missed_at),
    }


def _load_document(load: "JudgedLoad") -> dict[str, Any]:
    names = ("name", "value", "unit", "low", "high", "n", "target", "alert", "verdict")
    part = (
        {"name": load.slower, "ms": load.slower_ms, "usual_ms": load.usual_ms, "usual_per_s": load.usual_per_s}
        if load.slower
        else None
    )
    targets = [{name: getattr(row, name) for name in names} for row in load.rows]
    return {
        "rate_per_s": load.rate_per_s,
        "messages_per_s": load.messages_per_s,
        "targets": targets,
        "slower_part": part,
    }


def _reported(found: "Capacity") -> "tuple[JudgedLoad | None, str]":
    """Return the load that is reported, and its name: the mean first, since it is the user's own."""
    mean, missed_at = found.lower.mean, found.lower.missed_at
    if mean is not None and (mean.missed(found.kept) or (missed_at is None and mean.of(found.kept))):
        return mean, f"At your mean load of {_rate(mean)}"
    if missed_at is not None:
        return missed_at, f"At {_rate(missed_at)}"
    return None, ""


def _rate(load: "JudgedLoad") -> str:
    """A load, and what of it is HTTP and what messages, where both come."""
    both = f"{significant(load.rate_per_s)} requests/s"
    if not load.messages_per_s:
        return both
    http_per_s = load.rate_per_s - load.messages_per_s
    return f"{both} ({significant(http_per_s)} HTTP requests/s and {significant(load.messages_per_s)} messages/s)"


def _against(row: "TargetRow") -> str:
    """A target with its estimate, its interval and its line."""
    lines = (row.target, row.alert)
    value = amount(row.value, row.unit, apart_from=lines)
    interval = f"95 % interval {span(row.low, row.high, unit=row.unit, apart_from=lines)}"
    beyond = ", beyond its alert line," if row.verdict == Verdict.ALERT else ""
    return f"{target_name(row.name)} ({value}, {interval}, against {line_of(row.target, row.unit)}){beyond}"


def _because(load: "JudgedLoad") -> str:
    """The part that is slower there; what waits less often is colder, unless it is a queue that grows."""
    if not load.slower:
        return ""
    usual = f"{significant(load.usual_ms)} ms at {significant(load.usual_per_s)} requests/s"
    times = f"{significant(load.slower_ms)} ms, and {usual}"
    colder = "" if load.slower.endswith("_queue_ms") else ": at low load objects and caches are cold more often"
    return f", mostly by {component_name(load.slower)}, in which the mean request spends {times}{colder}"
