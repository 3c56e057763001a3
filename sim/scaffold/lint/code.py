"""Checks of a Worker's code against its configuration: text is searched, nothing is executed.

Sources
-------
Cloudflare, "Durable Objects": the main module exports every class that is bound. "Best practices for WebSockets":
sockets that are accepted by ``accept()`` keep their object in memory, and billed, for as long as they are open.
"""

import re
from collections.abc import Iterator

from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.sources import Sources, Text

USED = re.compile(r"\benv\.([A-Z][A-Z0-9_]*)\b(?!\s*[:?])")
"""A use of a binding; by convention their names are in upper case."""

ACCEPTED = re.compile(r"\b(?:server|socket|ws|webSocket|pair\[1\])\.accept\(\s*\)")

CREDENTIALS = {
    "a payment provider's live key": r"\b[sr]k_live_[0-9A-Za-z]{16,}",
    "a cloud provider's access key": r"\bAKIA[0-9A-Z]{16}\b",
    "a source host's token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{50,})",
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----",
}
"""Forms that only credentials have, by what they are."""


def check_main(sources: Sources) -> Iterator[Finding]:
    """The configuration's main module exists."""
    main = sources.top.main
    if main and not (sources.folder / main).is_file():
        yield Finding(
            Severity.ERROR, sources.config_file.path, sources.config_file.line_of(r"\bmain\b"), "missing-main",
            f"main={main!r} does not exist", "name the module that exports the Worker",
        )  # fmt: skip


def check_exports(sources: Sources) -> Iterator[Finding]:
    """Every Durable Object class that is bound is exported somewhere in the code."""
    if not sources.code:
        return
    bound = {
        binding.target
        for config in sources.configs
        for binding in config.bindings
        if binding.table == "durable_objects.bindings" and not binding.keys.get("script_name")
    }
    for name in sorted(bound):
        if not any(_exports(file, name) for file in sources.code):
            yield Finding(
                Severity.ERROR, sources.config_file.path,
                sources.config_file.line_of(rf"\b{re.escape(name)}\b"), "class-not-exported",
                f"{name} is bound, and no module exports a class of that name: the deploy fails",
                f"export class {name} extends DurableObject from the main module",
            )  # fmt: skip


def check_bindings(sources: Sources) -> Iterator[Finding]:
    """Every binding that the code uses is in the configuration; secrets are set elsewhere, so they are a note."""
    known = {binding.name for config in sources.configs for binding in config.bindings} | _vars(sources)
    seen: set[str] = set()
    for file in sources.code:
        for found in USED.finditer(file.text):
            name = found.group(1)
            if name in known or name in seen:
                continue
            seen.add(name)
            yield Finding(
                Severity.NOTE, file.path, file.text.count("\n", 0, found.start()) + 1, "unknown-binding",
                f"env.{name} is no binding and no variable of the configuration",
                "bind it, or set it by `wrangler secret put` if it is a secret",
            )  # fmt: skip


def check_sockets(sources: Sources) -> Iterator[Finding]:
    """WebSockets of Durable Objects can hibernate."""
    for file in sources.code:
        found = ACCEPTED.search(file.text)
        if found and "acceptWebSocket" not in file.text and "DurableObject" in file.text:
            yield Finding(
                Severity.WARNING, file.path, file.text.count("\n", 0, found.start()) + 1, "socket-without-hibernation",
                "accept() keeps the object in memory, and billed by the second, while the socket is open",
                "this.ctx.acceptWebSocket(server), and handlers webSocketMessage and webSocketClose",
            )  # fmt: skip


def _exports(file: Text, name: str) -> bool:
    """Whether *file* exports *name*: a class, a constant, or in a list of exports."""
    declared = rf"export\s+(?:default\s+)?(?:abstract\s+)?(?:class|const|let)\s+{name}\b"
    return re.search(rf"{declared}|export\s*\{{[^}}]*\b{name}\b", file.text) is not None


def _vars(sources: Sources) -> set[str]:
    """The names of variables, wherever the configuration sets them."""
    return set(re.findall(r"^\s*\"?([A-Z][A-Z0-9_]*)\"?\s*[=:]", sources.config_file.text, flags=re.MULTILINE))


def check_secrets(sources: Sources) -> Iterator[Finding]:
    """Neither the configuration nor the code holds a credential: whoever reads the repository has it."""
    for file in (sources.config_file, *sources.code):
        for form, pattern in CREDENTIALS.items():
            line_number = file.line_of(pattern)
            if line_number:
                yield Finding(
                    Severity.ERROR, file.path, line_number, "secret-in-files", f"holds what has the form of {form}",
                    "revoke it, and set its successor by `wrangler secret put`",
                )  # fmt: skip
