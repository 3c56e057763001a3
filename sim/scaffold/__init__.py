"""A scenario of one's own to start from: made from a Wrangler configuration, its migrations, and a log.

:mod:`sim.scaffold.wrangler` reads the configuration, :mod:`sim.scaffold.migrations` the tables, :mod:`sim.scaffold.log`
the traffic; :mod:`sim.scaffold.parts` and :mod:`sim.scaffold.routes` say what of it a scenario can express, and
:mod:`sim.scaffold.text` writes it down. What cannot be expressed is named, never dropped.
"""
