"""The walk: one name, five faces, and one entry from which everything else follows.

Goal: a component has the same name in scenario, model, reference and test, and a reader who adds one
edits no list. Method: the registries say which components exist, and every other place must have each of them; the
source is searched for lists of names; the page about a component of one's own is run word by word.
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from reference_impl.registry import built_in
from sim import load_scenario, plan
from sim.foundation.errors import UsageError
from sim.models import registry
from sim.models.component import Component
from sim.scenario.own_components import load_components
from tests.project.tidy import ROOT

MODEL_ONLY = {"client"}
"""The caller is no part of a deployment; in a live run it is the load driver."""

REFERENCE_ONLY = {"synapse"}
"""A part of the brief's own API that no scenario's route may use yet."""

NAMES_MIN = 3
"""So many names of components in one literal are a list of them."""

ENTRIES = registry.components()
COMPONENTS = [component.name for component in ENTRIES]
ROUTES = set(tomllib.loads((ROOT / "scenarios/launch.toml").read_text("utf-8"))["routes"])
PAGE = ROOT / "docs/COMPONENTS.md"


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_has_its_faces(component: str) -> None:
    assert (ROOT / f"sim/models/{component}.py").is_file()
    assert component in MODEL_ONLY or (ROOT / f"reference_impl/{component}/part.py").is_file()
    assert list((ROOT / "tests").rglob(f"test_{component}*.py"))
    assert f"[system.{component}]" in (ROOT / "scenarios/cloudflare.toml").read_text("utf-8")
    assert f"{component}_ms" in registry.time_columns(load_scenario("launch").system.instances.values())


def test_model_and_reference_have_the_same_components() -> None:
    assert set(COMPONENTS) - set(built_in()) == MODEL_ONLY
    assert set(built_in()) - set(COMPONENTS) == REFERENCE_ONLY


@pytest.mark.parametrize("entry", ENTRIES, ids=COMPONENTS)
def test_model_and_reference_have_the_same_operations(entry: Component) -> None:
    if entry.name not in MODEL_ONLY:
        assert set(entry.operations) == set(built_in()[entry.name].operations)
        assert (entry.transport if entry.entry else None) == built_in()[entry.name].transport


def test_the_readme_walks_by_every_component() -> None:
    (walk,) = re.findall(
        r"^## The walk\n(.*?)^## ", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for name in COMPONENTS:
        assert f"(sim/models/{name}.py)" in walk
        assert name in MODEL_ONLY or f"(reference_impl/{name}/" in walk


# ---------------------------------------------------------------- no lists


def literals(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Yield the line and the texts of every list, tuple, set and dict that is written out, and of ``"a b".split()``."""
    for node in ast.walk(tree):
        match node:
            case ast.List() | ast.Tuple() | ast.Set():
                yield node.lineno, texts_of(node.elts)
            case ast.Dict():
                yield node.lineno, texts_of([*node.keys, *node.values])
            case ast.Call(func=ast.Attribute(attr="split", value=ast.Constant(value=str() as words))):
                yield node.lineno, set(words.split())


def texts_of(parts: Iterable[ast.expr | None]) -> set[str]:
    """Texts among the parts of a literal."""
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield every file of the packages with its syntax tree."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def lists_of_components(tree: ast.AST) -> list[int]:
    """Lines of literals that list components."""
    return [line for line, found in literals(tree) if len(found & set(COMPONENTS)) >= NAMES_MIN]


def test_no_list_of_components_stands_anywhere() -> None:
    assert lists_of_components(ast.parse('x = ("d1", "r2", "workers")'))
    assert [
        f"{name}:{line}" for name, tree in sources("sim", "reference_impl") for line in lists_of_components(tree)
    ] == []


def test_no_route_is_named_in_the_simulator() -> None:
    """Words that are operations, or scales of an axis, are no names of routes."""
    others = {name for entry in ENTRIES for name in entry.operations} | {"log"}
    routes = ROUTES - others
    assert len(routes) >= NAMES_MIN
    named = [
        f"{name}:{node.lineno} {node.value}"
        for name, tree in sources("sim")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in routes
    ]
    assert named == []


# ---------------------------------------------------------------- a component of one's own


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files in a folder, and the registry as it was afterwards."""
    monkeypatch.setattr(registry, "_registered", {})
    blocks = re.findall(
        r"^## \d\. .*?`([\w.]+)`\n.*?^```\w+\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["addresses.toml", "geocoder.py", "geocoder_part.py"]
    return tmp_path


def test_component_of_ones_own_is_planned_whole(files: Path) -> None:
    """Two files, one call of ``register`` in each, one table: simulated, played, compared, priced, judged."""
    (own,) = set(COMPONENTS) ^ {one.name for one in load_components(files / "geocoder.py")}
    found = plan(files / "addresses.toml", replications=2)
    assert own == "geocoder"
    for result in (*found.simulated, found.measured):
        assert result is not None
        assert (result.frame["outcome"] == "ok").all()
        assert (result.frame["geocoder_ms"] > 0).all()
    assert found.comparison is not None
    compared = {row.metric: row for row in found.comparison.rows if row.statistic == "p50"}
    assert {"api_latency_ms", "geocoder_ms"} <= set(compared)
    assert found.capacity is not None
    assert "geocoder" in found.simulated[0].stations["station"].to_numpy()
    assert found.cost is not None
    assert found.cost.month_usd > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def", "cannot be loaded: SyntaxError: "),
        ("x = 1", r"registers no component \(docs/COMPONENTS.md\)"),
        (None, "cannot be loaded: FileNotFoundError: "),
    ],
)
def test_file_without_a_component_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"^component='{re.escape(str(file))}' {message}"):
        load_components(file)
