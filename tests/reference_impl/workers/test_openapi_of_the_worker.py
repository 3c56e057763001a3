"""The deployed Worker describes itself as the reference does.

Goal: one description of the API. Method: the file that the Worker serves (deploy/src/openapi.json) is compared with the
reference's, but for the bounds of an event's date, which move with the time.

``python -m tests.reference_impl.workers.test_openapi_of_the_worker`` writes the file.
"""

import copy
import json
from typing import Any

from reference_impl.workers.openapi import DESCRIPTION
from tests.project.tidy import ROOT

FILE = ROOT / "deploy/src/openapi.json"


def without_dates(description: Any) -> Any:
    """Return a description without what it says of an event's date."""
    found = copy.deepcopy(description)
    body = found["paths"]["/log"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"].pop("event_time_ms")["type"] == "integer"
    return found


def test_both_say_the_same() -> None:
    written = json.loads(FILE.read_text("utf-8"))
    ours = json.loads(json.dumps(DESCRIPTION))
    assert without_dates(written) == without_dates(ours)


if __name__ == "__main__":
    FILE.write_text(json.dumps(DESCRIPTION, indent=1) + "\n", "utf-8")
