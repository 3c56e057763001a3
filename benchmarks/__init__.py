"""Benchmarks of the engines against other simulators on the same work and the same machine: ``make bench``.

Read :mod:`benchmarks.jobs` (what is simulated), then the contenders: :mod:`benchmarks.plain` and
:mod:`benchmarks.plain_launch` (SimPy, written by hand), :mod:`benchmarks.ciw_networks`, :mod:`benchmarks.dssim_queues`,
:mod:`benchmarks.salabim_queues`, :mod:`benchmarks.cimba_queues`, and our own two engines.
:mod:`benchmarks.timing` measures times, :mod:`benchmarks.processes` measures what needs a separate process, and
:mod:`benchmarks.page` writes ``docs/SPEED.md``.

All contenders get the same arrivals and the same service times, so they must return the same latency for
every request; ``tests/project/test_benchmarks.py`` checks this.
"""
