"""The errors that this package raises on purpose, and the wording of validation rules.

Every error that a user can cause derives from :class:`SimError` and carries one line: the value, the rule, the way out.
The command line prints that line and exits with status 2; any other exception that escapes is a defect of this package,
status 4.
"""

from typing import Any


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


RULES = {
    "bool_type": "must be true or false",
    "callable_type": "must be callable",
    "dataclass_exact_type": "must be a {class_name}",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be > {gt:.16g}",
    "greater_than_equal": "must be >= {ge:.16g}",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be < {lt:.16g}",
    "less_than_equal": "must be <= {le:.16g}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "missing_argument": "is missing",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must not be empty",
    "string_type": "must be a text in quotes",
    "too_short": "must hold at least {min_length}",
    "tuple_type": "must be a list",
    "unexpected_keyword_argument": "is not a field",
    "unexpected_positional_argument": "is one too many",
}
"""Our words for what pydantic finds wrong with a value, by its kinds of error, with its context in braces."""


def rule(found: Any) -> str:
    """Return the rule that one of pydantic's findings breaks: ``must be > 0``."""
    context = found.get("ctx", {})
    if found["type"] == "value_error":
        return str(context["error"])
    words: str = RULES.get(found["type"], found["msg"].lower())
    return words.format(**context)
