"""Headers that every request of a run carries, and the secrets among them.

A secret never stands in a file or on a command line: a header's value is given as ``env:NAME``, and read from that
environment variable when the connection is opened. Nothing that the driver writes holds the value: not the record, not
its progress, and no message, even if the server repeats it in an answer that cannot be read.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sim.foundation.errors import UsageError

ENVIRONMENT = "env:"

HIDDEN = "***"

SECRET_NAME = re.compile(r"auth|cookie|token|secret|passw|key|signature|credential|session", re.IGNORECASE)
"""A header whose name has one of these parts must take its value from the environment."""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, section 5.6.2)."""

VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
"""A header's value: printable ASCII, no line break."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "user-agent", "accept-encoding"})
"""Headers that the driver sets itself."""


@dataclass(frozen=True)
class Headers:
    """Headers by name; *given* holds ``env:NAME`` in place of each secret, so it may be shown."""

    given: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no header, or a secret that stands there openly."""
        for name, value in self.given.items():
            _check(name, value)

    def values(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the headers to send, with the secrets.

        Parameters
        ----------
        environment : mapping of str to str, optional
            By default the process's own.

        Raises
        ------
        UsageError
            A variable is not set, or its value cannot be a header's. The message does not hold the value.
        """
        variables = os.environ if environment is None else environment
        return {name: _value(name, value, variables) for name, value in self.given.items()}

    def hide(self, text: str, environment: Mapping[str, str] | None = None) -> str:
        """Return *text* without the secrets: each is replaced by ``***``."""
        variables = os.environ if environment is None else environment
        for secret in sorted(_secrets(self.given.values(), variables), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def parse_headers(texts: Iterable[str]) -> Headers:
    """Read ``NAME=VALUE`` and ``NAME=env:VARIABLE``.

    Raises
    ------
    UsageError
        A text has another form, or a name occurs twice. The message never holds a value.
    """
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not TOKEN.fullmatch(name):
            raise UsageError("header must be NAME=VALUE or NAME=env:VARIABLE (docs/LOAD_TEST.md)")
        if name.lower() in {other.lower() for other in given}:
            raise UsageError(f"header {name} must be given once")
        given[name] = value
    return Headers(given)


def _check(name: str, value: str) -> None:
    if not TOKEN.fullmatch(name):
        raise UsageError("header must have a name of letters, digits and hyphens (docs/LOAD_TEST.md)")
    if name.lower() in RESERVED:
        raise UsageError(f"header {name} is set by the driver; leave it out")
    if value.startswith(ENVIRONMENT):
        if not VARIABLE.fullmatch(value.removeprefix(ENVIRONMENT)):
            raise UsageError(f"header {name} must name an environment variable after env: (docs/LOAD_TEST.md)")
        return
    if SECRET_NAME.search(name):
        raise UsageError(f"header {name} looks like a secret and must be {name}=env:VARIABLE (docs/LOAD_TEST.md)")
    if not VALUE.fullmatch(value):
        raise UsageError(f"header {name} must be printable ASCII and not empty")


def _value(name: str, value: str, variables: Mapping[str, str]) -> str:
    if not value.startswith(ENVIRONMENT):
        return value
    variable = value.removeprefix(ENVIRONMENT)
    if variable not in variables:
        raise UsageError(f"header {name}: environment variable {variable} must be set")
    if not VALUE.fullmatch(variables[variable]):
        raise UsageError(f"header {name}: environment variable {variable} must be printable ASCII and not empty")
    return variables[variable]


def _secrets(values: Iterable[str], variables: Mapping[str, str]) -> set[str]:
    """Return the secrets, and the words of which they consist: ``Bearer TOKEN`` is repeated as ``TOKEN``."""
    found = {variables.get(value.removeprefix(ENVIRONMENT), "") for value in values if value.startswith(ENVIRONMENT)}
    words = {word for secret in found for word in secret.split() if len(word) >= 8}
    return {secret for secret in found | words if secret}
