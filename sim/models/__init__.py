"""The deployment, told as Flows: one file a component, one more that joins them into the ways of the routes.

Read :mod:`sim.models.deployment` first: it names the way of every route; then the component that you care about.
"""
