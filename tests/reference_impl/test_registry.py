"""The registry: a component is one entry.

Goal: a component of a user's own works with one call. Method: the one of ``docs/COMPONENTS.md``, in a folder that is no
part of this repository, served by the real process.
"""

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
COMPONENT = re.findall(
    r"^```python\n(.*?)^```$", (tidy.ROOT / "docs/COMPONENTS.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
)[1]
"""The reference's half of a component of a user's own."""


def block(language: str) -> str:
    """Return the page's one block of code in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_folder_with_a_part_is_a_component() -> None:
    folders = sorted(path.parent.name for path in (tidy.ROOT / "reference_impl").glob("*/part.py"))
    assert sorted(built_in()) == folders
    assert {part.component for part in built_in().values()} == set(folders)


def test_a_component_of_a_user_s_own_is_one_file_and_one_call(tmp_path: Path) -> None:
    deployment = {
        "system": {"network": {}, "d1": {}, "places": {"component": "geocoder", "rtt_ms": 3, "answer_ms": 4}},
        "routes": {"one": route("places.find", path="/one/{key}")},
    }
    (tmp_path / "part.py").write_text(COMPONENT)
    (tmp_path / "deployment.json").write_text(json.dumps(deployment))
    arguments = ("--part", str(tmp_path / "part.py"), "--deployment", str(tmp_path / "deployment.json"))
    with (
        started("--data", str(tmp_path / "data"), *arguments) as (_, ready),
        urlopen(f"{ready['http']}/one/7", timeout=10) as answer,
    ):
        assert json.loads(answer.read()) == {"address": "7 Main Street"}
        assert "places;dur=7.000" in answer.headers["server-timing"]


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
