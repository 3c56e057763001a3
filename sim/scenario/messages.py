"""Messages on WebSockets, stated as a user knows them: how often a client sends one, and how long its session is.

A table ``[routes.NAME.messages]`` becomes a route ``NAME_messages`` of its own. Its rate follows from that of the
sessions: sessions a second x ``session_s`` / ``every_s``. It comes beside the requests of the workload and of
``[demand]``, which keep their numbers. Sessions are taken to be as many as in a steady state, and each message to come
on its own; by the theorem of Palm and Khintchine that is what many independent clients send together.

Runs of schedules are among the workload's arrivals, so with them the rate of messages is higher than said by at most
theirs.

Sources
-------
Little, "A proof for the queuing formula L = lambda W", Operations Research 9, 1961 (open sessions).
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sim.foundation.figures import figure
from sim.foundation.schema import PAGE
from sim.models.component import Instance
from sim.scenario.arrivals import Closed, TraceReplay
from sim.scenario.routes import Route, Step, expected_uses

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

SUFFIX = "_messages"

CONNECT, MESSAGE = "connect", "message"
"""Operations of a component whose instances hold WebSockets."""


def message_routes(routes: Mapping[str, Route]) -> dict[str, str]:
    """Return the routes that the messages of other ones are played as, with those: ``{"room_messages": "room"}``."""
    return {f"{name}{SUFFIX}": name for name, route in routes.items() if route.messages is not None}


def with_messages(scenario: "Scenario") -> dict[str, Route]:
    """Return the routes of *scenario* and, last, one for the messages of each that has some.

    A trace says itself what comes, so with one the messages have share 0.
    """
    found = dict(scenario.routes)
    recorded = isinstance(scenario.workload.arrivals, TraceReplay)
    for derived, name in message_routes(scenario.routes).items():
        route = scenario.routes[name]
        messages = route.messages
        assert messages is not None, "the routes with messages are named"
        steps = messages.steps or (Step(use=f"{_rooms(route, scenario.system.instances)}.{MESSAGE}", parameters={}),)
        found[derived] = route.model_copy(
            update={
                "share": 0.0 if recorded else route.share * messages.session_s / messages.every_s,
                "size_bytes": messages.size_bytes,
                "objects": None,
                "match": (),
                "request": None,
                "prepare": None,
                "socket": messages.socket,
                "messages": None,
                "steps": steps,
            }
        )
    return found


def message_problems(scenario: "Scenario") -> Iterator[str]:
    """Yield the problems of the messages of *scenario*, whose routes are those of its file, one line each."""
    instances = scenario.system.instances
    for derived, name in message_routes(scenario.routes).items():
        said, route = f"routes.{name}.messages", scenario.routes[name]
        if derived in scenario.routes:
            yield f"{said} is played as routes.{derived}, which must not be there (give it another name) ({PAGE})"
        if isinstance(scenario.workload.arrivals, Closed):
            way_out = "a closed loop has no rate that they follow from; give them a route of their own"
            yield f"{said} must not be there with workload.arrivals.kind=closed: {way_out} ({PAGE})"
        if not _drawn(route, instances):
            yield f'{said} must not be there with enter="{route.enter}": a schedule opens no WebSocket ({PAGE})'
        if route.messages is not None and route.messages.steps is None and not _rooms(route, instances):
            yield f"{said} must hold steps, or its route use websocket.{CONNECT} ({PAGE})"


def _rooms(route: Route, instances: Mapping[str, Instance]) -> str:
    """Return the first instance that *route* opens WebSockets of; empty for none."""
    for step, _ in expected_uses(route.steps):
        name, _, operation = (step.use or "").partition(".")
        if operation == CONNECT and name in instances and MESSAGE in instances[name].component.operations:
            return name
    return ""


def _drawn(route: Route, instances: Mapping[str, Instance]) -> bool:
    """Whether a route comes as often as its share says, and not by a schedule."""
    return route.enter not in instances or instances[route.enter].component.runs_per_s is None


def messages_per_request(scenario: "Scenario") -> float:
    """Return the messages that come with each request which no schedule makes."""
    derived = message_routes(scenario.routes)
    drawn = [name for name, route in scenario.routes.items() if _drawn(route, scenario.system.instances)]
    requests = sum(scenario.routes[name].share for name in drawn if name not in derived)
    return sum(scenario.routes[name].share for name in derived) / requests if requests else 0.0


def message_share(scenario: "Scenario") -> float:
    """Return the share of messages in everything that comes."""
    return sum(scenario.shares[name] for name in message_routes(scenario.routes))


def with_both_rates(scenario: "Scenario", rate_per_s: float) -> str:
    """Return " (139 HTTP requests/s and 69 messages/s)", of a rate of both; empty without messages."""
    share = message_share(scenario)
    if not share:
        return ""
    return f" ({figure(rate_per_s * (1 - share), 4)} HTTP requests/s and {figure(rate_per_s * share, 4)} messages/s)"


def message_notes(scenario: "Scenario", nominal_per_s: float | None) -> Iterator[str]:
    """Yield the arithmetic of the messages of each route, at a rate of all requests; None with a trace."""
    for derived, name in message_routes(scenario.routes).items():
        messages = scenario.routes[name].messages
        assert messages is not None, "the routes with messages are named"
        if nominal_per_s is None:
            yield f"routes.{name}.messages: not played, since a trace says itself what comes"
            continue
        sessions_per_s = nominal_per_s * scenario.shares[name]
        rate_per_s = nominal_per_s * scenario.shares[derived]
        yield (
            f"routes.{name}.messages: {figure(sessions_per_s)} sessions/s x {messages.session_s:g} s / "
            f"{messages.every_s:g} s = {figure(rate_per_s, 4)} messages/s, played as route {derived} beside "
            f"{figure(nominal_per_s * (1 - message_share(scenario)), 4)} HTTP requests/s; rates of results count both"
        )


def own_table(routes: Mapping[str, Any], derived: Mapping[str, str]) -> dict[str, Any]:
    """Return the tables of the routes as a file has them: without derived routes, and without an empty ``messages``."""
    return {
        name: {key: value for key, value in table.items() if key != "messages" or value is not None}
        for name, table in routes.items()
        if name not in derived
    }
