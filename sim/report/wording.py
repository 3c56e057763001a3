"""How numbers and names are written: three significant digits, a unit, an interval.

Pages, figures and tables take their words from here, so that one thing has one name and one number one spelling.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from math import isfinite, isnan
from typing import TYPE_CHECKING

import numpy as np

from sim.models.registry import components, metrics
from sim.results.metrics import LATENCY, UPTIME

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance

WHOLE = {LATENCY: "API latency", UPTIME: "Uptime"}
"""Metrics of whole requests, and of the whole deployment."""

UNATTRIBUTED = "overhead"

INTERVAL = "95 % interval"

NONE = "no data"
UNBOUNDED = "unbounded"
NOT_BOUNDED = "not bounded"

NOTHING = 1e-9
"""Anything smaller, in any unit shown, is rounding error of a formula and is shown as 0."""

CENT = Decimal("0.01")

DIGITS_MAX = 7
"""Digits at most, however close two numbers are."""


def significant(value: float, digits: int = 3) -> str:
    """A number with *digits* significant digits, never in powers of ten; whole from 1,000 on.

    >>> [significant(number) for number in (39.4863, 0.0612, 1259.4, 2e-20, float("inf"), float("nan"))]
    ['39.5', '0.0612', '1,259', '0', 'unbounded', 'no data']
    """
    if isnan(value):
        return NONE
    if not isfinite(value):
        return UNBOUNDED
    if abs(value) < NOTHING:
        return "0"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=digits, unique=False, fractional=False).rstrip(".")


def amount(value: float, unit: str, *, apart_from: Iterable[float] = ()) -> str:
    """A number with its unit; a ratio (unit ``1``) in per cent.

    Parameters
    ----------
    value : float
        In *unit*.
    unit : str
    apart_from : iterable of float
        Lines that the number must not be mistaken for: it gets as many digits as that takes.

    >>> amount(39.4863, "ms"), amount(0.99985, "1"), amount(10.0023, "ms", apart_from=[10])
    ('39.5 ms', '99.985 %', '10.002 ms')
    """
    return f"{_figure(value, unit, apart_from=apart_from)} {_unit(unit)}" if isfinite(value) else significant(value)


def span(low: float, high: float, *, unit: str, apart_from: Iterable[float] = ()) -> str:
    """An interval, without its unit.

    >>> span(10.0023, 11.2, unit="ms", apart_from=[10]), span(0.9981, 0.99991, unit="1")
    ('10.002 to 11.2', '99.810 to 99.991')
    """
    if not (isfinite(low) or isfinite(high)):
        return UNBOUNDED
    lines = tuple(apart_from)
    return " to ".join(_figure(bound, unit, apart_from=lines) for bound in (low, high))


def _figure(value: float, unit: str, *, apart_from: Iterable[float]) -> str:
    if not isfinite(value):
        return significant(value)
    if unit == "1":
        return f"{100 * value:.3f}"
    lines = [line for line in apart_from if line != value]
    for digits in range(3, DIGITS_MAX):
        shown = significant(value, digits)
        if shown not in {significant(line, digits) for line in lines}:
            return shown
    return significant(value, DIGITS_MAX)


def _unit(unit: str) -> str:
    return "%" if unit == "1" else unit


def line_of(value: float, unit: str) -> str:
    """A target or alert line, as its author wrote it.

    >>> line_of(200.0, "ms"), line_of(0.9999, "1")
    ('200 ms', '99.99 %')
    """
    return f"{100 * value if unit == '1' else value:,.6g} {_unit(unit)}"


def percent(ratio: float, *, signed: bool = False) -> str:
    """A ratio in per cent, to two significant digits and at most one decimal.

    >>> percent(0.0618), percent(0.381), percent(-0.0603, signed=True), percent(-4e-5)
    ('6.2 %', '38 %', '-6.0 %', '0.0 %')
    """
    if isnan(ratio):
        return NONE
    if not isfinite(ratio):
        return UNBOUNDED
    places = 0 if abs(ratio) >= 0.0995 else 1
    shown = f"{100 * ratio:{'+' if signed else ''},.{places}f}"
    return f"{'0.0' if shown in ('-0.0', '+0.0') else shown} %"


def error_span(low: float, high: float) -> str:
    """Return the interval of a relative error; an end that the data do not bound says so.

    >>> error_span(-0.29, 0.15), error_span(-1.0, 0.24)
    ('-29 % to +15 %', 'not bounded to +24 %')
    """
    ends = [NOT_BOUNDED if low <= -1 else percent(low, signed=True)]
    ends.append(percent(high, signed=True) if isfinite(high) else NOT_BOUNDED)
    return NOT_BOUNDED if ends == [NOT_BOUNDED] * 2 else " to ".join(ends)


def usd(value: float) -> str:
    """An amount of money: whole dollars from 100 on, cents below (halves up), three digits of less than a cent.

    >>> usd(529.04), usd(5.9992), usd(23 * 0.015), usd(0.0035274)
    ('529 USD', '6.00 USD', '0.35 USD', '0.00353 USD')
    """
    if (value and abs(value) < 0.01) or not isfinite(value):
        return f"{significant(value)} USD"
    exact = Decimal(f"{value:.10g}")  # As it is written: 0.345 is not the float a little below it.
    return f"{exact.quantize(Decimal(1) if abs(value) >= 100 else CENT, ROUND_HALF_UP):,} USD"


def assumption(source: "Provenance") -> str:
    """An assumption of the scenario's author, by its path, with its value if that is a number or a word.

    >>> from types import SimpleNamespace
    >>> assumption(SimpleNamespace(path="system.workers.isolates", value=8))
    'system.workers.isolates = 8'
    """
    return source.path if isinstance(source.value, dict) else f"{source.path} = {source.value}"


METERS = {"cpu": "CPU time", "class_a": "class A operations", "class_b": "class B operations"}


def meter_name(meter: str) -> str:
    """A meter of the bill, as one says it.

    >>> meter_name("rows_written"), meter_name("class_a")
    ('rows written', 'class A operations')
    """
    return METERS.get(meter, meter.replace("_", " "))


def target_name(metric: str, statistic: str = "") -> str:
    """A target, as one says it; *metric* may hold the statistic, as in ``Capacity.limited_by``.

    >>> target_name("api_latency_ms", "p99"), target_name("api_latency_ms p99 of search"), target_name("uptime_ratio")
    ('API latency P99', 'API latency P99 of search', 'Uptime')
    """
    name, _, inside = metric.partition(" ")
    which, _, scope = (statistic or inside).partition(" ")
    known = {metric: found.label for metric, (_, found) in metrics().items()}
    said = {**known, **WHOLE}.get(name, name)
    which = "" if which == "ratio" else which.upper() if which[:1] == "p" else which
    return " ".join(part for part in (said, which, scope) if part)


def target_names(names: Sequence[str]) -> str:
    """Targets in a row, the metric named once: for the middle of a sentence.

    >>> target_names(["api_latency_ms p50", "api_latency_ms p99", "uptime_ratio ratio"])
    'API latency P50, P99 and uptime'
    """
    named: list[str] = []
    previous = ""
    for name in names:
        metric, _, statistic = name.partition(" ")
        same = metric == previous and " " not in statistic
        named.append(statistic.upper() if same else target_name(name))
        previous = metric
    return listed(named).replace("Uptime", "uptime")


def component_name(column: str) -> str:
    """A component, an instance, or a part of a request's time, as one says it.

    >>> component_name("durable_objects_queue_ms"), component_name("d1")
    ('Durable Objects, waiting', 'D1')
    """
    bare = column.removesuffix("_ms")
    name = bare.removesuffix("_queue")
    labels = {component.name: component.label for component in components()}
    return labels.get(name, name.replace("_", " ")) + (", waiting" if bare.endswith("_queue") else "")


def listed(names: Sequence[str]) -> str:
    """Names in a row: commas, and *and* before the last.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
