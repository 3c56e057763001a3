"""The audit chain: every entry of a ledger is stored with a hash of itself and of the previous hash.

::

    genesis ──► sha256(genesis, entry 1) ──► sha256(link 1, entry 2) ──► … ──► head

To change, remove or insert an entry changes every link after it, which anyone who has recorded a head can
detect. An append hashes one entry, whatever the length of the ledger. Only an audit checks the whole chain: checking it
at every append would take n (n + 1) / 2 hashes for n entries.

Sources
-------
Hazard H17 (docs/HAZARDS.md): the origin verifies the whole chain at every append.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

ENCODER = json.JSONEncoder(separators=(",", ":"))
GENESIS = "0" * 64
"""The link before the first entry."""


def link(previous: str, entry: Sequence[str | int]) -> str:
    """Return the link of *entry* after the link *previous* (64 hexadecimal digits)."""
    content = ENCODER.encode([previous, *entry])
    return hashlib.sha256(content.encode()).hexdigest()


def first_broken(entries: Iterable[tuple[Sequence[str | int], str]]) -> int | None:
    """Return the position of the first entry whose link is wrong, counted from 0; None if all are right.

    Parameters
    ----------
    entries
        Each entry with its stored link, in order.
    """
    previous = GENESIS
    for position, (entry, stored) in enumerate(entries):
        previous = link(previous, entry)
        if previous != stored:
            return position
    return None
