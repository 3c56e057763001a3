"""What the walk needs to know of a flow: its stations, how its loops drain counters, its flags, who spawned what."""

from typing import NamedTuple

from sim import flow as f


class Follows(NamedTuple):
    """The origin of a spawned flow: the delay since it was spawned, and the stations its parent held then."""

    after_ms: float
    held: tuple[f.Station, ...]
    once: f.Latch | None = None


class Flag(NamedTuple):
    """A counter that a request raises where it finds it low, with a flow that lowers it a fixed time later."""

    counter: f.Counter
    lowers: f.Spawn


def flag_of(branch: f.Branch) -> Flag | None:
    """Return the flag that *branch* asks for: raised on the way around, where it also is to be lowered again."""
    condition = branch.condition
    if not isinstance(condition, f.CountAtLeast):
        return None
    counter = condition.counter
    raises = [part for part in branch.otherwise if isinstance(part, f.Count) and part.counter == counter]
    enough = raises and all(not isinstance(part.by, str) and part.by >= condition.at_least > 0 for part in raises)
    lowers = [part for part in branch.otherwise if isinstance(part, f.Spawn) and _lowers(part, counter)]
    untouched = counter not in f.states(branch.then, f.Counter)
    return Flag(counter, lowers[0]) if enough and len(lowers) == 1 and untouched else None


def _lowers(spawn: f.Spawn, counter: f.Counter) -> bool:
    """Whether *spawn* does nothing but empty *counter*, once for each time that it is raised."""
    return spawn.once is not None and spawn.steps == (f.Reset(counter),)


class Batch(NamedTuple):
    """A counter from which a request takes a batch where it finds a *full* one, and a timer that empties it."""

    counter: f.Counter
    full: f.CountAtLeast
    timer: f.Spawn


def batch_of(branch: f.Branch) -> Batch | None:
    """Return the batch that *branch* takes when it is full, where it starts a timer for the rest if it is not."""
    condition = branch.condition
    if not isinstance(condition, f.CountAtLeast) or condition.at_least < 1:
        return None
    counter, size = condition.counter, condition.at_least
    takes = [part for part in branch.then if part == f.Count(counter, by=-size)]
    timers = [part for part in branch.otherwise if isinstance(part, f.Spawn) and part.once is not None]
    empties = [timer for timer in timers if drain(timer.steps, counter) == float("inf")]
    return Batch(counter, condition, empties[0]) if len(takes) == len(empties) == 1 else None


def grows(step: f.Count | f.Reset | f.Move) -> bool:
    """Whether *step* adds to its counter."""
    return isinstance(step, f.Count) and (isinstance(step.by, str) or step.by > 0)


def stations(flow: f.Flow) -> tuple[f.Station, ...]:
    """Return all stations of *flow* by name, including its shared links."""
    links = tuple(sharing(link) for link in f.states(flow, f.Link) if link.shared)
    return tuple(sorted((*f.states(flow, f.Station), *links), key=lambda station: station.name))


def sharing(link: f.Link) -> f.Station:
    """Return a shared link as a processor-sharing station."""
    return f.Station(link.name, instances=link.instances, discipline="ps")


def drain(steps: f.Flow, counter: f.Counter) -> float:
    """Return how much one iteration of *steps* takes from *counter*: all of it where it is reset, or moved."""
    parts = (part for part in f.walk(steps) if isinstance(part, f.Count | f.Reset | f.Move) and part.counter == counter)
    return sum(-float(part.by) if isinstance(part, f.Count) else float("inf") for part in parts if not grows(part))
