"""Admission: what is decided by the head of a request, before anything of its body is read.

In this order: is there such a route, has it the method, is there a key, is the key known and good for the route, and is
the announced body within the route's bound. A body that announces no length is read up to the bound. Whoever serves a
request decides with the same functions, so that nothing depends on which way the request came in.

Routes are found by *finders*, each of which knows some of them: the operator's here, the API's in
:mod:`reference_impl.workers.worker`, and whatever else a deployment serves. There is no 411: a request that announces
no body has none, as in HTTP/1.1, and is refused for what is missing in it.

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
"""An upload, and any body of a route that says nothing else."""
JSON_BODY_BYTES_MAX = 65_536
"""A body that is parsed: a usage event has a few hundred bytes."""
PROMPT_BODY_BYTES_MAX = 1_048_576
"""A question of 100,000 characters, whatever JSON makes of each."""


@dataclass(frozen=True)
class Terms:
    """What a route asks of a request before its body is read.

    Parameters
    ----------
    scope
        What a key must be good for, in a deployment that has keys; None asks for no key.
    body_bytes_max
        The longest body.
    """

    scope: str | None = None
    body_bytes_max: int = BODY_BYTES_MAX


Finder = Callable[[Request], Terms | None]
"""Returns the terms of the route that a head asks for, or None if the route is none of its own; raises
:class:`RequestError` if the path is its own and no such method or name is."""


class Admission:
    """Decides on the heads of requests.

    Parameters
    ----------
    finders
        Who knows the routes; the first that knows a path decides.
    access
        The keys; None: nobody needs one.
    """

    def __init__(self, finders: Sequence[Finder], *, access: Gatekeeper | None) -> None:
        self._finders = (operator_route, *finders)
        self._access = access

    def admit(self, head: Request) -> int:
        """Decide on *head*; return how many bytes its body may have.

        Raises
        ------
        RequestError
            404, 405 or 400, if there is no such route; 401 or 403 for the key; 413 for the announced length.
        """
        for find in self._finders:
            terms = find(head)
            if terms is not None:
                check(head, terms, access=self._access)
                return terms.body_bytes_max
        raise no_route(head)


def check(request: Request, terms: Terms, *, access: Gatekeeper | None) -> None:
    """Check the key of *request* and the length of its body, announced or there.

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
    """Return the terms of the operator's routes, which ask for no key."""
    if head.path not in UNPACED:
        return None
    check_method(head, ("GET",))
    return Terms(body_bytes_max=JSON_BODY_BYTES_MAX)


def check_method(head: Request, methods: Iterable[str]) -> str:
    """Return which of *methods* is meant: the request's own, or GET for a HEAD.

    Raises
    ------
    RequestError
        405, with the methods that there are.
    """
    allowed = list(methods)
    meant = "GET" if head.method == "HEAD" and "HEAD" not in allowed else head.method
    if meant in allowed:
        return meant
    offered = [*allowed, "HEAD"] if "GET" in allowed and "HEAD" not in allowed else allowed
    named = ", ".join(offered)
    raise RequestError(405, "method_not_allowed", f"{head.method[:20]}: use {named}", headers={"allow": named})


def no_route(head: Request) -> RequestError:
    """Return the refusal of a path that no route has."""
    return RequestError(404, "not_found", f"no route {head.path[:80]!r}")
