"""The definition of a component, from which everything else that names components is derived.

A component is a module beside this one that exports a frozen :class:`Component` named ``COMPONENT``: its table in the
scenario, its station, the operations that a route may use, the billing meters that they move, the services that their
availability depends on. Columns of a result, queues, labels, colours, cost lines and availability paths follow from it
(:mod:`sim.models.registry`); nothing else is edited when a component is added.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.flow import Flow, Station
from sim.foundation.schema import Table
from sim.models.billing import NOTHING, Call, Demand, Meter, Runaway, StorageLimit, Usage
from sim.randomness.distributions import AnyDistribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Tier(IntEnum):
    """The position of a component on a request's path, which orders columns, bills and pages."""

    ENTRY = 0
    COMPUTE = 1
    STATE = 2
    STORE = 3
    CALLER = 4


class NoParameters(Table):
    """The parameters of an operation that has none."""


@dataclass(frozen=True)
class Instance:
    """One instance of a component in a scenario: ``system.d1``, or ``system.archive`` with ``component = "d1"``.

    Attributes
    ----------
    name : str
        Its name in the scenario; its times are attributed to ``NAME`` and ``NAME_queue``.
    component : Component
    table : Table
        Its parameters.
    keys : int
        Distinct keys among the requests that reach it.
    others : mapping of str to Instance
        All instances of the scenario, by name.
    use_number : int
        Number of this use on a request's path, from 1: each use has random numbers of its own.
    """

    name: str
    component: "Component"
    table: Any
    keys: int = 1
    others: Mapping[str, "Instance"] = field(default_factory=dict, repr=False, compare=False)
    use_number: int = 1

    def stream(self, what: str) -> str:
        """Name the stream of random numbers of *what* in this use."""
        return f"{self.name}.{what}" if self.use_number == 1 else f"{self.name}.{what}.{self.use_number}"

    def linked(self, key: str) -> "Instance":
        """Return the instance that the table names under *key*."""
        return self.others[getattr(self.table, key)]

    def flow(self, operation: str, parameters: Table | None = None) -> Flow:
        """Return the steps of one of the component's operations."""
        wanted = self.component.operations[operation]
        return wanted.flow(self, wanted.parameters() if parameters is None else parameters)

    @property
    def station(self) -> Station | None:
        """The servers behind its queue; None when it has none."""
        return self.component.station(self) if self.component.station is not None else None


def _no_finding(instance: Instance, parameters: Any) -> str:  # noqa: ARG001  # one signature for all
    return ""


def _no_more(instance: Instance, parameters: Any) -> Mapping[str, Any]:  # noqa: ARG001  # one signature for all
    return {}


def _no_usage(instance: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    return NOTHING


@dataclass(frozen=True)
class Operation:
    """An operation of a component that a route may use.

    Attributes
    ----------
    flow : callable
        ``(instance, parameters) -> Flow``: its steps.
    parameters : type of Table
        Parameters that a step of a route may set.
    usage : callable
        ``(instance, call) -> Usage``: the billed usage of one call.
    services : tuple of str
        Services of the provider's incident record that it depends on.
    reads : bool
        Whether it is read-only, so that an incident affects it with its share of failing reads.
    uploads, downloads : bool
        Whether it uploads, or downloads, the request's bytes.
    message : bool
        Whether a request that uses it is a message on a socket that is open already.
    finding : callable
        ``(instance, parameters) -> str``: a sentence for a plan's notes, such as a missing index; empty if none.
    refusal : callable
        ``(instance, parameters) -> str``: the rule by which it refuses calls that come too often; empty if it has none.
    played : callable
        ``(instance, parameters) -> mapping``: further parameters for the reference, which it cannot compute itself.
    """

    flow: Callable[[Instance, Any], Flow]
    parameters: type[Table] = NoParameters
    usage: Callable[[Instance, Call], Usage] = _no_usage
    services: tuple[str, ...] = ()
    reads: bool = False
    uploads: bool = False
    downloads: bool = False
    message: bool = False
    finding: Callable[[Instance, Any], str] = _no_finding
    refusal: Callable[[Instance, Any], str] = _no_finding
    played: Callable[[Instance, Any], Mapping[str, Any]] = _no_more


@dataclass(frozen=True)
class Uses:
    """The facts about a scenario that a metric needs: a component's instances, and how often routes use them.

    Attributes
    ----------
    instances : tuple of str
        Names of the component's instances.
    operations : mapping of str to mapping of str to int
        By route, how often its steps use each of their operations: ``{"feed": {"archive.read": 2}}``.
    """

    instances: tuple[str, ...]
    operations: Mapping[str, Mapping[str, int]]

    def routes_with(self, operation: str, instance: str) -> list[str]:
        """List the routes that use one operation of an instance, and no other operation of it."""
        return [
            route
            for route, used in self.operations.items()
            if [name for name in used if name.partition(".")[0] == instance] == [f"{instance}.{operation}"]
        ]

    def mean_ms(
        self, frame: "pd.DataFrame", *, columns: Sequence[str], operation: str | None = None
    ) -> "NDArray[np.float64]":
        """Return what one use takes, in ms: a value for each request and instance that it used, in order of requests.

        A result holds the total of a request, so several uses of one instance give one value, their mean.

        Parameters
        ----------
        frame : DataFrame
            Of a result.
        columns : sequence of str
            Time columns of an instance that count, without its name: ``("ms", "queue_ms")``. The first is above 0 for
            requests that used it.
        operation : str, optional
            Only of routes that use this operation of the instance, and no other.
        """
        found, order = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
        for name in self.instances:
            used = frame[f"{name}_{columns[0]}"] > 0
            if operation is not None:
                used &= frame["route"].isin(self.routes_with(operation, name))
            place = np.flatnonzero(used)
            met = frame.iloc[place]
            often = met["route"].map(self.often(name)).to_numpy(dtype=np.float64)
            total_ms = met[[f"{name}_{column}" for column in columns]].sum(axis=1).to_numpy()
            found.append(total_ms / np.maximum(often, 1.0))
            order.append(place)
        return np.concatenate(found)[np.argsort(np.concatenate(order), kind="stable")]

    def often(self, instance: str) -> dict[str, int]:
        """Count, by route, how often its steps use an instance."""
        return {
            route: sum(times for name, times in used.items() if name.partition(".")[0] == instance)
            for route, used in self.operations.items()
        }


@dataclass(frozen=True)
class Metric:
    """A metric of the requests that use a component, for targets and comparisons.

    Attributes
    ----------
    name : str
        Ends in its unit: ``d1_query_ms``.
    label, unit : str
    values : callable
        ``(frame, uses) -> ndarray, shape (n,)``: its values for the requests that it applies to, in order of arrival.
    compared : tuple of str
        Statistics shown by a comparison of two runs.
    operations : tuple of str
        The metric applies if some route uses one of these operations; empty: any operation of the component.
    restates : str
        Key of the component's table whose values the metric shows unchanged, with no queue in between; the metric is
        then an input of the scenario and not a prediction. Empty for a predicted metric.
    """

    name: str
    label: str
    unit: str
    values: Callable[["pd.DataFrame", Uses], "NDArray[np.float64]"]
    compared: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    restates: str = ""

    def applies(self, uses: Uses) -> bool:
        """Whether the metric applies to some route."""
        names = {name.partition(".")[2] for used in uses.operations.values() for name in used}
        return bool(names & set(self.operations)) if self.operations else bool(names)


@dataclass(frozen=True)
class Component:
    """A kind of component of a deployment: its table, operations, station, meters and metrics.

    Attributes
    ----------
    name, label, colour : str
        As in the scenario, on pages, and in figures (``#rrggbb``).
    tier : Tier
    table : type of Table
        Its table in ``[system]``.
    operations : mapping of str to Operation
    entry : callable or None
        ``(instance, inner) -> Flow`` for a component through which requests enter.
    forward : callable or None
        ``(instance, inner, *, entry) -> Flow``: the way from an entry, whose time it is, to an instance that stands
        elsewhere, around all steps of a route that uses it.
    round_trips : callable or None
        ``(instance) -> mapping``: by name, the ``rtt_ms`` that other instances have because of where it stands.
    transport : {"http", "quic"}
        Transport of requests through the entry in a live run.
    runs_per_s : callable or None
        ``(instance) -> float``: rate of requests that the entry makes by itself, whatever the traffic.
    services : tuple of str
        Services of the incident record that a request through the entry depends on.
    station : callable or None
        ``(instance) -> Station``: the servers behind its queue, named as the instance.
    links : mapping of str to str
        Keys of the table that name another instance, and the component that it must be of.
    cpu : bool
        Whether it reports CPU time, which is part of its own time.
    meters : tuple of Meter
    limits : tuple of StorageLimit
        Bounds of the platform on what its instances store.
    runaways : tuple of Runaway
        Ways in which an instance can consume billed resources without limit.
    background : callable or None
        ``(instance, demand) -> Usage``: billed usage of a month besides its calls.
    bill_note : callable or None
        ``(instance, usage) -> str``: what the bill must say of that usage; empty for nothing.
    keeps : callable or None
        ``(instance) -> str``: meter of the stored objects that its routes address, if it stores any.
    metrics : tuple of Metric
    busy_ms : callable or None
        ``(frame, instance) -> ndarray, shape (instances,)``: busy time of its servers in a live run, as far as the
        answers report it.
    played : callable
        ``(instance, parameters of its steps) -> mapping``: further keys of its table for the reference.
    reference : Path or None
        For a user's own component, the module that the embedded reference loads; None for those it has.
    """

    name: str
    label: str
    colour: str
    tier: Tier
    table: type[Table]
    operations: Mapping[str, Operation] = field(default_factory=dict)
    entry: Callable[[Instance, Flow], Flow] | None = None
    forward: Callable[..., Flow] | None = None
    round_trips: Callable[[Instance], Mapping[str, AnyDistribution]] | None = None
    transport: Literal["http", "quic"] = "http"
    runs_per_s: Callable[[Instance], float] | None = None
    services: tuple[str, ...] = ()
    station: Callable[[Instance], Station] | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    cpu: bool = False
    meters: tuple[Meter, ...] = ()
    limits: tuple[StorageLimit, ...] = ()
    runaways: tuple[Runaway, ...] = ()
    background: Callable[[Instance, Demand], Usage] | None = None
    bill_note: Callable[[Instance, Usage], str] | None = None
    keeps: Callable[[Instance], str] | None = None
    metrics: tuple[Metric, ...] = ()
    busy_ms: Callable[["pd.DataFrame", Instance], "NDArray[np.float64]"] | None = None
    played: Callable[[Instance, Sequence[Table]], Mapping[str, Any]] = _no_more
    reference: Path | None = None

    def __repr__(self) -> str:
        return f"<Component {self.name}: {', '.join(self.operations) or 'no operation'}>"


def cpu_category(name: str) -> str:
    """Name the time category of the CPU time of the instance *name*.

    >>> cpu_category("workers"), cpu_category("auth")
    ('worker_cpu', 'auth_cpu')
    """
    return f"{name.removesuffix('s') if name == 'workers' else name}_cpu"
