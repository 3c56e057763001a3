"""The OpenAPI description of a deployment: the brief's API, and the routes of a scenario.

Sources
-------
OpenAPI specification 3.1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from reference_impl.routes.route import Route

Node = dict[str, Any]
HEADERS = ("headroom-key", "headroom-size-bytes", "headroom-object", "headroom-request")


def described(routes: Iterable[Route], api: Mapping[str, Any], *, has_api: bool) -> Node:
    """Return the description of the *routes* that are reached over HTTP, merged with *api* if it is served."""
    found: dict[str, Node] = {path: dict(node) for path, node in api["paths"].items()} if has_api else {}
    for route in routes:
        if route.transport == "http":
            found.setdefault(route.template.path, {}).setdefault(route.method.lower(), _operation(route))
    return {**api, "paths": found}


def _operation(route: Route) -> Node:
    whole = {"type": "integer", "minimum": 0}
    parameters: list[Node] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in dict.fromkeys(route.template.names)
    ]
    parameters += [{"name": name, "in": "header", "required": False, "schema": whole} for name in HEADERS]
    return {
        "summary": f"Route {route.name}.",
        "parameters": parameters,
        "responses": {"200": {"description": "Every step was done."}, "default": {"description": "A step failed."}},
    }
