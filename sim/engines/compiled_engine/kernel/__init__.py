"""The compiled engine's kernel: a machine with a small instruction set, run without any Python object.

Read in this order: :mod:`layout` (the state), :mod:`loop` (the event loop), :mod:`instructions` (one operation at a
time), then :mod:`agenda` (events), :mod:`tokens` (flows of control and their joins), :mod:`timers`, :mod:`attempts`,
:mod:`servers`, :mod:`conditions`, :mod:`distributions` (draws). Each mirrors a part of
``sim/engines/simpy_engine/engine.py``, which defines the semantics.
"""
