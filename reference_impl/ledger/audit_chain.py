"""The audit chain: every entry of a ledger carries a hash of itself and of the entry before it.

::

    genesis ──► sha256(genesis, entry 1) ──► sha256(link 1, entry 2) ──► … ──► head

To change, remove or insert an entry changes every link after it, which anybody who noted a head once can
see. An append hashes one entry, whatever the length of the ledger. Checking the whole chain is for an
audit, not for an append: a check at every append would be n (n + 1) / 2 hashes for n entries.

Sources
-------
Hazard H17 (docs/HAZARDS.md): the origin verifies the whole chain at every append.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

ENCODER = json.JSONEncoder(separators=(",", ":"))
GENESIS = "0" * 64
"""What stands before the first entry."""


def link(previous: str, entry: Sequence[str | int]) -> str:
    """Return the link of *entry* after the link *previous* (64 hexadecimal digits)."""
    content = ENCODER.encode([previous, *entry])
    return hashlib.sha256(content.encode()).hexdigest()


def first_broken(entries: Iterable[tuple[Sequence[str | int], str]]) -> int | None:
    """Return the position of the first entry whose link is wrong, counted from 0; None if all are right.

    Parameters
    ----------
    entries
        Each entry with the link that is stored beside it, from the first.
    """
    previous = GENESIS
    for position, (entry, stored) in enumerate(entries):
        previous = link(previous, entry)
        if previous != stored:
            return position
    return None
