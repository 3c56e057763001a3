"""The registry: a component is one entry.

Goal: a component of a user's own works with one call, and no list of component names stands in the code. Method: a
component in a folder that is no part of this repository, served by the real process; the source, read by its syntax.
"""

import ast
import json
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from reference_impl import registry
from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.parts import Part, no_parameters
from reference_impl.registry import built_in
from tests.project import tidy
from tests.support.process import started
from tests.support.routed import TOY, route, toys

PAGE = tidy.ROOT / "docs/REFERENCE.md"
NAMES_MIN = 3
"""So many names of components in one literal are a list of them."""


def block(language: str) -> str:
    """Return the page's one block of code in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_folder_with_a_part_is_a_component() -> None:
    folders = sorted(path.parent.name for path in (tidy.ROOT / "reference_impl").glob("*/part.py"))
    assert sorted(built_in()) == folders
    assert {part.component for part in built_in().values()} == set(folders)


def test_a_component_of_a_user_s_own_is_one_file_and_one_call(tmp_path: Path) -> None:
    (tmp_path / "cache.py").write_text(block("python"))
    deployment = {
        "system": {"network": {}, "d1": {}, "edge": {"component": "cache", "hit_ms": 4}},
        "routes": {"one": route({"use": "edge.look_up", "parameters": {"ttl_s": 5}}, path="/one/{key}")},
    }
    (tmp_path / "deployment.json").write_text(json.dumps(deployment))
    arguments = ("--part", str(tmp_path / "cache.py"), "--deployment", str(tmp_path / "deployment.json"))
    with started("--data", str(tmp_path / "data"), *arguments) as (_, ready):
        for hit in (False, True):
            with urlopen(f"{ready['http']}/one/7", timeout=10) as answer:
                assert json.loads(answer.read()) == {"hit": hit, "ttl_s": 5}
                assert "edge;dur=4.000" in answer.headers["server-timing"]
        assert (tmp_path / "data" / "system" / "edge" / "database.sqlite").is_file()


def test_the_deployment_file_of_the_page_can_be_read() -> None:
    read = Specification.from_json(block("json"))
    assert [route.name for route in read.routes.routes] == ["feed"]
    assert read.instances["archive"].part.component == "d1"


def test_the_page_has_every_operation() -> None:
    told = re.findall(r"`(\w+)?\.(\w+)`", PAGE.read_text("utf-8").partition("## How a step")[0])
    operations = {(part.component, name) for part in built_in().values() for name in part.operations}
    known = {name for _, name in operations}
    assert known <= {name for _, name in told}
    assert {pair for pair in told if pair[0] in built_in()} <= operations


def test_a_name_that_is_taken_is_refused_and_one_s_own_may_be_registered_anew() -> None:
    with pytest.raises(ConfigError, match="component='d1' is built in; give yours another name"):
        registry.register(Part("d1", settings=no_parameters, build=TOY.build))
    with toys():
        assert registry.register(TOY) is TOY
        assert registry.part("toy", where="x") is TOY
    with pytest.raises(ConfigError, match="x='toy' is no component"):
        registry.part("toy", where="x")


def literals(module: tidy.Module) -> list[tuple[ast.expr, set[str]]]:
    """Every list, tuple, set and dictionary of a module that is written down, with the texts that stand in it."""
    found: list[tuple[ast.expr, set[str]]] = []
    for node in ast.walk(module.tree):
        items: list[ast.expr | None] = []
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            items = list(node.elts)
        elif isinstance(node, ast.Dict):
            items = [*node.keys, *node.values]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            words = ast.literal_eval(node.func.value) if isinstance(node.func.value, ast.Constant) else ""
            found.append((node, set(str(words).split())))
        texts = {item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)}
        if texts and isinstance(node, ast.expr):
            found.append((node, texts))
    return found


def lists_of_components(module: tidy.Module) -> list[str]:
    """Findings: literals that name several components."""
    return [
        module.at(node, f"names {', '.join(sorted(texts & set(built_in())))}")
        for node, texts in literals(module)
        if len(texts & set(built_in())) >= NAMES_MIN
    ]


def test_a_list_of_components_is_found_where_there_is_one() -> None:
    for text in (
        'X = ["d1", "r2", "ledger"]',
        'X = {"d1": 1, "r2": 2, "workers": 3}',
        'X = ("d1", "tunnel", "network", "other")',
        'X = "d1 r2 workers".split()',
    ):
        assert lists_of_components(tidy.Module("reference_impl/x.py", text))
    assert lists_of_components(tidy.Module("reference_impl/x.py", 'X = ["d1", "r2", "other"]')) == []


def test_no_list_of_components_stands_in_the_code() -> None:
    modules = tidy.modules("reference_impl")
    assert [finding for module in modules for finding in lists_of_components(module)] == []
