"""Which column is what: formats of common tools, and names that columns have everywhere.

Names are compared without case and punctuation: ``Request tokens`` is ``request_tokens``.

Sources
-------
wrangler tail: ``--format json``. Google Cloud Logging: ``LogEntry`` with an ``HttpRequest``.
k6: CSV and JSON output. Apache JMeter: CSV results (JTL). Locust: ``--csv`` history and statistics.
Cloudflare Logpush: datasets ``http_requests`` and ``workers_trace_events``.
BurstGPT, and Azure Public Dataset: AzureFunctionsInvocationTrace2021, AzureLLMInferenceDataset2023.
OpenTelemetry: semantic conventions of HTTP spans. Caddy, Traefik and nginx: access logs in JSON.
Extended Log Format of the W3C, as Amazon CloudFront writes it (``time-taken`` in s), and as Microsoft IIS does (in ms).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, nearest
from sim.traces.numbers import unit_of_name
from sim.traces.opening import Source
from sim.traces.options import TraceColumns, TraceOptions

ROLES = tuple(TraceColumns.model_fields)


def plain(name: str) -> str:
    """Return a column's name without case and punctuation.

    >>> plain("Request tokens"), plain("Event.Request.URL")
    ('requesttokens', 'eventrequesturl')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


ALIASES: dict[str, str] = {
    "time": "arrivalms arrivals timestamp time ts datetime timeiso8601 edgestarttimestamp eventtimestampms"
    " eventtimestamp starttimeunixnano startutc starttime requeststart eventtime createdat logtime date"
    " edgeendtimestamp",
    "end": "endtimestamp endtime",
    "duration": "",
    "route": "route httproute attributeshttproute endpoint",
    "method": "method clientrequestmethod requestmethod httpmethod httprequestmethod attributeshttprequestmethod"
    " eventrequestmethod csmethod verb",
    "path": "path clientrequesturi clientrequestpath requesturi requestpath eventrequesturl urlpath attributesurlpath"
    " attributeshttptarget httptarget url attributesurlfull uri csuristem request",
    "key": "key tenant tenantid organizationid organisationid orgid customerid accountid userid user",
    "size": "sizebytes size edgeresponsebytes edgeresponsebodybytes responsebytes responsesize bodybytessent bytessent"
    " downstreamcontentsize scbytes attributeshttpresponsebodysize bytes",
    "sent": "clientrequestbytes requestbytes requestsize requestlength sentbytes csbytes attributeshttprequestbodysize",
    "latency": "latencyms latency durationms elapsedms responsetimems edgetimetofirstbytems walltimems requesttime"
    " timetaken responsetime",
    "status": "status statuscode edgeresponsestatus responsecode httpstatuscode eventresponsestatus downstreamstatus"
    " scstatus attributeshttpresponsestatuscode",
    "tokens_in": "tokensin contexttokens requesttokens inputtokens prompttokens",
    "tokens_out": "tokensout generatedtokens responsetokens outputtokens completiontokens",
}
"""By role, the names that columns have, the surest first."""

ENDS = "edgeendtimestamp endtimestamp endtime"
"""Names of columns that say when an answer had ended: of a WebSocket, when it was closed."""

FIRST_BYTE = ("edgetimetofirstbytems",)
"""Columns of latencies that leave out the transfer of the answer."""

LATENCY_UNITS = {"requesttime": "s", "timetaken": "s"}
"""Unit of measured latencies whose column does not say it; others are in ms."""


@dataclass(frozen=True)
class Format:
    """The files of one tool.

    Attributes
    ----------
    name : str
    has : tuple of str
        Columns by which it is known, in the form of :func:`plain`.
    columns : mapping of str to str
        By role, where the column's name alone does not show it.
    unit, latency_unit : str
        Of times that are numbers, and of latencies.
    only : tuple of pairs
        Columns, and the values that rows which are requests have in them.
    refuse : str
        Why it holds no requests; empty if it does.
    latency_at : {"server", "client", "unknown"}
        Where the clock of its latencies is: without the way to the client, or with it.
    """

    name: str
    has: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    latency_unit: str = ""
    only: tuple[tuple[str, str], ...] = ()
    refuse: str = ""
    latency_at: Literal["server", "client", "unknown"] = "unknown"


RATES = "it holds rates a second, not requests; log every request (an events.request listener) and read that file"

FORMATS = (
    Format("a Locust history", ("usercount", "requestss"), refuse=RATES),
    Format("Locust statistics", ("requestcount", "failurecount"), refuse=RATES),
    Format(
        "k6 results",
        ("metricname", "metricvalue", "timestamp"),
        only=(("metricname", "http_reqs"),),
        latency_at="client",
    ),
    Format(
        "k6 results",
        ("metric", "datatime", "datavalue"),
        {"time": "datatime", "method": "datatagsmethod", "path": "datatagsurl", "status": "datatagsstatus"},
        only=(("metric", "http_reqs"), ("type", "Point")),
        latency_at="client",
    ),
    Format(
        "JMeter results",
        ("timestamp", "elapsed", "label"),
        {"latency": "elapsed", "path": "url", "route": "label"},
        latency_at="client",
    ),
    Format(
        "Workers trace events", ("eventtimestampms", "eventtype"), only=(("eventtype", "fetch"),), latency_at="server"
    ),
    Format("Cloudflare Logpush", ("edgestarttimestamp", "clientrequesturi"), latency_at="server"),
    Format("Cloudflare Logpush", ("edgestarttimestamp", "clientrequestpath"), latency_at="server"),
    Format(
        "what wrangler tail prints",
        ("eventtimestamp", "eventrequesturl", "walltime"),
        {"latency": "walltime"},
        latency_unit="ms",
        latency_at="server",
    ),
    Format(
        "a Google Cloud log",
        ("httprequestrequestmethod", "httprequestrequesturl", "timestamp"),
        {
            "method": "httprequestrequestmethod",
            "path": "httprequestrequesturl",
            "status": "httprequeststatus",
            "size": "httprequestresponsesize",
            "sent": "httprequestrequestsize",
        },
    ),
    *(
        Format("an IIS log", ("csuristem", "timetaken", own), latency_unit="ms", latency_at="server")
        for own in ("scwin32status", "scsubstatus", "ssitename")
    ),
    Format("BurstGPT", ("timestamp", "requesttokens", "responsetokens"), unit="s"),
    Format(
        "an Azure Functions trace",
        ("app", "func", "endtimestamp", "duration"),
        {"end": "endtimestamp", "duration": "duration", "key": "app"},
        unit="s",
    ),
    Format("an Azure LLM inference trace", ("timestamp", "contexttokens", "generatedtokens")),
    Format(
        "a Caddy log", ("ts", "requesturi", "duration"), {"latency": "duration"}, latency_unit="s", latency_at="server"
    ),
    Format(
        "a Traefik log",
        ("startutc", "requestpath", "duration"),
        {"latency": "duration"},
        latency_unit="ns",
        latency_at="server",
    ),
)
"""Formats, the most telling first."""

GENERIC = Format("a table", ())

KINDS = {
    "access": Format("an access log (Common or Combined Log Format)", (), {"key": "", "path": "request"}),
    "csv": GENERIC,
    "ndjson": Format("lines of JSON", ()),
    "otlp": Format(
        "OpenTelemetry spans (OTLP)", (), {"end": "", "route": ""}, only=(("kind", "server"),), latency_at="server"
    ),
}


@dataclass(frozen=True)
class Roles:
    """What the columns of one file are.

    Attributes
    ----------
    format : Format
    columns : dict of str to str
        By role, the column as the file names it.
    date : str
        A column of days in front of the time, or empty.
    only : tuple of pairs
        Columns that say which rows are requests, and the values that those have in them.
    unused : tuple of str
        The other columns, with a hint where a name is nearly one that is understood.
    ended : str
        A column that says when WebSockets were closed, where latencies do not say how long they were open; or empty.
    """

    format: Format
    columns: dict[str, str]
    date: str = ""
    only: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    ended: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Columns that are read."""
        return tuple(
            dict.fromkeys(name for name in (*self.columns.values(), self.date, self.ended, *dict(self.only)) if name)
        )

    @property
    def latency_unit(self) -> str:
        """Unit of the latencies: as the column's name says it, as the tool writes it, or ms."""
        name = self.columns.get("latency", "")
        return unit_of_name(name) or self.format.latency_unit or LATENCY_UNITS.get(plain(name), "ms")


def roles(source: Source, options: TraceOptions) -> Roles:
    """Say what the columns of a file are.

    Raises
    ------
    ScenarioError
        No column holds times, one that was asked for is not there, or the format holds no requests.
    """
    names = {plain(name): name for name in reversed(source.names) if name}
    made = next((one for one in FORMATS if set(one.has) <= names.keys()), KINDS[source.kind])
    asked = dict(_asked(source, options))
    if made.refuse and not asked:
        raise ScenarioError(f"{source.name} is {made.name}: {made.refuse} ({PAGE})")
    columns = {role: found for role in ROLES if (found := _column(role, made, names=names, asked=asked))}
    columns = _consistent(columns, made, asked=asked)
    date = names.get("date", "") if plain(columns.get("time", "")) == "time" else ""
    if "time" not in columns and not {"end", "duration"} <= columns.keys():
        raise ScenarioError(_timeless(source))
    only = tuple((names[column], value) for column, value in made.only if column in names)
    ended = _ended(columns, names=names)
    used = {*columns.values(), date, ended, *dict(only)}
    unused = tuple(_hinted(name, columns) for name in source.names if name and name not in used)
    return Roles(made, columns, date, only, unused, ended)


def _asked(source: Source, options: TraceOptions) -> Iterator[tuple[str, str]]:
    lower = {name.lower(): name for name in source.names}
    for role in ROLES:
        name = getattr(options.columns, role)
        if name is None:
            continue
        if name and name.lower() not in lower:
            near = nearest(name, source.names)
            raise ScenarioError(f'{source.name}:1 has no column "{name}", asked for as {role}; {near} ({PAGE})')
        yield role, lower.get(name.lower(), "")


def _column(role: str, made: Format, *, names: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """The column of a role: as asked for, as the format has it, by its name; empty if there is none."""
    if role in asked:
        return asked[role]
    taken = set(asked.values())
    candidates = [made.columns[role]] if made.columns.get(role) else []
    if role not in made.columns or role == "path":
        candidates += ALIASES[role].split()
    return next((names[word] for word in candidates if word in names and names[word] not in taken), "")


def _consistent(columns: dict[str, str], made: Format, *, asked: Mapping[str, str]) -> dict[str, str]:
    """Leave out what another column says better: the label of a result whose URL is there, the end beside the start."""
    away = set()
    if "time" in columns and "time" not in made.columns and not {"end", "duration"} <= made.columns.keys():
        away |= {"end", "duration"} - asked.keys()
    if {"end", "duration"} <= made.columns.keys() and "time" not in asked:
        away |= {"time"}
    if "path" in columns and "route" in made.columns and "route" not in asked:
        away |= {"route"}
    return {role: name for role, name in columns.items() if role not in away}


def _ended(columns: Mapping[str, str], *, names: Mapping[str, str]) -> str:
    """The column that says when WebSockets were closed, if no latency is of the whole of them; or empty."""
    if not {"time", "status"} <= columns.keys() or plain(columns.get("latency", FIRST_BYTE[0])) not in FIRST_BYTE:
        return ""
    return next((names[word] for word in ENDS.split() if word in names and names[word] not in columns.values()), "")


def _timeless(source: Source) -> str:
    shown = ", ".join(source.names).partition("?")[0][:80]  # It may be no header, and hold secrets behind a ?.
    first = source.names[0] if source.names else ""
    if re.fullmatch(r"[\d.:TZ +-]+", first):
        return f"{source.name}:{source.header_lines} must name the columns in its first line; it has: {shown} ({PAGE})"
    return (
        f"{source.name}:{max(source.header_lines, 1)} has no column that is known to hold times; it has: {shown}; "
        f"say which: --columns time=NAME ({PAGE})"
    )


def _hinted(name: str, columns: Mapping[str, str]) -> str:
    """A column that is not used, with the name that was probably meant."""
    free = {
        word: role
        for role in ROLES
        if role not in {*columns, "end", "duration"}
        for word in (plain(role), *ALIASES[role].split()[:1])
    }
    close = get_close_matches(plain(name), free, n=1, cutoff=0.8)
    return f"{name} (is it {free[close[0]]}? --columns {free[close[0]]}={name})" if close else name
