"""The reference deployment: the Worker and what stands behind it, working, in Python.

Read it in this order: :mod:`~reference_impl.timing.clock` and :mod:`~reference_impl.timing.stopwatch` (time),
:mod:`~reference_impl.workers.worker` (what a request meets first), :mod:`~reference_impl.durable_objects.namespace`
and :mod:`~reference_impl.ledger.billing` (money), :mod:`~reference_impl.d1.database`, :mod:`~reference_impl.r2.bucket`,
:mod:`~reference_impl.tunnel.tunnel`, and :mod:`~reference_impl.deployment`, which joins them. The modules of
this folder do no I/O, read no clock and draw no entropy; :mod:`~reference_impl.server` does.
"""
