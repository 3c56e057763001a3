"""The house rules as functions from source to findings, each identified by its number in docs/ARCHITECTURE.md.

A finding is one line, ``path:line message``. No rule imports the code it reads, so a half-written module is judged too.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MODULE_LINES_MAX = 400
MODULE_LINES_MEDIAN = 150
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_P90 = 25
POSITIONAL_MAX = 2

UNITS = re.compile(
    r"(^|_)(ms|us|ns|s|bytes|kb|mb|gb|usd|microusd|nanousd|cents|ratio|fraction|share|percent|factor"
    r"|per_(s|day|month)|(ms|us|bytes|microusd)_per_[a-z]+)$"
)
"""What the name of a quantity ends in, but for qualifiers."""

QUALIFIERS = frozenset(
    "min max mean median low high limit total p50 p90 p99 p999 peak in out read written pending"
    " exact measured simulated".split()
)
"""What may follow the unit or the thing counted: ``latency_ms_p99``, ``rows_read``."""

DIMENSIONLESS = {
    "a number of things, named by the class or by the field that it bounds": (
        "n count need burst queue in_flight at_most at_least limit threshold depth by"
        " planned sent skipped aborted served refused received done"
    ),
    "an identifier or an ordinal": (
        "seed key user lora route request outcome schema_version version status port pid number priority line context"
        " seq index free_month"
    ),
    "a parameter of a distribution, or a threshold of a metric: its unit is the unit of what it stands for": (
        "value low high mean median p99 minimum maximum values target alert"
    ),
    "the number of things that wait, on average": "queue_mean",
    "an operand of SQLite's bytecode, which means what the instruction says": "p1 p2 p3 p5",
}
"""Names that carry no unit, by reason. A plural whole number (``servers: int``) needs no entry: it counts."""

PURE_NUMBERS = "shape exponent cv2 autocorrelation zipf chance probability scale utilization error jitter level weight"
"""Ratios and exponents; also as the last word of a longer name: ``arrival_cv2``."""

IDENTIFIER_SUFFIXES = ("_id", "_number", "_code", "_port", "_index", "_request", "_seq", "_version")

NUMBERS_IN_MODELS = {
    100: "per cent in one",
    1_000: "milliseconds in a second",
    1_000_000: "bytes in a megabyte, micro-units in a unit",
}
"""The only numbers above ten that a model may spell out; platform numbers live in ``scenarios/platform/``."""

FOREIGN_SIGNATURES = {
    "__call__": "ASGI fixes (scope, receive, send)",
    "frame_inbound_header": "wsproto fixes it",
    "log_message": "http.server fixes it",
    "quic_event_received": "aioquic fixes it",
}
"""Functions whose parameters somebody else fixed."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file: where it is, relative to the root, and what it says."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, self.path)

    def at(self, node: ast.stmt | ast.expr, message: str) -> str:
        """One finding."""
        return f"{self.path}:{node.lineno} {message}"


def modules(*folders: str) -> list[Module]:
    """Every Python file below some folders of the repository."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def function_lines(function: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring_lines = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring_lines


def oversized(module: Module) -> list[str]:
    """S1: a module of more than 400 lines, a function of more than 60."""
    lines = len(module.text.splitlines())
    found = [f"{module.path}:1 module has {lines} lines"] if lines > MODULE_LINES_MAX else []
    return found + [
        module.at(function, f"{function.name} has {length} lines")
        for function in functions(module.tree)
        if (length := function_lines(function)) > FUNCTION_LINES_MAX
    ]


def undocumented_shapes(module: Module) -> list[str]:
    """S2: a documented array whose shape is not said."""
    pattern = re.compile(r"^\s+[\w, ]+ : .*\b(ndarray|NDArray)\b(?!.*shape)")
    lines = enumerate(module.text.splitlines(), start=1)
    return [f"{module.path}:{number} array without a shape" for number, line in lines if pattern.match(line)]


def unsourced(module: Module) -> list[str]:
    """S2: a model whose docstring names no source."""
    documented = (node for node in ast.walk(module.tree) if isinstance(node, ast.Module | ast.ClassDef | Function))
    named = any("Sources" in (ast.get_docstring(node) or "") for node in documented)
    return [] if named else [f"{module.path}:1 no Sources section"]


def _record_classes(all_modules: Iterable[Module]) -> set[str]:
    """Names of all classes that are pydantic models, directly or through a base of ours."""
    known = {"BaseModel", "NamedTuple"}
    classes = [node for module in all_modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {c.name for c in classes if known & {ast.unparse(base).split(".")[-1] for base in c.bases}} - known
        if not more:
            return known
        known |= more


def _numeric_aliases(all_modules: Iterable[Module]) -> set[str]:
    """Names such as ``Positive = Annotated[float, Field(gt=0)]``."""
    return {
        target.id
        for module in all_modules
        for node in module.tree.body
        if isinstance(node, ast.Assign) and re.match(r"Annotated\[(float|int)\b", ast.unparse(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def says_its_unit(name: str, kind: str) -> bool:
    """Whether a numeric field ends in a unit, counts things, identifies one, or is listed with its reason."""
    parts = name.split("_")
    while len(parts) > 1 and parts[-1] in QUALIFIERS:
        parts.pop()
    bare = "_".join(parts)
    listed = {word for words in DIMENSIONLESS.values() for word in words.split()}
    counts = ("float" not in kind or name.endswith("_mean")) and bare.endswith("s")
    pure = parts[-1] in PURE_NUMBERS.split()
    named = not listed.isdisjoint({name, bare}) or name.endswith(IDENTIFIER_SUFFIXES)
    return bool(UNITS.search(bare)) or counts or pure or named


def unitless(all_modules: list[Module]) -> list[str]:
    """S3: a numeric field of a dataclass or pydantic model that ends in no known unit and is not listed."""
    records = _record_classes(all_modules)
    names = "|".join(["float", "int", r"NDArray\[np\.(?:float|int)\d+\]", *sorted(_numeric_aliases(all_modules))])
    numeric = re.compile(rf"^(Annotated\[)?({names})(\b|$)")
    found = []
    for module in all_modules:
        for record in ast.walk(module.tree):
            if not (isinstance(record, ast.ClassDef) and _is_record(record, records)):
                continue
            fields = [
                (field, ast.unparse(field.target).lstrip("_"), ast.unparse(field.annotation).strip("'\""))
                for field in record.body
                if isinstance(field, ast.AnnAssign)
            ]
            if "unit" in {name for _, name, _ in fields}:
                continue  # The record carries the unit of its numbers beside them.
            found += [
                module.at(field, f"{record.name}.{name}: {kind} has no unit")
                for field, name, kind in fields
                if numeric.match(kind) and not says_its_unit(name, kind)
            ]
    return found


def _is_record(node: ast.ClassDef, records: set[str]) -> bool:
    """Whether a class is a dataclass or one of the known pydantic models."""
    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
    return bool(records & bases) or any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def bare_numbers(module: Module) -> list[str]:
    """S4: a number above ten in a model that is not a conversion of units."""
    return [
        module.at(node, f"bare number {node.value}")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
        and abs(node.value) > 10
        and node.value not in NUMBERS_IN_MODELS
    ]


def stray_exceptions(package: list[Module], root: str) -> list[str]:
    """S8: an exception class that does not descend from the package's root."""
    classes = {
        node.name: (module, node)
        for module in package
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }

    def ancestors(name: str) -> set[str]:
        if name not in classes:
            return {name}
        bases = [ast.unparse(base).split(".")[-1] for base in classes[name][1].bases]
        return {name}.union(*(ancestors(base) for base in bases))

    return [
        module.at(node, f"{name} does not descend from {root}")
        for name, (module, node) in classes.items()
        if any(a == "BaseException" or a.endswith(("Error", "Exception")) for a in ancestors(name) - {name})
        and root not in ancestors(name)
    ] + ([] if root in classes else [f"{root} is not defined"])


def positional(module: Module) -> list[str]:
    """S13: a public function with more than two parameters that can be given by position."""
    tree = module.tree
    methods = {id(f) for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
    nested = {id(inner) for outer in functions(tree) for inner in functions(outer) if inner is not outer}
    found = []
    for function in functions(tree):
        compiled = any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)
        if function.name.startswith("_") or id(function) in nested or compiled or function.name in FOREIGN_SIGNATURES:
            continue
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        taken = len(names) - (id(function) in methods and names[:1] in (["self"], ["cls"]))
        if taken > POSITIONAL_MAX:
            found.append(module.at(function, f"{function.name} takes {taken} parameters by position"))
    return found
