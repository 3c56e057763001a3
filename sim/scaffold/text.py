"""A drafted scenario as TOML: every number with where it comes from, and what is to be filled in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from sim.models.cron_schedule import read_schedule
from sim.models.registry import component
from sim.scaffold.log import DAY_S, Log, LogRoute
from sim.scaffold.migrations import Schema
from sim.scaffold.parts import Part, Parts, consumer_settings, known, log_events, storage_settings
from sim.scaffold.routes import Draft
from sim.scaffold.wrangler import Config

REQUESTS_PER_DAY, PEAK_FACTOR = 216_000.0, 4.0
KEYS, ZIPF = 1_000, 0.8
"""What a scenario starts with when nothing was measured."""

REQUESTS, DURATION_S_LOW, DURATION_S_HIGH = 30_000, 60, 3_600
"""Requests of a run, within these bounds of its duration."""

WARM_UP_SHARE = 0.1

RUNS_SHARE_MIN = 0.001
"""Fewer runs of schedules than this share of the requests are not added to them."""

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


def quoted_value(value: float | str) -> str:
    """Return a number, true or false, or a text, as TOML writes it."""
    return quoted(value) if isinstance(value, str) else str(value).lower()


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
    yield ""
    yield 'base = "cloudflare.toml"'
    yield f"name = {quoted(found.name)}"
    yield f"question = {quoted(f'Does {found.name} keep its targets at its peak?')}"
    yield '# targets = "targets.toml" # Your own: a copy of scenarios/targets.toml beside this file, with your lines.'
    notes = [*(f"not expressed: {line}" for line in found.lacking), *_sampled(found.log)]
    if notes:
        yield from (
            "",
            "# What this scenario leaves out or rests on; every report repeats it. Take out what you put in.",
        )
        yield from ("notes = [", *(f"  {quoted(_comment(note))}," for note in notes), "]")


def _sampled(log: Log | None) -> Iterator[str]:
    """What follows from a log that holds a part of the requests."""
    if log is not None and log.sample_share < 1:
        yield (
            f"{log.trace.name} holds {log.sample_share:g} of all requests: rates are scaled to all of them, but keys "
            "and objects are counted in the sample, so they are too few"
        )


def _comment(text: str) -> str:
    """A text that cannot end its comment."""
    return " ".join(text.split())


def _line(text: str) -> str:
    """A text that cannot end its comment, with its indent."""
    indent = len(text) - len(text.lstrip(" "))
    return " " * indent + _comment(text)


def rate_per_s(log: Log | None) -> float:
    """Return the rate that a scenario plays: the busiest of the log."""
    return REQUESTS_PER_DAY / DAY_S * PEAK_FACTOR if log is None else float(f"{log.busiest_per_s:.4g}")


def scheduled_per_s(found: Known) -> float:
    """Return the runs of schedules a second where they count: a scenario's requests hold them, a log does not."""
    if found.log is None or found.config is None or not known("cron"):
        return 0.0
    runs_per_s = sum(read_schedule(schedule).runs_per_s for schedule in found.config.crons)
    return runs_per_s if runs_per_s >= RUNS_SHARE_MIN * found.log.mean_per_s else 0.0


def tells_volume(log: Log | None) -> bool:
    """Tell whether the month's volume is known: from a whole day of a log, or as an assumption without a log."""
    return log is None or bool(log.by_hour_per_s and log.window_s)


def _workload(found: Known) -> Iterator[str]:
    log, rate = found.log, float(f"{rate_per_s(found.log) + scheduled_per_s(found):.4g}")
    duration_s = round(min(max(REQUESTS / rate, DURATION_S_LOW), DURATION_S_HIGH))
    yield from ("", "[workload]", f"duration_s = {duration_s}", f"warm_up_s = {round(duration_s * WARM_UP_SHARE)}")
    yield from ("", "[workload.arrivals]", 'kind = "poisson"')
    if tells_volume(log):
        yield f"# Its rate is the peak, {rate:.4g} a second: mean times peak factor of [demand], which the bill counts."
    else:
        yield f"rate_per_s = {rate!r}"
    yield from _daily(log)
    yield from _demand(found)
    yield from _keys(found)
    for draft in found.drafts:
        if draft.population:
            yield from ("", f"# MEASURED: different ids in the path of {draft.name}, and how unequal they are.")
            yield from (f"[workload.populations.{draft.name}]", f"count = {draft.population[0]}")
            yield f"zipf = {draft.population[1]!r}"


def _demand(found: Known) -> Iterator[str]:
    """The month's volume: measured, assumed, or to be filled in."""
    log, runs_per_s = found.log, scheduled_per_s(found)
    yield ""
    if log is None:
        yield "# ASSUMED: the requests of a day, and how much the busiest time exceeds the mean."
        yield from ("[demand]", f"requests_per_day = {REQUESTS_PER_DAY:.0f}", f"peak_factor = {PEAK_FACTOR:g}")
        return
    yield f"# MEASURED: mean {log.mean_per_s:.4g} a second, {log.mean_per_s * DAY_S:,.0f} a day."
    yield from (f"# {line}" for line in _peak(log))
    mean_per_s = log.mean_per_s + runs_per_s
    if runs_per_s:
        runs = f"{runs_per_s * DAY_S:,.0f} a day more"
        yield f"# Runs of schedules count among the requests, but are not in the log: {runs}."
    if tells_volume(log):
        peak_factor = (rate_per_s(log) + runs_per_s) / mean_per_s
        yield from ("[demand]", f"requests_per_day = {mean_per_s * DAY_S:.0f}", f"peak_factor = {peak_factor:.4g}")
    else:
        yield "# Say the volume of a day, and leave the rate out; without it the bill holds that rate for a month:"
        yield "# [demand]"
        yield f"# requests_per_day = {mean_per_s * DAY_S:.0f}"
        yield f"# peak_factor = {PEAK_FACTOR:g}"


def _peak(log: Log) -> Iterator[str]:
    if log.sample_share < 1:
        yield f"The log holds {log.sample_share:g} of all requests; rates are those of all, its keys are too few."
    if log.window_s:
        window = f"busiest {log.window_s / 60:g} min"
        yield f"MEASURED: {window} {log.busiest_per_s:.4g} a second, peak factor {log.peak_factor:.3g}."
        if log.sample_share < 1:
            yield "Shorter times may be busier: so small a part of the requests does not show them."
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
        if draft.messages:
            every_s, session_s = draft.messages
            yield f"messages = {{ every_s = {every_s:g}, session_s = {session_s:g} }}"
        yield from (f"# {_line(hint)}" for hint in draft.hints)
        yield f"steps = [{', '.join(draft.steps)}]"
        if found.log is not None and draft.latency is not None:
            yield from _measured(draft.name, draft.latency, log=found.log)


def _measured(name: str, route: LogRoute, *, log: Log) -> Iterator[str]:
    """Latencies of the log, which a plan shows beside the model's."""
    yield from ("", "# MEASURED: latency in the log. headroom plan holds the model's against it.")
    yield f"[routes.{name}.measured]"
    for statistic, value_ms, (low_ms, high_ms) in (
        ("p50", route.latency_ms_p50, route.latency_interval_ms_p50),
        ("p99", route.latency_ms_p99, route.latency_interval_ms_p99),
    ):
        yield f"{statistic}_ms = {value_ms:.6g}"
        yield f"{statistic}_low_ms = {low_ms:.6g}"
        yield (
            f"{statistic}_high_ms = {high_ms:.6g}" if isfinite(high_ms) else "# The log is too short for an upper end."
        )
    yield f"requests = {route.latencies}"
    where = "" if log.latency_at != "unknown" else ' # "server" (without the way to the client) or "client"'
    yield f"taken_at = {quoted(log.latency_at)}{where}"
    yield f"source = {quoted(log.trace.name)}"


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
    used = " ".join(step for draft in found.drafts for step in draft.steps)
    used += "".join(f' "{draft.rooms}.' for draft in found.drafts if draft.rooms)
    for part in found.parts.found:
        config = found.config
        settings = {**consumer_settings(part, config), **storage_settings(part, config)} if config else {}
        yield from _part(part, used, settings=settings)
    yield from _websockets(found)
    if found.config and (events := log_events(found.config)):
        yield "# ASSUMED: a request in the sample of the logs is one event; each console.log is one more."
        yield from ("[system.workers]", f"log_events = {events!r}", "")
    if found.schema is not None:
        tables = ", ".join(f"{name} {1 + count}" for name, count in found.schema.indexes.items())
        yield f"# Rows that an insert writes, by table, its indexes counted: {_comment(tables)}"
    if found.config and known("cron"):
        for number, schedule in enumerate(found.config.crons):
            name = "cron" if not number else f"cron_{number + 1}"
            yield from ("", f"[system.{name}]", *(('component = "cron"', 'like = "cron"') if number else ()))
            yield f"schedule = {quoted(schedule)}"


def _websockets(found: Known) -> Iterator[str]:
    """The table of the rooms: whose objects they are, and how many sockets are open in each by Little's law."""
    opening = [draft for draft in found.drafts if draft.rooms]
    if not opening:
        return
    draft, rate = opening[0], rate_per_s(found.log)
    yield from ("# WebSockets are held by these objects.", "[system.websocket]", f"objects = {quoted(draft.rooms)}")
    if draft.messages and draft.population:
        rooms, session_s = draft.population[0], draft.messages[1]
        members = max(round(rate * draft.share * session_s / rooms), 1)
        each = f"{rate * draft.share:,.3g} sessions/s x {session_s:g} s / {rooms:,} rooms"
        yield f"members = {members} # {each}, at the rate of the log"
    if len({one.rooms for one in opening}) > 1:
        others = ", ".join(f"{one.name} in {one.rooms}" for one in opening[1:])
        yield f'# Others need a table of their own with component = "websocket": {others}'
    yield ""


def _part(part: Part, steps: str, *, settings: dict[str, Any]) -> Iterator[str]:
    """One binding: its operations, whether some route uses it, and its table if it needs one."""
    operations = ", ".join(f"{part.name}.{what}" for what in component(part.component).operations)
    yield f"# {_comment(_binding(part))}: {operations}"
    if f'"{part.name}.' not in steps:
        yield "#   No route above uses it: add its operation to the steps of those that do."
    yield f"[system.{part.name}]"
    if part.name != part.component:
        yield from (f'component = "{part.component}"', f'like = "{part.component}"')
    if settings.get("consumer_billed") is False:
        yield "# The configuration has no consumer of this queue: it is another Worker, with a bill of its own."
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
    if found.config and log_events(found.config):
        yield f'"system.workers.log_events" = {quoted("head_sampling_rate; no console.log [D]")}'
    for draft in found.drafts:
        yield f'"routes.{draft.name}.steps" = {quoted(GUESS)}'
        if draft.size_bytes is not None:
            yield f'"routes.{draft.name}.size_bytes" = {quoted(measured)}'
        if draft.population:
            yield f'"workload.populations.{draft.name}" = {quoted(measured)}'
        if draft.messages:
            yield f'"routes.{draft.name}.messages.every_s" = {quoted(GUESS)}'
            yield f'"routes.{draft.name}.messages.session_s" = {quoted(measured)}'
    opening = next((draft for draft in found.drafts if draft.rooms), None)
    if opening is not None and opening.messages and opening.population:
        yield '"system.websocket.members" = "sessions a second x their mean length / rooms, by Little\'s law [D]"'
        if not draft.measured:
            yield f'"routes.{draft.name}.share" = {quoted(GUESS)}'
