"""A drafted scenario as TOML: every number with where it comes from, and what is to be filled in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sim.models.registry import component
from sim.scaffold.log import DAY_S, Log
from sim.scaffold.migrations import Schema
from sim.scaffold.parts import Part, Parts, consumer_settings, known
from sim.scaffold.routes import Draft
from sim.scaffold.wrangler import Config

REQUESTS_PER_DAY, PEAK_FACTOR = 216_000.0, 4.0
KEYS, ZIPF = 1_000, 0.8
"""What a scenario starts with when nothing was measured."""

REQUESTS, DURATION_S_LOW, DURATION_S_HIGH = 30_000, 60, 3_600
"""Requests of a run, within these bounds of its duration."""

WARM_UP_SHARE = 0.1

GUESS = "a guess of headroom init: nobody measured it"


@dataclass(frozen=True)
class Known:
    """Everything that was found out."""

    name: str
    config: Config | None
    parts: Parts
    schema: Schema | None
    log: Log | None
    drafts: tuple[Draft, ...]
    lacking: tuple[str, ...]


def scenario_text(found: Known) -> str:
    """Return the scenario as its author will read it."""
    return "\n".join([*_head(found), *_workload(found), *_routes(found), *_system(found), *_assumptions(found), ""])


def quoted(text: str) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def quoted_value(value: int) -> str:
    """Return a whole number, or true or false, as TOML writes it."""
    return str(value).lower()


def _head(found: Known) -> Iterator[str]:
    made = [str(found.config.path.name)] if found.config else []
    made += [found.log.trace.name] if found.log else []
    origin = f"from {_comment(' and '.join(made))}" if made else "as an example"
    yield f"# Written by headroom init, {origin}. It runs as it is:"
    yield "#"
    yield "#     headroom plan THIS_FILE"
    yield "#"
    yield "# Numbers marked MEASURED come from the log. Those marked ASSUMED nobody measured: put yours in their place,"
    yield "# and their reason under [assumptions]. Everything that is not said here is cloudflare.toml's."
    if found.config and found.config.environment:
        yield f"# Environment: {found.config.environment}."
    if found.lacking:
        yield "#"
        yield "# What this scenario does not express, and its results therefore leave out:"
        yield from (f"# - {_comment(line)}" for line in found.lacking)
    yield ""
    yield 'base = "cloudflare.toml"'
    yield f"name = {quoted(found.name)}"
    yield f"question = {quoted(f'Does {found.name} keep its targets at its peak?')}"
    yield '# targets = "targets.toml" # Your own: a copy of scenarios/targets.toml beside this file, with your lines.'


def _comment(text: str) -> str:
    """A text that cannot end its comment."""
    return " ".join(text.split())


def rate_per_s(log: Log | None) -> float:
    """Return the rate that a scenario plays: the busiest of the log."""
    return REQUESTS_PER_DAY / DAY_S * PEAK_FACTOR if log is None else float(f"{log.busiest_per_s:.4g}")


def tells_volume(log: Log | None) -> bool:
    """Tell whether the month's volume is known: from a whole day of a log, or as an assumption without a log."""
    return log is None or bool(log.by_hour_per_s and log.window_s)


def _workload(found: Known) -> Iterator[str]:
    log, rate = found.log, rate_per_s(found.log)
    duration_s = round(min(max(REQUESTS / rate, DURATION_S_LOW), DURATION_S_HIGH))
    yield from ("", "[workload]", f"duration_s = {duration_s}", f"warm_up_s = {round(duration_s * WARM_UP_SHARE)}")
    yield from ("", "[workload.arrivals]", 'kind = "poisson"')
    if tells_volume(log):
        yield f"# Its rate is the peak, {rate:.4g} a second: mean times peak factor of [demand], which the bill counts."
    else:
        yield f"rate_per_s = {rate!r}"
    yield from _daily(log)
    yield from _demand(log)
    yield from _keys(found)
    for draft in found.drafts:
        if draft.population:
            yield from ("", f"# MEASURED: different ids in the path of {draft.name}, and how unequal they are.")
            yield from (f"[workload.populations.{draft.name}]", f"count = {draft.population[0]}")
            yield f"zipf = {draft.population[1]!r}"


def _demand(log: Log | None) -> Iterator[str]:
    """The month's volume: measured, assumed, or to be filled in."""
    yield ""
    if log is None:
        yield "# ASSUMED: the requests of a day, and how much the busiest time exceeds the mean."
        yield from ("[demand]", f"requests_per_day = {REQUESTS_PER_DAY:.0f}", f"peak_factor = {PEAK_FACTOR:g}")
        return
    yield f"# MEASURED: mean {log.mean_per_s:.4g} a second, {log.mean_per_s * DAY_S:,.0f} a day."
    yield from (f"# {line}" for line in _peak(log))
    if tells_volume(log):
        peak_factor = rate_per_s(log) / log.mean_per_s
        yield from ("[demand]", f"requests_per_day = {log.mean_per_s * DAY_S:.0f}", f"peak_factor = {peak_factor:.4g}")
    else:
        yield "# Say the volume of a day, and leave the rate out; without it the bill holds that rate for a month:"
        yield "# [demand]"
        yield f"# requests_per_day = {log.mean_per_s * DAY_S:.0f}"
        yield f"# peak_factor = {PEAK_FACTOR:g}"


def _peak(log: Log) -> Iterator[str]:
    if log.sample_share < 1:
        yield f"The log holds {log.sample_share:g} of all requests; rates are those of all, its keys are too few."
    if log.window_s:
        window = f"busiest {log.window_s / 60:g} min"
        yield f"MEASURED: {window} {log.busiest_per_s:.4g} a second, peak factor {log.peak_factor:.3g}."
    if not log.by_hour_per_s:
        yield "ASSUMED: the log is shorter than a day; if it was not taken at the peak, multiply the rate."


def _daily(log: Log | None) -> Iterator[str]:
    if log is None or not log.by_hour_per_s:
        return
    hours = log.by_hour_per_s
    mean, peak = sum(hours) / len(hours), max(hours)
    yield "# MEASURED: requests a second by the hour of the day, UTC:"
    for start in range(0, len(hours), 12):
        yield f"#   {start:02d}h  {' '.join(f'{rate:.3g}' for rate in hours[start : start + 12])}"
    yield "# A whole day in place of its peak, with duration_s = 86400:"
    shape = f"peak_factor = {max(peak / mean, 1):.3g}, phase_s = {hours.index(peak) * 3600}"
    yield f'# kind = "diurnal", mean_rate_per_s = {mean:.4g}, {shape}'


def _keys(found: Known) -> Iterator[str]:
    log = found.log
    yield ""
    if log is not None and log.key_column and log.trace.keys:
        busiest = max(log.routes, key=lambda route: route.ids)
        yield f"# MEASURED: different values of {_comment(log.key_column)}; zipf is a fit to the most frequent."
        yield from ("[workload.keys]", f"count = {log.trace.keys}", f"zipf = {busiest.zipf!r}")
        return
    yield "# ASSUMED: how many users, tenants or rooms there are, for routes without a population of their own."
    yield from ("[workload.keys]", f"count = {KEYS}", f"zipf = {ZIPF}")


def _routes(found: Known) -> Iterator[str]:
    for draft in found.drafts:
        yield ""
        yield from (f"# {_comment(line)}" for line in draft.said)
        yield "# ASSUMED: its steps. Say what it does: operations, times, chance (of a cache miss), spawn (waitUntil)."
        yield f"[routes.{draft.name}]"
        yield f"share = {draft.share!r}"
        if draft.enter:
            yield f"enter = {quoted(draft.enter)}"
        if draft.population:
            yield f"keys = {quoted(draft.name)}"
        yield from _sizes(draft)
        if draft.match:
            yield f"match = {quoted(draft.match)}"
        if draft.method:
            yield f"request = {{ {', '.join(_request(draft))} }}"
        yield f"steps = [{', '.join(draft.steps)}]"


def _sizes(draft: Draft) -> Iterator[str]:
    if draft.size_bytes is None:
        return
    median, p99 = (max(round(size), 1) for size in draft.size_bytes)
    if p99 > median:
        yield f'size_bytes = {{ distribution = "lognormal", median = {median}, p99 = {p99} }}'
    else:
        yield f"size_bytes = {median}"
    if draft.objects:
        yield f"objects = {draft.objects} # MEASURED in the log; in storage there may be more, which are billed"


def _request(draft: Draft) -> Iterator[str]:
    yield f"method = {quoted(draft.method)}"
    yield f"path = {quoted(draft.path)}"
    if draft.size_bytes is not None:
        yield 'answer = "size_bytes"' if draft.objects else 'body = "size_bytes"'


def _system(found: Known) -> Iterator[str]:
    if found.parts.found:
        yield from ("", "# The bindings. Their numbers are cloudflare.toml's; other ones go into tables [system.NAME].")
    for part in found.parts.found:
        settings = consumer_settings(part, found.config) if found.config else {}
        yield from _part(part, " ".join(step for draft in found.drafts for step in draft.steps), settings=settings)
    if found.schema is not None:
        tables = ", ".join(f"{name} {1 + count}" for name, count in found.schema.indexes.items())
        yield f"# Rows that an insert writes, by table, its indexes counted: {_comment(tables)}"
    if found.config and known("cron"):
        for number, schedule in enumerate(found.config.crons):
            name = "cron" if not number else f"cron_{number + 1}"
            yield from ("", f"[system.{name}]", *(('component = "cron"', 'like = "cron"') if number else ()))
            yield f"schedule = {quoted(schedule)}"


def _part(part: Part, steps: str, *, settings: dict[str, Any]) -> Iterator[str]:
    """One binding: its operations, whether some route uses it, and its table if it needs one."""
    operations = ", ".join(f"{part.name}.{what}" for what in component(part.component).operations)
    yield f"# {_comment(_binding(part))}: {operations}"
    if f'"{part.name}.' not in steps:
        yield "#   No route above uses it: add its operation to the steps of those that do."
    named = part.name != part.component
    if named or settings:
        yield f"[system.{part.name}]"
        yield from (f'component = "{part.component}"', f'like = "{part.component}"') if named else ()
        yield from (f"{key} = {quoted_value(value)}" for key, value in settings.items())
        yield ""


def _binding(part: Part) -> str:
    target = f" ({part.binding.target})" if part.binding.target else ""
    return f"{part.binding.table} {part.binding.name}{target}"


def _assumptions(found: Known) -> Iterator[str]:
    log = found.log
    yield from ("", "[assumptions]")
    measured = f"measured from {log.trace.name} [M]" if log else GUESS
    of_demand = ("demand.requests_per_day", "demand.peak_factor")
    paths = of_demand if tells_volume(log) else ("workload.arrivals.rate_per_s",)
    yield from (f'"{path}" = {quoted(measured)}' for path in paths)
    of_keys = measured if log and log.key_column and log.trace.keys else GUESS
    yield f'"workload.keys" = {quoted(of_keys)}'
    for draft in found.drafts:
        yield f'"routes.{draft.name}.steps" = {quoted(GUESS)}'
        if draft.size_bytes is not None:
            yield f'"routes.{draft.name}.size_bytes" = {quoted(measured)}'
        if not draft.measured:
            yield f'"routes.{draft.name}.share" = {quoted(GUESS)}'
