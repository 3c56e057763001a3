"""The compiled engine's inside: a machine with a few instructions, run without any Python object.

Read in this order: :mod:`layout` (what is remembered), :mod:`loop` (what happens next, and to whom),
:mod:`instructions` (one operation at a time), then one file a noun: :mod:`agenda` (events), :mod:`tokens` (flows of
control and their joins), :mod:`timers`, :mod:`attempts`, :mod:`servers`, :mod:`conditions`, :mod:`distributions`
(draws). Each mirrors a part of ``sim/engines/simpy_engine/engine.py``, which defines what must happen.
"""
