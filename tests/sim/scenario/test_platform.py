"""The platform file: every number with a unit, a source, and how far it can be trusted.

Goal: no number without a witness, and a clear line for a file that breaks this. Method: the shipped file is read fact
by fact; broken files are written and refused; the generator runs on a small sheet, and on the real one where it is.
"""

import importlib.util
import os
from math import isfinite
from pathlib import Path
from types import ModuleType

import pytest

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import nearest
from sim.scenario.platform import CONFIDENCE, Platform, load_platform, unit_of
from tests.project.tidy import ROOT

SHIPPED = ROOT / "scenarios/platform/2026-11.toml"
FACT_SHEET = Path(os.environ.get("HEADROOM_FACT_SHEET", "absent"))
"""What the shipped platform file was once written from: a table of facts, with its sources in a page beside it."""
GATE = 'gate_ms = { value = 10, unit = "ms", source = "someone", confidence = "M" }\n'


@pytest.fixture(scope="module")
def platform() -> Platform:
    return load_platform(SHIPPED)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scenarios/platform/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(folder: Path, text: str) -> Path:
    """A platform file with the given facts."""
    path = folder / "platform.toml"
    path.write_text(f"[meta]\ncompiled = 2026-11-23\n[d1]\n{text}", encoding="utf-8")
    return path


def test_every_shipped_fact_has_unit_source_and_letter(platform: Platform) -> None:
    assert len(platform.facts) > 400
    for fact in platform.facts.values():
        assert fact.unit, fact
        assert fact.source, fact
        assert fact.confidence in CONFIDENCE, fact


def test_no_shipped_number_is_infinite(platform: Platform) -> None:
    assert all(isfinite(fact.value) for fact in platform.facts.values() if isinstance(fact.value, float))


def test_a_name_with_a_time_unit_is_a_fact_in_that_unit(platform: Platform) -> None:
    times = {key: fact.unit for key, fact in platform.facts.items() if key.endswith(("_ms", "_ms_low", "_ms_high"))}
    assert len(times) > 20
    assert set(times.values()) == {"ms"}


def test_a_measurement_of_one_workload_is_of_low_confidence(platform: Platform) -> None:
    assert platform.fact("durable_objects.performance.output_gate_flush_ms_low").low_confidence
    assert not platform.fact("workers.performance.cpu_ms_mean_all_workers").low_confidence


def test_assumptions_of_the_fact_sheet_stay_assumptions(platform: Platform) -> None:
    letters = {fact.confidence for key, fact in platform.facts.items() if key.startswith("sim_defaults.")}
    assert letters <= {"A", "D", "R"}


def test_unknown_fact_names_the_nearest(platform: Platform) -> None:
    with pytest.raises(ScenarioError, match=r"did you mean d1\.limits\.row_bytes\?"):
        platform.fact("d1.limits.rowbytes")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("gate_ms = 10\n", r"d1\.gate_ms must be a table with value"),
        ('gate_ms = { value = 10, unit = "ms", confidence = "M" }\n', r"d1\.gate_ms needs source"),
        (GATE.replace('"M"', '"X"'), r'd1\.gate_ms\.confidence="X" must be one of O S M W C D A R'),
        (GATE + GATE, r"not TOML: .*line 5"),
    ],
)
def test_broken_fact_is_refused_with_its_place(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(ScenarioError, match=rule):
        load_platform(written(tmp_path, text))


def test_missing_file_date_and_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="does not exist"):
        load_platform(tmp_path / "no.toml")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_platform(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe4"')
    with pytest.raises(ScenarioError, match="not UTF-8 text, at byte 5"):
        load_platform(tmp_path / "latin.toml")
    (tmp_path / "undated.toml").write_text("", encoding="utf-8")
    with pytest.raises(ScenarioError, match="compiled is missing"):
        load_platform(tmp_path / "undated.toml")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("system.d1.rtt_ms", "ms"),
        ("evict_idle_ms_min", "ms"),
        ("flush_row_us", "us"),
        ("bandwidth_bytes_per_s", "bytes per s"),
        ("rate_per_s", "per s"),
        ("cold_fraction", "fraction"),
        ("shards", "1"),
    ],
)
def test_unit_is_read_from_the_name(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_nearest_lists_the_choices_when_none_is_near() -> None:
    assert nearest("zzz", ["alpha", "beta"]) == "it is one of: alpha, beta"


def test_generator_reads_letters_sources_and_notes_from_comments(generate: ModuleType) -> None:
    sheet = """
[meta]
compiled = 2026-11-23
[d1.limits]   # O [D1L] last updated
row_bytes = 2_000_000
query_ms_max = 30_000   # also a batch
[d1.performance]
gate_ms = 10   # M someone, one object
other_ms = 11  # M same
[[incidents]]
date = 2025-02-06
component = "r2"
minutes = 59
source = "O a blog"
"""
    import tomllib

    text = generate.platform_text(sheet, {"D1L": "src/limits.mdx"})
    facts = tomllib.loads(text)
    assert facts["d1"]["limits"]["row_bytes"] == {
        "value": 2_000_000,
        "unit": "bytes",
        "source": "cloudflare-docs src/limits.mdx, last updated",
        "confidence": "O",
    }
    assert facts["d1"]["limits"]["query_ms_max"]["note"] == "also a batch"
    assert facts["d1"]["performance"]["other_ms"]["source"] == "someone, one object"
    assert facts["incidents"]["r2_2025_02_06"]["minutes"]["unit"] == "min"


@pytest.mark.skipif(not FACT_SHEET.is_file(), reason="HEADROOM_FACT_SHEET names no file")
def test_shipped_file_is_what_the_generator_writes(generate: ModuleType, tmp_path: Path) -> None:
    generate.main(FACT_SHEET, tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_text("utf-8") == SHIPPED.read_text("utf-8")
