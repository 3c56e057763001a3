"""The request headers that a load driver sends, and their defaults.

======================  =========================================================================
headroom-key            integer key: selects the Durable Object, the rows, the organisation
headroom-size-bytes     integer: number of bytes that the request stores or fetches
headroom-object         integer index of the stored object; default, and -1: the request's index
headroom-request        integer index of the request in its run; its random numbers are looked up by it
headroom-attempt        integer index of the client's attempt, from 0; a retry draws other numbers
headroom-run            name of the run, so that two runs never send the same usage event
headroom-prepare        1: only create, unpaced, the data that later requests need
======================  =========================================================================
"""

import re
import zlib
from collections.abc import Mapping
from itertools import count

from reference_impl import validation
from reference_impl.messages import Request
from reference_impl.parts import Call
from reference_impl.routes.route import Found
from reference_impl.timing.addressed import Draws
from reference_impl.timing.stopwatch import Stopwatch

NUMBER_MAX = 10**18 - 1
SIZE_BYTES_MAX = 100_000_000
"""Largest size that the header may name: a Worker's limit on a request body."""
NAME_CHARACTERS_MAX = 40
NO_OBJECT = "-1"
PREPARES = "-prepare"
"""End of the name of a run that creates what another one will fetch, by requests like any others."""
NUMBER = re.compile(r"[0-9]{1,18}")


def key_of(headers: Mapping[str, str]) -> int | None:
    """Return the key that a load driver gave a request, or None."""
    text = headers.get("headroom-key", "")
    return int(text) if NUMBER.fullmatch(text) else None


def number_of(headers: Mapping[str, str]) -> int | None:
    """Return the number of a request in its run, if it comes when its number says; else None.

    A retry comes later, and what a driver sends before the run, to create what the run will fetch, earlier.
    """
    text = headers.get("headroom-request", "")
    is_first = headers.get("headroom-attempt", "0") == "0"
    is_early = headers.get("headroom-run", "").endswith(PREPARES)
    return int(text) if NUMBER.fullmatch(text) and is_first and not is_early else None


def is_preparation(headers: Mapping[str, str]) -> bool:
    """Return whether a request only creates the data that later ones need."""
    return headers.get("headroom-prepare") == "1"


def draws_of(headers: Mapping[str, str], *, seed: int, client: str = "client") -> Draws | None:
    """Return where a numbered request looks its random numbers up; None if it has no valid number."""
    number, attempt = headers.get("headroom-request", ""), headers.get("headroom-attempt", "0")
    if not (NUMBER.fullmatch(number) and NUMBER.fullmatch(attempt)):
        return None
    draws = Draws(seed, int(number))
    return draws if attempt == "0" else draws.inner(f"{client}.attempt", branch=int(attempt))


class CallReader:
    """Builds the call of a request from its headers; numbers the requests that have no index of their own."""

    def __init__(self) -> None:
        self._unnumbered = count()

    def read(self, found: Found, request: Request, *, stopwatch: Stopwatch) -> Call:
        """Return the call that is passed to the first step of the route.

        Raises
        ------
        RequestError
            400, if a header is invalid.
        """
        headers = request.headers
        number = _number(headers, "headroom-request")
        prepares = is_preparation(headers)
        if number is None:
            number = next(self._unnumbered)
            request_id = f"at-{stopwatch.clock.unix_ms()}-{number}"
        else:
            request_id = f"{_run(headers)}{number}"
        key = _number(headers, "headroom-key")
        has_object = headers.get("headroom-object") != NO_OBJECT
        object_index = _number(headers, "headroom-object") if has_object else None
        return Call(
            route=found.route.name,
            key=_key_of(found.values) if key is None else key,
            size_bytes=_number(headers, "headroom-size-bytes", at_most=SIZE_BYTES_MAX) or 0,
            object_index=number if object_index is None else object_index,
            request_index=number,
            request_id=f"prepare-{request_id}" if prepares else request_id,
            stopwatch=stopwatch,
            request=request,
            body=request.body,
            prepares=prepares,
            numbers=found.route.numbers,
        )


def _number(headers: Mapping[str, str], name: str, *, at_most: int = NUMBER_MAX) -> int | None:
    text = headers.get(name)
    return None if text is None else validation.whole_number_text(name, text, at_most=at_most)


def _run(headers: Mapping[str, str]) -> str:
    text = headers.get("headroom-run")
    if text is None:
        return ""
    name = validation.name("headroom-run", text)
    if len(name) > NAME_CHARACTERS_MAX:
        validation.refuse("headroom-run", name, rule=f"must be at most {NAME_CHARACTERS_MAX} characters")
    return f"{name}-"


def _key_of(values: Mapping[str, str]) -> int:
    """Return the key in a path: the integer value of ``{key}``, else a hash of all placeholder values."""
    key = values.get("key", "")
    if re.fullmatch("[0-9]{1,18}", key):
        return int(key)
    return zlib.crc32("/".join(values.values()).encode("utf-8", "surrogatepass"))
