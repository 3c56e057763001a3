"""The reference deployment: a working implementation of the Worker and its services in Python.

Read it in this order: :mod:`~reference_impl.timing.clock` and :mod:`~reference_impl.timing.stopwatch` (time),
:mod:`~reference_impl.durable_objects.namespace` and :mod:`~reference_impl.ledger.billing` (state and money),
:mod:`~reference_impl.d1.database`, :mod:`~reference_impl.r2.bucket`, :mod:`~reference_impl.workers.worker` (the brief's
API); then :mod:`~reference_impl.parts` and :mod:`~reference_impl.registry` (what a component is),
:mod:`~reference_impl.deployment_file` and :mod:`~reference_impl.routes.player` (how a scenario is played), and
:mod:`~reference_impl.deployment`, which assembles everything. Only :mod:`~reference_impl.server` and the command line
do I/O, read the machine's clock or use its entropy.
"""
