"""The command line interface: ``headroom plan`` and the other commands.

Each command makes one call of the package and prints what it returns. Results go to standard output and everything else
to standard error; with ``--json -`` standard output holds the JSON document alone.

Exit status: 0 all targets met, 1 one missed, 2 a usage error or an interrupted run, 3 not known (inconclusive,
invalid), 4 a crash.

Imports are inside the commands so that ``headroom --help`` does not wait for NumPy.
"""

from sim.cli import alerting as alerting
from sim.cli import analyses as analyses
from sim.cli import deployments as deployments
from sim.cli import loading as loading
from sim.cli import notebooks as notebooks
from sim.cli import queries as queries
from sim.cli import sizing as sizing
from sim.cli.application import app, main

__all__ = ["app", "main"]
