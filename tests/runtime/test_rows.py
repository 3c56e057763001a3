"""The recorded row counts are those of the runtime.

Goal: scenarios/platform/runtime_rows.toml is a measurement, whatever version of the runtime is pinned. Method: run
every statement anew and compare.
"""

from tests.runtime import rows


def test_the_runtime_counts_what_is_recorded() -> None:
    assert rows.made() == rows.FILE.read_text("utf-8")
