"""The rate at which a noisy, rising function crosses zero, in as few evaluations as possible.

Each evaluation plays millions of requests, so halving an interval would waste them. Near saturation a latency goes as
1/(bound - rate), so its reciprocal is about a straight line, and a secant through that comes near in two or three. It
is safeguarded: the root stays between a rate below and a rate above, and an end that would stay for ever is made to
weigh half (the Illinois rule). A line says nothing while an end is so far from the target that only its side counts:
until then the bracket is halved. The last step is an interpolation that is not played.

Sources
-------
Dowell and Jarratt, "A modified regula falsi method for computing the root of an equation", BIT 11, 1971 (Illinois).
"""

from collections.abc import Callable
from math import exp, isnan, log

from sim.foundation.errors import UsageError

STEP_MIN, STEP_MAX = 0.05, 0.08
"""Of the logarithm of the rate, while no evaluation lies on the other side; far from the targets up to half the gap,
and no further than the tolerance where an end may be that near."""

SLOPE = 4.0
"""Guess at the gap's slope on the logarithm of the rate, where only one rate is known."""

PAST = 1.2
"""Times the distance to where the gap should be zero: a step is to come out on the other side."""

WIDE = 6
"""Times the tolerance: in a wider bracket an interpolated place is not believed, however near to one of its ends."""

FAR = 25.0
"""Of the logarithm of the rate: nobody looks eleven powers of ten from where the search began."""

GAP_MAX = 1.4
"""A gap beyond it, either way, only shows the side."""

EVALUATIONS_MAX = 40


def crossing(
    gap: Callable[[float], float],
    start: float,
    *,
    tolerance_ratio: float,
    known: dict[float, float] | None = None,
    floor: float = 0.0,
) -> float:
    """Find the rate at which *gap* turns from negative to positive.

    Parameters
    ----------
    gap : callable
        Logarithm of a statistic over its target, of a rate.
    start : float
        First rate to be looked at.
    tolerance_ratio : float
        The rates between which the answer is interpolated are this near; or they are rather near, and it is a third as
        near to one of them.
    known : dict of float to float, optional
        Evaluations that are there already.
    floor : float
        Below it there is no crossing to look for.

    Returns
    -------
    float
        The rate; 0 where *gap* is positive down to *floor*.

    Raises
    ------
    UsageError
        *gap* is NaN, or does not cross zero within a reasonable number of evaluations.
    """
    seen = {log(rate): value for rate, value in (known or {}).items()}

    def at(place: float) -> float:
        if place not in seen:
            seen[place] = gap(exp(place))
        if isnan(seen[place]):
            raise UsageError(f"gap({exp(place):.4g})=nan must be a number")
        return seen[place]

    place = log(start)
    tolerance = log(1 + tolerance_ratio)
    bracket = _bracket(at, place, seen, floor=floor, step_min=min(STEP_MIN, tolerance))
    return 0.0 if bracket is None else exp(_illinois(at, *bracket, tolerance=tolerance))


def guessed(rate: float, gap: float, *, within_ratio: float) -> float:
    """Guess the rate at which a gap crosses zero from one evaluation; the guess is within a ratio of it."""
    most = log(1 + within_ratio)
    return rate * exp(-min(max(gap / SLOPE, -most), most))


def interpolated(known: dict[float, float]) -> float:
    """Interpolate the rate at which a gap crosses zero between those that are known, at least one; play none.

    Where all are on one side the line through the two that are nearest to the other is followed, at most as far again
    as they are apart.
    """
    places = sorted((log(rate), value) for rate, value in known.items())
    below = [place for place in places if place[1] <= 0]
    above = [place for place in places if place[1] > 0 and (not below or place[0] > below[-1][0])]
    ends = (below[-1], above[0]) if below and above else tuple(places[:2] if above else places[-2:])
    (low, of_low), (high, of_high) = ends[0], ends[-1]
    weight_low, weight_high = _straight(of_low), _straight(of_high)
    if weight_low == weight_high:
        return exp(high if weight_low <= 0 else low)
    share = min(max(weight_low / (weight_low - weight_high), -1.0), 2.0)
    return exp(low) + (exp(high) - exp(low)) * share


def _bracket(
    at: Callable[[float], float], place: float, seen: dict[float, float], *, floor: float, step_min: float
) -> tuple[float, float] | None:
    """Return places below and above the crossing; None where there is none above *floor*."""
    step, first = 0.0, place
    at(place)
    for _ in range(EVALUATIONS_MAX):
        below = [x for x, y in seen.items() if y <= 0]
        above = [x for x, y in seen.items() if y > 0 and (not below or x > max(below))]
        if below and above:
            return max(below), min(above)
        end = min(above) if above else max(below)
        wanted = _secant(seen, end) or max(2 * step, PAST * abs(seen[end]) / SLOPE)
        step = min(max(wanted, step_min), max(2 * step, STEP_MAX, abs(seen[end]) / 2))
        place = end - step if above else end + step
        if floor and above and place < log(floor):
            return None
        if abs(place - first) > FAR:
            break
        at(place)
    raise UsageError(f"rate={exp(place):.4g} after {EVALUATIONS_MAX} probes: all on one side of the targets")


def _secant(seen: dict[float, float], end: float) -> float:
    """Return a little more than the distance from *end* to where a line through it and its neighbour is 0."""
    other = min((place for place in seen if place != end), key=lambda place: abs(place - end), default=end)
    rise, run = _straight(seen[end]) - _straight(seen[other]), end - other
    return PAST * abs(_straight(seen[end]) * run / rise) if rise and run and rise / run > 0 else 0.0


def _illinois(at: Callable[[float], float], low: float, high: float, *, tolerance: float) -> float:
    """Narrow the bracket until it, or the interpolated place's distance from one of its ends, is small enough."""
    weight_low, weight_high, kept = _straight(at(low)), _straight(at(high)), 0
    for _ in range(EVALUATIONS_MAX):
        sides_only = max(-at(low), at(high)) >= GAP_MAX
        place = (low + high) / 2 if sides_only else _between(low, high, weight_low, weight_high)
        near = high - low <= WIDE * tolerance and min(place - low, high - place) <= tolerance / 3
        if (near and not sides_only) or high - low <= tolerance:
            break
        value = at(place)
        if value > 0:
            weight_low = weight_low / 2 if kept < 0 else weight_low
            high, weight_high, kept = place, _straight(value), -1
        else:
            weight_high = weight_high / 2 if kept > 0 else weight_high
            low, weight_low, kept = place, _straight(value), 1
    return _between(low, high, _straight(at(low)), _straight(at(high)))


def _straight(gap: float) -> float:
    """Return 1 - target / value, which is about linear in the rate, from log(value / target)."""
    return 1 - exp(-min(max(gap, -GAP_MAX), GAP_MAX))


def _between(low: float, high: float, weight_low: float, weight_high: float) -> float:
    """Return the logarithm of the rate at which a line through both ends is 0."""
    return log(exp(low) + (exp(high) - exp(low)) * weight_low / (weight_low - weight_high))
