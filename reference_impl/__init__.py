"""The reference deployment: the Worker and what stands behind it, working, in Python.

Read it in this order: :mod:`~reference_impl.clock` and :mod:`~reference_impl.stopwatch` (time),
:mod:`~reference_impl.workers` (what a request meets first), :mod:`~reference_impl.durable_objects`
and :mod:`~reference_impl.ledger` (money), :mod:`~reference_impl.d1`, :mod:`~reference_impl.r2`,
:mod:`~reference_impl.tunnel`, and :mod:`~reference_impl.deployment`, which joins them. The modules of
this folder do no I/O, read no clock and draw no entropy; :mod:`~reference_impl.server` does.
"""
