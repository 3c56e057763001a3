"""Wrangler configurations: read as Wrangler reads them, or refused with the line.

Goal: no binding is lost, whichever form the file has. Method: one configuration in all three forms; environments, which
inherit settings and no bindings; broken files; and, for the comments of JSON, documents that Hypothesis draws.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import init
from sim.foundation.errors import UsageError
from sim.scaffold import jsonc
from sim.scaffold.parts import parts
from sim.scaffold.wrangler import TABLES, read_config

TOML = """
name = "shop"
limits = { cpu_ms = 40 }
triggers = { crons = ["*/5 * * * *"] }
[[d1_databases]]
binding = "DB"
database_name = "shop"
[durable_objects]
bindings = [{ name = "CART", class_name = "Cart" }, { name = "STOCK", class_name = "Stock" }]
[ai]
binding = "AI"
[env.staging]
name = "shop-staging"
[[env.staging.d1_databases]]
binding = "DB"
database_name = "shop-staging"
"""
DOCUMENT: dict[str, Any] = {
    "name": "shop",
    "limits": {"cpu_ms": 40},
    "triggers": {"crons": ["*/5 * * * *"]},
    "d1_databases": [{"binding": "DB", "database_name": "shop"}],
    "durable_objects": {"bindings": [{"name": "CART", "class_name": "Cart"}, {"name": "STOCK", "class_name": "Stock"}]},
    "ai": {"binding": "AI"},
    "env": {"staging": {"name": "shop-staging", "d1_databases": [{"binding": "DB", "database_name": "shop-staging"}]}},
}
JSONC = "// Ours.\n" + json.dumps(DOCUMENT, indent=2).replace('"ai"', '/* "no": */ "ai"').replace("}\n}", "},\n}")


def written(folder: Path, text: str, name: str = "wrangler.toml") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"), [("wrangler.toml", TOML), ("wrangler.json", json.dumps(DOCUMENT)), ("wrangler.jsonc", JSONC)]
)
def test_all_forms_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    written(tmp_path, text, name)
    config = read_config(tmp_path)
    assert config.name == "shop"
    assert [(one.table, one.name, one.target) for one in config.bindings] == [
        ("d1_databases", "DB", "shop"),
        ("durable_objects.bindings", "CART", "Cart"),
        ("durable_objects.bindings", "STOCK", "Stock"),
        ("ai", "AI", ""),
    ]
    assert config.crons == ("*/5 * * * *",)
    assert config.settings == {"limits": {"cpu_ms": 40}}


def test_environments_inherit_settings_and_no_bindings(tmp_path: Path) -> None:
    staging = read_config(written(tmp_path, TOML), "staging")
    assert staging.name == "shop-staging"
    assert [(one.table, one.target) for one in staging.bindings] == [("d1_databases", "shop-staging")]
    assert staging.crons == ("*/5 * * * *",)
    assert staging.settings == {"limits": {"cpu_ms": 40}}
    assert any("names no durable_objects, ai" in note for note in staging.notes)
    with pytest.raises(UsageError, match=r"env='stagin' is not an environment of .*; did you mean staging\?"):
        read_config(tmp_path, "stagin")


def test_what_no_scenario_can_express_is_named(tmp_path: Path) -> None:
    entries = "".join(f'[[{table}]]\n{keys[0]} = "X"\n' for table, keys in TABLES.items() if "." not in table)
    config = read_config(written(tmp_path, f'{entries}[future_things]\nbinding = "F"\n'))
    found = parts(config)
    said = " ".join(found.lacking)
    expressed = {part.binding.table for part in found.found}
    for table in [*TABLES, "future_things"]:
        assert table in expressed or table in said or "." in table, table
    assert {"d1_databases", "r2_buckets"} <= expressed


def test_several_bindings_of_a_kind_are_instances_with_names(tmp_path: Path) -> None:
    found = parts(read_config(written(tmp_path, TOML)))
    assert [(part.name, part.component) for part in found.found] == [
        ("d1", "d1"),
        ("cart", "durable_objects"),
        ("stock", "durable_objects"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("wrangler.toml", "name = \n", r"wrangler\.toml is not TOML: invalid value \(at line 1"),
        (
            "wrangler.jsonc",
            '{\n  "name": "x",\n  "a" 1\n}',
            r"wrangler\.jsonc:3 is not JSON: expecting ':' delimiter, at",
        ),
        ("wrangler.json", "[1]", "must hold one table of keys"),
        ("wrangler.json", "[" * 100_000, "nests too deep|is not JSON"),
        ("wrangler.toml", "d1_databases = 3\n", "d1_databases must be a list of tables"),
        ("wrangler.toml", "durable_objects = 3\n", "durable_objects must be a table"),
        ("wrangler.toml", "env = [1]\n", "env must be a table of environments"),
        ("wrangler.toml", "triggers = { crons = [1] }\n", "crons must be a list of texts"),
    ],
)
def test_a_broken_configuration_is_refused_in_one_line(tmp_path: Path, name: str, text: str, rule: str) -> None:
    with pytest.raises(UsageError, match=rule) as found:
        read_config(written(tmp_path, text, name))
    assert "\n" not in str(found.value)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no wrangler\.json, wrangler\.jsonc, wrangler\.toml"):
        read_config(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_config(tmp_path / "no.toml")
    (tmp_path / "wrangler.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match="is not UTF-8 text, at byte 8"):
        read_config(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\/*,]}{[: \n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"/*,', max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.sampled_from(["", "// x, }\n", '/* "a", ] */', "/* // */", "\n"]))
def test_comments_and_last_commas_change_nothing(value: Any, comment: str) -> None:
    """Comments are put wherever a line ends, and a comma behind every last entry: no text is touched by it."""
    lines = json.dumps(value, indent=1).split("\n")
    text = "\n".join(
        f"{line},{comment}"
        if after.lstrip()[:1] in ("]", "}") and line.rstrip()[-1] not in "[{,"
        else f"{line}{comment}"
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
    )
    assert jsonc.loads(text) == value


@pytest.mark.parametrize(
    ("schedule", "rule"),
    [("0 0 31 2 *", "never comes"), ("0 0 * * 8", "must be 1 to 7"), ("every hour", "must be five fields")],
)
def test_wrong_schedule_is_the_files_and_not_the_drafts(tmp_path: Path, schedule: str, rule: str) -> None:
    written(tmp_path, json.dumps({"name": "one", "triggers": {"crons": [schedule]}}), "wrangler.json")
    with pytest.raises(UsageError, match=rule) as error:
        read_config(tmp_path)
    assert "wrangler.json: triggers.crons" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("consumer", "found"),
    [
        ({"max_batch_size": 20, "max_batch_timeout": 2.5, "max_concurrency": None}, (20, 2.5)),
        ({"max_batch_size": 500}, "max_batch_size=500 must be less than or equal to 100"),
        ({"max_retries": "3"}, "max_retries='3' must be a valid integer"),
        ({"max_batch_timeout": -1}, "max_batch_timeout=-1 must be greater than or equal to 0"),
    ],
)
def test_consumers_keep_every_number_or_refuse_it(tmp_path: Path, consumer: dict[str, Any], found: Any) -> None:
    queues = {"producers": [{"queue": "in", "binding": "IN"}], "consumers": [{"queue": "in", **consumer}]}
    written(tmp_path, json.dumps({"name": "one", "queues": queues}), "wrangler.json")
    if isinstance(found, str):
        with pytest.raises(UsageError, match=found):
            init(tmp_path)
        return
    table = init(tmp_path).scenario.system["queues"]
    assert (table.batch_messages, table.batch_timeout_s) == found


@pytest.mark.parametrize(
    ("made", "binding", "storage"),
    [
        ({"new_classes": ["Cart"]}, {}, "kv"),
        ({"new_sqlite_classes": ["Cart"]}, {}, "sqlite"),
        ({"new_classes": ["Other"]}, {}, "sqlite"),
        ({"new_classes": ["Cart"]}, {"script_name": "elsewhere"}, "sqlite"),
    ],
)
def test_objects_have_the_storage_of_their_classes(
    tmp_path: Path, made: dict[str, Any], binding: dict[str, Any], storage: str
) -> None:
    bound = {"bindings": [{"name": "CART", "class_name": "Cart", **binding}]}
    document = {"name": "one", "durable_objects": bound, "migrations": [{"tag": "v1", **made}]}
    (tmp_path / "wrangler.json").write_text(json.dumps(document), "utf-8")
    assert init(tmp_path).scenario.system["durable_objects"].storage == storage


@pytest.mark.parametrize(
    ("first", "said"), [(False, "served without the Worker"), (True, "behind the Worker"), (["/api/*"], "behind the")]
)
def test_static_assets_are_inherited_and_say_whether_the_worker_serves_them(
    tmp_path: Path, first: object, said: str
) -> None:
    document = {"name": "one", "assets": {"directory": "./public", "run_worker_first": first}, "env": {"eu": {}}}
    (tmp_path / "wrangler.json").write_text(json.dumps(document), "utf-8")
    for environment in ("", "eu"):
        lacking = init(tmp_path, environment=environment).lacking
        assert any(line.startswith("assets ./public") and said in line for line in lacking)
        assert not any("names no assets" in line for line in lacking)
