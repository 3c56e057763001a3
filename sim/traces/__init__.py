"""Traces: real requests, read from what tools write, with every choice that was made said aloud.

:mod:`sim.traces.opening` finds out what a file is, :mod:`sim.traces.blocks` reads it in blocks of bounded size,
:mod:`sim.traces.formats` says which column is what, :mod:`sim.traces.times`, :mod:`sim.traces.numbers` and
:mod:`sim.traces.paths` understand the cells, and :mod:`sim.traces.reading` makes a :class:`sim.traces.trace.Trace`.
"""
