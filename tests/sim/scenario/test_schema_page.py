"""The two other faces of the schema: the page that explains every key, and the JSON Schema for editors.

Goal: neither tells another story than the loader. Method: the page is made anew and compared; shipped files and broken
ones are put to both.
"""

import json
import re
from typing import Any

import jsonschema
import pytest

from sim.foundation.errors import ScenarioError, UsageError
from sim.scenario.bases import scenarios_folder
from sim.scenario.schema_page import json_schema, page_with_tables
from tests.project.tidy import ROOT
from tests.sim.scenario.test_scenario import LAUNCH, PATHS, SHIPPED


def test_page_documents_every_key_as_it_is() -> None:
    page = (ROOT / "scenarios/README.md").read_text("utf-8")
    assert page_with_tables(page) == page, "run: python -m sim.scenario.schema_page scenarios/README.md"
    explained = set(re.findall(r"\w+", page.split("<!-- keys: begin")[1]))
    of_the_author = {f"routes.{route}" for route in LAUNCH.routes}
    asked = [path for path in PATHS if path not in of_the_author and not path.startswith("bodies.")]
    assert {path.rsplit(".", 1)[-1] for path in asked} <= explained


def test_every_key_has_a_meaning_on_the_page() -> None:
    page = (ROOT / "scenarios/README.md").read_text("utf-8").split("<!-- keys: begin")[1]
    assert not re.search(r"\|  \|$", page, flags=re.MULTILINE)


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(UsageError, match="must hold the lines"):
        page_with_tables("# Scenarios")


@pytest.mark.parametrize("name", SHIPPED)
def test_json_schema_takes_every_shipped_file(name: str) -> None:
    import tomllib

    raw = tomllib.loads((scenarios_folder() / f"{name}.toml").read_text("utf-8"))
    jsonschema.validate(raw, json_schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [("system.d1.rtt_mss", 3), ("seed", "x"), ("system.d1.queue_limit", "1000"), ("workload.arrivals", {"kind": "x"})],
)
def test_json_schema_refuses_what_the_loader_refuses(path: str, value: Any) -> None:
    raw = json.loads(LAUNCH.model_dump_json(exclude_none=True))
    jsonschema.validate(raw, json_schema())
    *parents, key = path.split(".")
    table = raw
    for parent in parents:
        table = table[parent]
    table[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json_schema())
    with pytest.raises(ScenarioError):
        LAUNCH.vary(path, value)
