"""Queues whose answer is known, and the pages that show how the engines and the intervals answer them.

:mod:`~sim.evidence.gate` writes ``docs/THEORY.md``, :mod:`~sim.evidence.coverage` writes ``docs/COVERAGE.md``; both
fail when a promise is not kept.
"""
