"""Deterministic simulation of the ledger: a hostile world in one thread, played again from its seed.

One *schedule* is everything that happens to one ledger object from its first request to the last row in D1: clients
that repeat themselves, a network that loses, repeats, delays and reorders, a power cut at any storage step or wait, a
disk that loses what it had not confirmed, sinks that answer too late or not at all, clocks that jump. The code under
test is the deployment's own (:mod:`reference_impl`), from the object's front door to its SQL; only what lies outside
of it is simulated.

Read it in this order: :mod:`~tests.faults.plan` (what will happen), :mod:`~tests.faults.world` (time and
power), :mod:`~tests.faults.disk`, :mod:`~tests.faults.sinks`, :mod:`~tests.faults.clients` (what is
outside), :mod:`~tests.faults.spec` and :mod:`~tests.faults.auditor` (what must be true),
:mod:`~tests.faults.linearizability` (what clients may have seen), :mod:`~tests.faults.schedule` (all of it
together).

What makes it fast takes nothing away: SQLite's databases are used again and rolled back instead of made anew; what is a
function of values (requests, answers, the yardstick's outcomes) is worked out once; the auditor reads new events only
when there are some, and compares accounts again only when they or the object's rows are others than before; and a world
that is over is taken apart, so that no garbage collector runs. A fifth of a schedule's time is SQLite's, two fifths are
the deployment's own Python, and two fifths this package's.

``python -m tests.faults --seeds 0:10000`` plays schedules; a failure prints the one command that plays it again.
"""
