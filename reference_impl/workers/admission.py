"""Admission control: checks on the head of a request, before its body is read.

The checks, in order: the route exists, it has the method, the request has a key, the key is known and has the route's
scope, and the announced body is within the route's limit. A body of unknown length is read up to the limit. The Worker
repeats the same checks, so a request through the tunnel, which arrives as a whole, is treated alike.

Routes are looked up by *finders*, each of which knows some of them: the operator's routes here, the API's in
:mod:`reference_impl.workers.worker`, and any others that a deployment serves. 411 is never sent: a request that
announces no body has none (RFC 9112, 6.3).

Sources
-------
Body limit: 100,000,000 bytes (Workers limits, Free and Pro). RFC 9110: 15.5.2 (401 says how to authenticate), 15.5.6
(405 says which methods there are), 9.3.2 (HEAD wherever GET is).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reference_impl.errors import RequestError
from reference_impl.messages import Request
from reference_impl.tunnel.tunnel import UNPACED
from reference_impl.workers.access import Gatekeeper

BODY_BYTES_MAX = 100_000_000
"""Body limit of an upload, and the default of a route."""
JSON_BODY_BYTES_MAX = 65_536
"""Body limit where the body is parsed; a usage event has a few hundred bytes."""
PROMPT_BODY_BYTES_MAX = 1_048_576
"""Body limit of a question: 100,000 characters in any JSON encoding."""


@dataclass(frozen=True)
class Terms:
    """The requirements of a route that are checked before the body is read.

    Parameters
    ----------
    scope
        Scope that the key must have if the deployment has keys; None: no key is required.
    body_bytes_max
        Largest length of the body.
    """

    scope: str | None = None
    body_bytes_max: int = BODY_BYTES_MAX


Finder = Callable[[Request], Terms | None]
"""Returns the terms of the route that a head matches, or None if the path is not one of its own. Raises
:class:`RequestError` for a path of its own with a wrong method (405) or name (400)."""


class Admission:
    """Admission control of one deployment.

    Parameters
    ----------
    finders
        Looked up in order; the first that knows a path decides.
    access
        The keys; None: no key is required.
    """

    def __init__(self, finders: Sequence[Finder], *, access: Gatekeeper | None) -> None:
        self._finders = (operator_route, *finders)
        self._access = access

    def admit(self, head: Request) -> int:
        """Check *head* and return the largest length of its body.

        Raises
        ------
        RequestError
            404, 405 or 400, if no route matches; 401 or 403 for the key; 413 for the announced length.
        """
        for find in self._finders:
            terms = find(head)
            if terms is not None:
                check(head, terms, access=self._access)
                return terms.body_bytes_max
        raise no_route(head)


def check(request: Request, terms: Terms, *, access: Gatekeeper | None) -> None:
    """Check the key of *request* and the length of its body, announced or actual.

    Raises
    ------
    RequestError
        401 or 403 for the key; 413 for the length.
    """
    if access is not None and terms.scope is not None:
        access.check(request, terms.scope)
    announced = request.headers.get("content-length", "0")
    size_bytes = max(int(announced) if announced.isdecimal() else 0, len(request.body))
    if size_bytes > terms.body_bytes_max:
        rule = f"at most {terms.body_bytes_max} here"
        raise RequestError(413, "body_too_large", f"a body of {size_bytes} bytes; {rule}")


def operator_route(head: Request) -> Terms | None:
    """Return the terms of the operator's routes, which require no key."""
    if head.path not in UNPACED:
        return None
    check_method(head, ("GET",))
    return Terms(body_bytes_max=JSON_BODY_BYTES_MAX)


def check_method(head: Request, methods: Iterable[str]) -> str:
    """Return which of *methods* handles the request: its own, or GET for HEAD.

    Raises
    ------
    RequestError
        405, with the allowed methods.
    """
    allowed = list(methods)
    meant = "GET" if head.method == "HEAD" and "HEAD" not in allowed else head.method
    if meant in allowed:
        return meant
    offered = [*allowed, "HEAD"] if "GET" in allowed and "HEAD" not in allowed else allowed
    named = ", ".join(offered)
    raise RequestError(405, "method_not_allowed", f"{head.method[:20]}: use {named}", headers={"allow": named})


def no_route(head: Request) -> RequestError:
    """Return the error for a path that no route matches."""
    return RequestError(404, "not_found", f"no route {head.path[:80]!r}")
