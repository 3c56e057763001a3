"""What can go wrong, and whose fault it is.

Every error that a user can cause derives from :class:`SimError` and carries one line: the value, the rule, the way out.
The command line prints that line and exits with status 2; anything else that escapes is a defect of ours, status 4.
"""


class SimError(Exception):
    """Root of all errors that this package raises on purpose."""


class ScenarioError(SimError):
    """The scenario's author wrote something that the schema, or arithmetic, does not allow."""


class UsageError(SimError):
    """The caller of a function or command passed something outside its rule."""


class ModelError(SimError):
    """A Flow cannot be executed: empty, cyclic, or built from impossible parts."""


class RunnerError(SimError):
    """A peer that a schedule was played on could not be started, reached, or understood."""
