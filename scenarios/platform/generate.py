"""Write a dated platform file from a fact sheet: once, by hand, and the result is committed.

    python scenarios/platform/generate.py FACTS.toml scenarios/platform/2026-11.toml

FACTS.toml holds bare numbers; a comment behind a number, or behind the header of its table, says how it is known: a
letter, then the source, which may be a key such as ``[WL]`` that the fact sheet beside it (FACTS.md) resolves. Each
number becomes one line ``name = {value, unit, source, confidence}``. Units come from the names.
"""

import datetime as dt
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.scenario.platform import CONFIDENCE, unit_of

HEADER = """\
# What the provider promises, charges, and was measured to do: one fact a line, each with unit, source and confidence.
# Compiled {compiled}. Written by scenarios/platform/generate.py; a newer date is a new file, not an edit of this one.
# Confidence:
{letters}
# A fact that nobody published is absent, not zero. Sizes: KB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024.
"""

PRICES = (
    (r"_per_million_gb_s$", "USD per million GB-s"),
    (r"cpu_ms_overage_per_million$", "USD per million ms"),
    (r"_per_million$", "USD per million"),
    (r"_per_gb_month$", "USD per GB-month"),
    (r"_per_gb$", "USD per GB"),
    (r"per_1000_neurons$", "USD per 1000 neurons"),
    (r"^plan_month$|^extra_bucket_month$", "USD per month"),
    (r"cpu_ms_included_month$", "ms per month"),
    (r"gb_s_included_month$", "GB-s per month"),
    (r"gb_s_free_per_day$", "GB-s per day"),
    (r"gb_month$", "GB-month"),
    (r"storage_gb_|_gb_free$|_gb_per_object$", "GB"),
    (r"_month$", "per month"),
    (r"_day$", "per day"),
    (r"_days$", "d"),
)
"""Units of the pricing tables, whose names follow the invoice."""

NAMES = (
    (r"_bytes_|_bytes$|^bytes_", "bytes"),
    (r"_ms_|_ms$", "ms"),
    (r"_seconds_|_s_|_s$", "s"),
    (r"_min_max$|_minutes_|_minutes$|^minutes", "min"),
    (r"_hours_|_hours$", "h"),
    (r"_days_|_days$", "d"),
    (r"_fraction|_multiplier|_success_|_reduction_|faster_than|_monthly$|^business_plan$|^durability$", "fraction"),
    (r"_months$", "month"),
)
"""Units that stand in the middle of a name (``cpu_ms_http_free``)."""

BLANKET = "every value here is the helper's assumption: label as such in any result"
"""How the fact sheet marks its own suggestions."""

RATES = (
    ("per_second", "per s"),
    ("per_10min", "per 10 min"),
    ("per_5min", "per 5 min"),
    ("per_day", "per day"),
)


@dataclass(frozen=True)
class Remark:
    """What a comment says: the letter, the source, and anything else."""

    confidence: str = "R"
    source: str = "not named in the fact sheet"
    note: str = ""


def main(facts: Path, target: Path) -> None:
    """Read *facts*, write *target*."""
    text = facts.read_text(encoding="utf-8")
    target.write_text(platform_text(text, source_keys(facts.with_suffix(".md"))), encoding="utf-8")


def platform_text(facts: str, keys: dict[str, str]) -> str:
    """The platform file for the text of a fact sheet; *keys* resolves ``[WL]`` to a page."""
    tables = tomllib.loads(facts)
    remarks = remarks_by_key(facts)
    meta = tables.pop("meta")
    letters = "\n".join(f"#   {letter}  {meaning}" for letter, meaning in CONFIDENCE.items())
    lines = [HEADER.format(compiled=meta["compiled"], letters=letters), "[meta]"]
    lines += [f"{name} = {toml(value)}" for name, value in meta.items()]
    incidents = tables.pop("incidents")
    for table, entries in flat_tables(tables):
        lines += ["", f"[{table}]"]
        for name, value in entries.items():
            lines.append(fact_line(name, value, table=table, remark=remarks[f"{table}.{name}"], keys=keys))
    for incident in incidents:
        if told := incident_lines(incident):
            lines += ["", *told]
    return "\n".join(lines) + "\n"


def fact_line(name: str, value: Any, *, table: str, remark: Remark, keys: dict[str, str]) -> str:
    """One fact as an inline table."""
    entry = {
        "value": value,
        "unit": unit(name, table, value),
        "source": resolved(remark.source, keys),
        "confidence": remark.confidence,
    }
    if remark.note:
        entry["note"] = resolved(remark.note, keys)
    inside = ", ".join(f"{part} = {toml(content)}" for part, content in entry.items())
    return f"{bare(name)} = {{ {inside} }}"


def resolved(source: str, keys: dict[str, str]) -> str:
    """A source with its keys replaced by the pages that they stand for."""

    def page(found: re.Match[str]) -> str:
        place = keys.get(found[1], found[1])
        place = f"cloudflare-docs {place}" if place.startswith("src/") else place
        return f"{place}, " if found[2] else place

    plain = re.sub(r"\bUSD$", "", source).strip()  # The unit says so.
    plain = plain.replace("[[incidents]]", "the incidents below").replace(BLANKET, "no source is published")
    return re.sub(r"\[([A-Z0-9]+)\](\s+(?=[\w\"]))?", page, plain).strip(" ,;")


def incident_lines(incident: dict[str, Any]) -> list[str]:
    """One outage: a table of facts that share a source."""
    letter, _, source = incident.pop("source").partition(" ")
    place = f"incidents.{incident.pop('component')}_{str(incident.pop('date')).replace('-', '_')}"
    numbers = {name: value for name, value in incident.items() if not isinstance(value, list)}
    remark = Remark(letter, source)
    guessed = replace(remark, confidence="A", source="severity not in a stored copy")
    assumed = {"failure_fraction"} if letter == "S" and numbers.get("failure_fraction") == 1.0 else set()
    told = [
        fact_line(name, value, table=place, remark=guessed if name in assumed else remark, keys={})
        for name, value in numbers.items()
    ]
    return [f"[{place}]", *told] if told else []


def unit(name: str, table: str, value: Any) -> str:
    """Unit of a fact from its name, with the pricing tables' own words first."""
    if isinstance(value, str | bool) or (isinstance(value, list) and not isinstance(value[0], int)):
        return "1"
    if isinstance(value, dt.date):
        return "date"
    if table == "workers_ai.neurons_per_million_tokens":
        return "neurons per million tokens (in, out)"
    rules = PRICES if table.endswith("pricing") else ()
    for pattern, found in (*rules, *RATES, *NAMES):
        if re.search(pattern, name):
            return found
    if table.endswith(("throughput", "rpm")):
        return "per s" if table.endswith("throughput") else "per min"
    return "code" if "error" in table else unit_of(name)


def remarks_by_key(facts: str) -> dict[str, Remark]:
    """What the comments say about every key: its own comment, completed by that of its table."""
    found: dict[str, Remark] = {}
    table, inherited, previous = "", Remark(), Remark()
    for line in facts.splitlines():
        comment = comment_of(line)
        if header := re.match(r"\[([^\[\]]+)\]", line):
            table = header[1]
            inherited = previous = remark_of(comment, Remark())
        elif entry := re.match(r'"?([A-Za-z0-9_.\-]+)"? = ', line):
            own = remark_of(comment, inherited) if comment else inherited
            if own.source == "same":
                own = replace(own, source=previous.source)
            found[f"{table}.{entry[1]}"] = previous = own
    return found


def comment_of(line: str) -> str:
    """The comment behind an entry; no value of the fact sheet holds a hash sign."""
    return line.partition("#")[2].strip()


def remark_of(comment: str, inherited: Remark) -> Remark:
    """Split ``M lumenize.com, one object`` into letter, source and note."""
    letter, _, rest = comment.partition(" ")
    if letter not in CONFIDENCE:
        return replace(inherited, note=comment) if comment else inherited
    return Remark(letter, rest.strip() or inherited.source)


def source_keys(sheet: Path) -> dict[str, str]:
    """Pages that the fact sheet's keys stand for, from its table of keys."""
    rows = re.findall(r"^\| ([A-Z0-9]+(?: / [A-Z0-9]+)?) \| (.+?) \|", sheet.read_text(encoding="utf-8"), re.MULTILINE)
    pages: dict[str, str] = {}
    for names, page in rows:
        for name in names.split(" / "):
            pages.setdefault(name, re.sub(r" \((index id|search excerpt)[^)]*\)", "", page))
    return pages


def flat_tables(tables: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table that holds values, by dotted name."""
    values = {name: value for name, value in tables.items() if not isinstance(value, dict)}
    if values:
        yield place, values
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from flat_tables(value, f"{place}.{name}" if place else name)


def bare(name: str) -> str:
    """A key, quoted when TOML wants it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def toml(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(toml(entry) for entry in value) + "]"
    return f"{value:_}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
