"""How fast the engines are, measured against others that do the same work on the same machine: ``make bench``.

Read :mod:`benchmarks.jobs` (what is simulated), then the contenders: :mod:`benchmarks.plain` and
:mod:`benchmarks.plain_launch` (SimPy, written by hand), :mod:`benchmarks.ciw_networks`, :mod:`benchmarks.dssim_queues`,
:mod:`benchmarks.salabim_queues`, :mod:`benchmarks.cimba_queues`, and our own two engines.
:mod:`benchmarks.timing` sets the clock, :mod:`benchmarks.processes` measures what needs a process of its own, and
:mod:`benchmarks.page` writes ``docs/SPEED.md``.

Every contender gets the same arrivals and the same service times, so that all of them must tell the same latency for
every request, and ``tests/project/test_benchmarks.py`` asks them to.
"""
