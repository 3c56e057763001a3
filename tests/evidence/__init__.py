"""Queues whose answer is known, and the pages that show how the engines and the intervals answer them.

:mod:`~tests.evidence.gate` writes ``docs/THEORY.md``, :mod:`~tests.evidence.coverage` writes ``docs/COVERAGE.md``; both
fail when a promise is not kept.
"""
