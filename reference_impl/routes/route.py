"""Routes, and the table that finds the route of a request."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reference_impl.errors import ConfigError, RequestError
from reference_impl.parts import Part, Transport
from reference_impl.routes.numbering import Numbers, numbers_of
from reference_impl.routes.steps import Step, read_steps
from reference_impl.routes.template import Template
from reference_impl.tables import Table, nearest

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Route:
    """One kind of request, and the steps that serve it.

    Parameters
    ----------
    name
        Its name in the scenario.
    enter
        Name of the instance through which its requests enter.
    transport
        The protocol of that entry.
    method, template
        Method and path of the requests that it answers.
    steps
        Executed in order.
    numbers
        Of the uses and decisions of its steps.
    """

    name: str
    enter: str
    transport: Transport
    method: str
    template: Template
    steps: tuple[Step, ...]
    numbers: Numbers


@dataclass(frozen=True)
class Found:
    """The route of a request, and the values of the placeholders in its path."""

    route: Route
    values: Mapping[str, str]


def read_route(
    name: str, table: Table, *, parts: Mapping[str, Part], links: Callable[[str], Sequence[str]] = lambda _: ()
) -> Route:
    """Read the table of one route; *parts* are those of the instances, by name, and *links* what each is linked to.

    Raises
    ------
    ConfigError
        If a key is missing, unknown or invalid.
    """
    enter = table.text("enter", "network")
    entries = {instance: part.transport for instance, part in parts.items() if part.transport is not None}
    if enter not in entries:
        near = nearest(enter, entries)
        raise ConfigError(f"{table.where('enter')}={enter!r} is no instance that requests come in by; {near}")
    request = table.table("request")
    method = request.choice("method", "", choices=METHODS)
    template = Template(request.text("path", ""), where=request.where("path"))
    request.close()
    steps = read_steps(table, "steps", parts=parts)
    return Route(name, enter, entries[enter], method, template, steps, numbers_of(name, steps, links=links))


class RouteTable:
    """The routes of a deployment.

    Parameters
    ----------
    routes
        All routes.

    Raises
    ------
    ConfigError
        If some request would match two of them.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: Sequence[Route] = tuple(routes)
        for n, route in enumerate(self.routes):
            for other in self.routes[:n]:
                if _collide(route, other):
                    path = f"{route.method} {route.template.path}"
                    rule = "must differ in method or path, or come in by another transport"
                    raise ConfigError(f"routes.{route.name}: {path} answers what routes.{other.name} does; {rule}")

    def find(self, transport: Transport, method: str, *, path: str) -> Found | None:
        """Return the route of a request; None if there is none. A route for GET also answers HEAD."""
        for route in self.routes:
            if (route.transport, route.method) == (transport, method):
                values = route.template.values(path)
                if values is not None:
                    return Found(route, values)
        return self.find(transport, "GET", path=path) if method == "HEAD" else None

    def methods(self, transport: Transport, path: str) -> list[str]:
        """Return the methods of the routes that answer *path*."""
        fitting = [r for r in self.routes if r.transport == transport and r.template.values(path) is not None]
        return sorted({route.method for route in fitting})

    def refusal(self, transport: Transport, method: str, *, path: str) -> RequestError:
        """Return the error for a request without a route: 405 if its path has other methods, else 404."""
        methods = self.methods(transport, path)
        if methods:
            return RequestError(405, "method_not_allowed", f"{method[:20]}: use {', '.join(methods)}")
        return RequestError(404, "not_found", f"no route {path[:80]!r}")


def _collide(route: Route, other: Route) -> bool:
    alike = (route.transport, route.method) == (other.transport, other.method)
    return alike and route.template.overlaps(other.template)
