"""WebSocket sessions of a Durable Object: a room that sends each member's message to all its members.

A connection is a request to the Worker and one to the object; a message goes straight to the object without the Worker,
holds it for its own work and for each member that it is sent to, and is received half a round trip later. With the
hibernation API the object leaves memory after ten idle seconds while the sockets stay, and the next message wakes it;
without it the object stays in memory, and on the bill, for as long as a socket is open (its members came before the run
began).

Simplifications: a room always has its mean number of members; a message stores nothing; a member that leaves costs
nothing. Other routes to the same objects keep the namespace's own eviction time, so rooms are modelled best in a
namespace of their own. In a live run a message is a request of the driver, which the reference passes to the object on
a socket that it opens for it.

Sources
-------
Durable Objects pricing (20 received messages are billed as one request, sent ones are free; an object that may
hibernate has no duration while it is idle, any other has it while a socket is open) and lifecycle (10 s). Times of
messages and sends are the scenario's assumptions.
"""

from dataclasses import replace
from math import inf

import numpy as np

from sim.flow import AttributeOver, Delay, Flow, Guard
from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table
from sim.models import durable_objects
from sim.models.billing import SECONDS_PER_MONTH, Call, Demand, Usage
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Constant, Distribution


class WebSocket(Table):
    """Rooms of members with a WebSocket each, in the objects of a namespace."""

    objects: str = "durable_objects"
    """The namespace that the rooms are objects of."""
    members: Count
    """Sockets that are open in a room."""
    connect_ms: Distribution
    """Taking a new socket; it holds the object."""
    message_ms: Distribution
    """Work of a message; it holds the object."""
    send_us: NotNegative
    """The object is held so long for each member that it sends to."""
    message_bytes_max: Count
    """A larger message is refused."""
    hibernates: bool
    """Whether the sockets are accepted by the hibernation API."""
    hibernate_idle_ms: Positive
    """A room that hibernates is put out of memory when idle for so long."""
    open_fraction: Fraction
    """Share of the month in which a room has a socket open: what a room that does not hibernate is billed for."""
    request_messages: Count
    """Received messages that are billed as one request."""


def connect(rooms: Instance, _: NoParameters) -> Flow:
    """Open a socket to the room of the request's key."""
    return _in_room(rooms, (Delay(rooms.table.connect_ms, rooms.stream("connect")),))


def message(rooms: Instance, _: NoParameters) -> Flow:
    """Send the request's bytes into the room of its key, and wait until every member has them."""
    too_large = Guard(AttributeOver("size_bytes", rooms.table.message_bytes_max), "too_large")
    work = Delay(rooms.table.message_ms, rooms.stream("message"))
    send = Delay(Constant(value=_send_ms(rooms)), rooms.stream("send"))
    return (too_large, *_in_room(rooms, (work, send)))


def _in_room(rooms: Instance, work: Flow) -> Flow:
    objects = replace(rooms.linked("objects"), use_number=rooms.use_number)
    table: WebSocket = rooms.table
    idle_ms = min(table.hibernate_idle_ms, objects.table.evict_idle_ms) if table.hibernates else inf
    return durable_objects.around(objects, durable_objects.held(objects, work=work, evict_idle_ms=idle_ms))


def _send_ms(rooms: Instance) -> float:
    return float(rooms.table.members * rooms.table.send_us / 1_000)


def connect_usage(rooms: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a connection: one request to the object; the Worker's request is billed by its own step."""
    return _usage(rooms, requests=1.0, active_ms=rooms.table.connect_ms.expected())


def message_usage(rooms: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a message: a fraction of a request, by default 1/20; what the object sends is free."""
    active_ms = rooms.table.message_ms.expected() + _send_ms(rooms)
    return _usage(rooms, requests=1.0 / rooms.table.request_messages, active_ms=active_ms)


def _usage(rooms: Instance, *, requests: float, active_ms: float) -> Usage:
    """Return requests and active time; without hibernation the time is part of the open time (:func:`open_rooms`)."""
    active_s = active_ms / 1_000 if rooms.table.hibernates else 0.0
    return Usage({"durable_objects.requests": requests, "durable_objects.duration": active_s})


def open_rooms(rooms: Instance, demand: Demand) -> Usage:
    """Return a month's duration of rooms that cannot hibernate: each room in use, for as long as a socket is open."""
    if rooms.table.hibernates or not sum(demand.calls_per_month.values()):
        return Usage()
    instances = durable_objects.station(rooms.linked("objects")).instances
    used = np.unique(np.flatnonzero(demand.key_share) % instances).size
    return Usage({"durable_objects.duration": float(used) * SECONDS_PER_MONTH * rooms.table.open_fraction})


COMPONENT = Component(
    name="websocket",
    label="WebSocket",
    colour="#2aa198",
    tier=Tier.STATE,
    table=WebSocket,
    operations={
        "connect": Operation(connect, usage=connect_usage, services=("durable_objects",)),
        "message": Operation(message, usage=message_usage, services=("durable_objects",), message=True),
    },
    links={"objects": "durable_objects"},
    background=open_rooms,
)
