"""What a log says of the traffic: its routes and their shares, its rate and its peak, its sizes and its keys."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE
from sim.scaffold.grouping import Paths, replaced
from sim.scaffold.parts import free, slug
from sim.traces.blocks import blocks
from sim.traces.formats import FIRST_BYTE, plain, roles
from sim.traces.opening import source
from sim.traces.options import TraceOptions
from sim.traces.paths import Pattern, requests
from sim.traces.reading import read
from sim.traces.rows import SWITCHING, request_rows
from sim.traces.trace import Trace

ROUTES_MAX = 24
SHARE_MIN = 0.001
"""Paths beyond ROUTES_MAX, or rarer than this, are one route together."""

WINDOWS_S = (60, 300, 3_600)
"""The busiest minute, five minutes or hour is looked for."""

WINDOWS_MIN, WINDOW_REQUESTS_MIN = 10, 100
"""Windows, and mean requests per window, for a log to show its peak: with fewer it would be mostly noise."""

SAMPLED_REQUESTS_MIN = 1_000
"""The same of a sample, whose noise is that of the sampling and not of the traffic: the busiest of some hundred windows
stands some 3 standard deviations, here a tenth, above the peak; with 100 requests a third."""

DAY_S, HOUR_S = 86_400, 3_600
DAY_MIN_S = 22 * HOUR_S
"""A log that is shorter than most of a day shows no daily shape."""

REFUSED = 4
"""Hundreds of the status of an answer that refuses."""

SESSION_S_MIN = 1.0
"""WebSockets that last less, by their median, are logged when they are opened, not when they end."""
OTHER = "other"

RANKS_MAX, RANK_REQUESTS_MIN = 200, 5
"""Popularity is fitted to RANKS_MAX of the most frequent keys, as far as each has some requests."""


@dataclass(frozen=True)
class LogRoute:
    """A route of a log; sizes are 0 and times nan where it does not record them.

    Attributes
    ----------
    name, method, path : str
        The path with ``:id``; empty for a route that the log calls by a name, ``/*`` for all that is rare.
    count : int
    share : float
    distinct_paths : int
        Different paths that were asked for; 0 without paths.
    ids : int
        Different values of its first id.
    zipf : float
        Exponent of their popularity.
    size_bytes_median, size_bytes_p99 : float
    latency_ms_p50, latency_ms_p99 : float
        Of the requests that it times.
    latency_interval_ms_p50, latency_interval_ms_p99 : tuple of float
        95 % intervals, as if requests were independent; infinite where there are too few.
    latencies : int
        Requests with a latency.
    socket_share, refused_share : float
        Share of its answers that open a WebSocket, and that refuse the request (4xx).
    path_ids : int
        Different values of the first id of its path, whatever its keys are; 0 without one.
    path_zipf : float
        Exponent of their popularity.
    sessions : int
        WebSockets that it opened, of which the log says the length.
    session_s_mean, session_s_median : float
        That length; nan if the log holds the times of the handshakes, or none.
    """

    name: str
    method: str
    path: str
    count: int
    share: float
    ids: int = 0
    distinct_paths: int = 0
    zipf: float = 0.0
    size_bytes_median: float = 0.0
    size_bytes_p99: float = 0.0
    latency_ms_p50: float = float("nan")
    latency_ms_p99: float = float("nan")
    latency_interval_ms_p50: tuple[float, float] = (0.0, float("inf"))
    latency_interval_ms_p99: tuple[float, float] = (0.0, float("inf"))
    latencies: int = 0
    socket_share: float = 0.0
    refused_share: float = 0.0
    path_ids: int = 0
    path_zipf: float = 0.0
    sessions: int = 0
    session_s_mean: float = float("nan")
    session_s_median: float = float("nan")

    @property
    def match(self) -> str:
        """Pattern of its rows."""
        return f"{self.method} {self.path}".strip()


@dataclass(frozen=True)
class Log:
    """The traffic of a log.

    Attributes
    ----------
    trace : Trace
    routes : tuple of LogRoute
        The most frequent first.
    rare : tuple of str
        Paths that :data:`OTHER` stands for.
    busiest_per_s, window_s : float
        Rate of the busiest window and its length; the mean rate and 0 for a log too short to have one.
    by_hour_per_s : tuple of float
        Mean rate in each hour of the day, UTC; empty without times of a day.
    key_column : str
        Where keys come from; empty if from the paths.
    sample_share : float
        Share of the requests that the log holds; the rates are those of all requests.
    latency_at : {"server", "client", "unknown"}
        Where its latencies were taken.
    first_byte : bool
        Whether they end with the first byte of the answer.
    """

    trace: Trace
    routes: tuple[LogRoute, ...]
    rare: tuple[str, ...]
    busiest_per_s: float
    window_s: float
    by_hour_per_s: tuple[float, ...]
    key_column: str
    sample_share: float = 1.0
    latency_at: str = "unknown"
    first_byte: bool = False

    @property
    def mean_per_s(self) -> float:
        """Mean rate."""
        return self.trace.rate_per_s / self.sample_share

    @property
    def peak_factor(self) -> float:
        """Busiest rate / mean rate."""
        return self.busiest_per_s / self.mean_per_s


def read_log(path: str | Path, options: TraceOptions, *, sample_share: float = 1.0) -> Log:
    """Read a log of requests, twice: once for its paths, once for everything else.

    A log that holds a *sample_share* of the requests gives the rates of all of them, and a part of the keys.

    Raises
    ------
    ScenarioError
        It cannot be read, or holds requests of an instant only.
    """
    found = source(path)
    kinds = roles(found, options)
    paths = Paths()
    labels: dict[str, None] = {}
    with_paths = "path" in kinds.columns
    role = "path" if with_paths else "route"
    if role in kinds.columns:
        for block in blocks(found, kinds.wanted):
            rows = pa.array(request_rows(block, kinds)[0])
            cells = {key: block.cells[name].take(rows) for key, name in kinds.columns.items()}
            asked = requests(cells[role], cells.get("method"))
            if with_paths or (len(rows) and asked.path[0].as_py().startswith("/")):
                with_paths = True
                paths.add(asked.method, asked.path)
            else:
                labels.update(dict.fromkeys(cells[role].unique().to_pylist()))
    kept, rare = _kept(paths)
    kept = kept or [("", label) for label in list(labels)[:ROUTES_MAX]]
    names = _names(kept)
    trace = _replayed(path, kept, names=names, options=options, by_path=with_paths)
    key_column = kinds.columns.get("key", "")
    of_paths = trace
    if key_column and any(":id" in path for _, path in kept):  # Keys are users; those of rooms are in the paths.
        unkeyed = options.columns.model_copy(update={"key": ""})
        of_paths = _replayed(
            path, kept, names=names, options=options.model_copy(update={"columns": unkeyed}), by_path=with_paths
        )
    summed = _summed(trace, kept, names=names, rare=rare, by_path=with_paths, key_column=key_column)
    least = SAMPLED_REQUESTS_MIN if sample_share < 1 else WINDOW_REQUESTS_MIN
    busiest_per_s, window_s = _busiest(trace, least=least)
    in_paths = {name: _ids(of_paths, code) for code, name in enumerate(names)} if with_paths else {}
    different = {name: paths.distinct(route) for name, route in zip(names, kept, strict=True)} if with_paths else {}
    return replace(
        summed,
        routes=tuple(
            replace(
                route,
                distinct_paths=different.get(route.name, 0),
                path_ids=in_paths.get(route.name, (0, 0.0))[0] if ":id" in route.path else 0,
                path_zipf=in_paths.get(route.name, (0, 0.0))[1],
            )
            for route in summed.routes
        ),
        busiest_per_s=busiest_per_s / sample_share,
        window_s=window_s,
        by_hour_per_s=tuple(rate / sample_share for rate in summed.by_hour_per_s),
        sample_share=sample_share,
        latency_at=kinds.format.latency_at,
        first_byte=plain(kinds.columns.get("latency", "")) in FIRST_BYTE,
    )


def _kept(paths: Paths) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Paths that are routes, and those that are too rare to be and that no route's pattern takes all the same."""
    found = paths.routes()
    total = sum(count for _, count in found)
    kept = [route for route, count in found[:ROUTES_MAX] if count >= SHARE_MIN * total]
    taken = [(method, re.compile(Pattern(0, method, path).regex)) for method, path in kept]
    rare = tuple(
        f"{method} {path}".strip()
        for (method, path), _ in found
        if not any(method == one and regex.match(path) for one, regex in taken)
    )
    return kept, rare


def _names(kept: list[tuple[str, str]]) -> list[str]:
    """A name for each route: from its path, with the method in front where a path has several."""
    plain = [_plain(path) for _, path in kept]
    names: list[str] = []
    for (method, _), name in zip(kept, plain, strict=True):
        wanted = f"{method.lower()}_{name}" if plain.count(name) > 1 and method else name
        names.append(free(slug(wanted), {*names, OTHER}))
    return names


def _plain(path: str) -> str:
    words = [part for part in path.split("/") if part and not part.startswith(":") and part != "*"]
    return slug("_".join(words)) if words else "root"


def _replayed(
    path: str | Path, kept: list[tuple[str, str]], *, names: list[str], options: TraceOptions, by_path: bool
) -> Trace:
    """The whole log as a trace of the routes that were found in it; the first id of a path is its key."""
    if not by_path:
        return read(path, names=[label for _, label in kept], options=replace_unmatched(options))
    patterns = [
        Pattern(number, method, replaced(text, lambda place: "{key}" if place == 0 else "{object}"))
        for number, (method, text) in enumerate(kept)
    ]
    patterns.append(Pattern(len(kept), "", "/*"))
    return read(path, names=[*names, OTHER], patterns=patterns, options=replace_unmatched(options))


def replace_unmatched(options: TraceOptions) -> TraceOptions:
    """Return options under which no row is refused for its route."""
    return options.model_copy(update={"unmatched": "skip"})


def _summed(
    trace: Trace,
    kept: list[tuple[str, str]],
    *,
    names: list[str],
    rare: tuple[str, ...],
    by_path: bool,
    key_column: str,
) -> Log:
    if trace.rate_per_s <= 0:
        raise ScenarioError(f"{trace.name} has no rate ({PAGE})")
    found = [
        _route(trace, code, name=name, method=method, path=path if by_path else "")
        for code, (name, (method, path)) in enumerate(zip(names, kept, strict=True))
    ]
    if rare:
        found.append(_route(trace, len(kept), name=OTHER, method="", path="/*"))
    ordered = sorted((route for route in found if route.count), key=lambda route: -route.count)
    if not found:
        ordered = [replace(_route(trace, None, name="all", method="", path=""), share=1.0)]
    return Log(trace, tuple(ordered), rare, trace.rate_per_s, 0.0, _by_hour(trace), key_column)


def _route(trace: Trace, code: int | None, *, name: str, method: str, path: str) -> LogRoute:
    mine = np.ones(len(trace), dtype=bool) if code is None or trace.route_code is None else trace.route_code == code
    count = int(mine.sum())
    found = LogRoute(name, method, path, count, count / len(trace))
    if not count:
        return found
    sizes = _filled(trace.size_bytes, mine)
    waits = np.zeros(0) if trace.latency_ms is None else trace.latency_ms[mine]
    waits = np.sort(waits[np.isfinite(waits)])
    ids, zipf = _ids(trace, code)
    sessions_s = _sessions_s(trace, mine)
    return replace(
        found,
        ids=ids,
        zipf=zipf,
        sessions=len(sessions_s),
        session_s_mean=float(sessions_s.mean()) if len(sessions_s) else float("nan"),
        session_s_median=float(np.median(sessions_s)) if len(sessions_s) else float("nan"),
        size_bytes_median=float(np.median(sizes)) if len(sizes) else 0.0,
        size_bytes_p99=float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0,
        latency_ms_p50=_quantile(waits, 0.5),
        latency_ms_p99=_quantile(waits, 0.99),
        latency_interval_ms_p50=_interval(waits, 0.5),
        latency_interval_ms_p99=_interval(waits, 0.99),
        latencies=len(waits),
        socket_share=0.0 if trace.status is None else float((trace.status[mine] == SWITCHING).mean()),
        refused_share=0.0 if trace.status is None else float((trace.status[mine] // 100 == REFUSED).mean()),
    )


def _ids(trace: Trace, code: int | None) -> tuple[int, float]:
    """Different keys of a route, and the exponent of their popularity."""
    mine = np.ones(len(trace), dtype=bool) if code is None or trace.route_code is None else trace.route_code == code
    counts = np.sort(np.unique(_filled(trace.key, mine), return_counts=True)[1])[::-1]
    return len(counts), _zipf(counts)


def _sessions_s(trace: Trace, mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lengths of the WebSockets that a route's rows opened, shape (sessions,); none if they are those of handshakes."""
    lasted_ms = trace.latency_ms if trace.session_ms is None else trace.session_ms
    if trace.status is None or lasted_ms is None:
        return np.zeros(0)
    found = lasted_ms[mine & (trace.status == SWITCHING)] / 1000
    found = found[np.isfinite(found)]
    return found if len(found) and np.median(found) >= SESSION_S_MIN else np.zeros(0)


def _quantile(ordered: NDArray[np.float64], probability: float) -> float:
    """Return an observed value of *ordered*, shape (n,): the smallest that a share *probability* does not exceed."""
    return float(np.quantile(ordered, probability, method="inverted_cdf")) if len(ordered) else float("nan")


def _interval(ordered: NDArray[np.float64], probability: float) -> tuple[float, float]:
    """Return the 95 % interval of a quantile by binomial ranks; infinite where *ordered*, shape (n,), is too short."""
    from scipy.stats import binom  # It takes half a second to load.

    if not len(ordered):
        return 0.0, float("inf")
    below, above = (int(binom.ppf(level, len(ordered), probability)) for level in (0.025, 0.975))
    return float(ordered[below - 1]) if below else 0.0, float(ordered[above]) if above < len(ordered) else float("inf")


def _filled(column: NDArray[np.int64] | None, mine: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cells of a route's rows that are not blank, shape (cells,)."""
    if column is None:
        return np.zeros(0, dtype=np.int64)
    cells = column[mine]
    return np.asarray(cells[cells >= 0], dtype=np.int64)


def _zipf(counts: NDArray[np.int64]) -> float:
    """Slope of popularity over rank, both as logarithms, of *counts* in falling order, shape (keys,)."""
    fitted = counts[:RANKS_MAX]
    fitted = fitted[fitted >= RANK_REQUESTS_MIN]
    if len(fitted) < RANK_REQUESTS_MIN:
        return 0.0
    slope = np.polyfit(np.log(np.arange(1, len(fitted) + 1)), np.log(fitted), 1)[0]
    return round(float(np.clip(-slope, 0, 3)), 2)


def _busiest(trace: Trace, *, least: int) -> tuple[float, float]:
    """Rate of the busiest window, and its length in s: the shortest that holds *least* requests on average."""
    span_s = trace.duration_ms / 1000
    fitting = [window for window in WINDOWS_S if span_s >= WINDOWS_MIN * window]
    if not fitting:
        return trace.rate_per_s, 0.0
    full = [window for window in fitting if trace.rate_per_s * window >= least]
    window_s = full[0] if full else fitting[-1]
    whole = int(span_s // window_s)
    counts = np.bincount((trace.arrival_ms // (window_s * 1000)).astype(np.int64), minlength=whole)[:whole]
    return float(counts.max() / window_s), float(window_s)


def _by_hour(trace: Trace) -> tuple[float, ...]:
    """Mean rate in each hour of the day, UTC; nothing for a log shorter than most of a day."""
    if trace.start_ns is None or trace.duration_ms < DAY_MIN_S * 1000:
        return ()
    since_s = trace.start_ns / 1e9 + trace.arrival_ms / 1000
    counts = np.bincount((since_s % DAY_S // HOUR_S).astype(np.int64), minlength=24)
    days = max(trace.duration_ms / 1000 / DAY_S, 1.0)
    return tuple(float(count / days / HOUR_S) for count in counts)
