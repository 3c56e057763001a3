"""A Wrangler configuration: which bindings a Worker has, in one of its environments.

Sources
-------
Cloudflare, "Configuration" and "Environments" of the Wrangler documentation: bindings and vars are not inherited by
environments, everything else is, static assets included (workers-sdk, ``normalizeAndValidateEnvironment``); a folder's
``wrangler.json`` goes before ``wrangler.jsonc`` and ``wrangler.toml``.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.foundation.errors import UsageError
from sim.foundation.schema import nearest
from sim.models.cron_schedule import read_schedule
from sim.scaffold import jsonc

FILES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
"""What a folder may hold, the first that is there counts."""

CONFIG_BYTES_MAX = 1_000_000

TABLES = {
    "d1_databases": ("binding", "database_name"),
    "r2_buckets": ("binding", "bucket_name"),
    "kv_namespaces": ("binding", "id"),
    "durable_objects.bindings": ("name", "class_name"),
    "queues.producers": ("binding", "queue"),
    "queues.consumers": ("queue", "dead_letter_queue"),
    "services": ("binding", "service"),
    "hyperdrive": ("binding", "id"),
    "vectorize": ("binding", "index_name"),
    "analytics_engine_datasets": ("binding", "dataset"),
    "send_email": ("name", "destination_address"),
    "workflows": ("binding", "class_name"),
    "dispatch_namespaces": ("binding", "namespace"),
    "mtls_certificates": ("binding", "certificate_id"),
    "pipelines": ("binding", "pipeline"),
    "secrets_store_secrets": ("binding", "secret_name"),
    "tail_consumers": ("service", "environment"),
    "containers": ("class_name", "image"),
    "ratelimits": ("name", "namespace_id"),
    "ai": ("binding", ""),
    "browser": ("binding", ""),
    "images": ("binding", ""),
    "assets": ("directory", "binding"),
    "version_metadata": ("binding", ""),
}
"""Tables of bindings, each with the keys of its name and of what it is bound to."""

QUIET = frozenset(
    "$schema name main compatibility_date compatibility_flags account_id workers_dev preview_urls route routes env vars"
    " define build rules no_bundle minify keep_vars send_metrics logpush usage_model tsconfig jsx_factory jsx_fragment"
    " upload_source_maps find_additional_modules base_dir preserve_file_names first_party_worker dev alias migrations"
    " triggers limits placement observability secrets pages_build_output_dir legacy_env site".split()
)
"""Keys that are no bindings; those that affect load are read separately."""


@dataclass(frozen=True)
class Binding:
    """One thing that a Worker can reach: its table, its name in the code, what stands behind it, and all its keys."""

    table: str
    name: str
    target: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """The parts of a configuration that affect load.

    Attributes
    ----------
    path : Path
    name : str
        Of the Worker.
    environment : str
        The one that was read; empty for the top level.
    bindings : tuple of Binding
    crons : tuple of str
    settings : dict of str to Any
        ``limits``, ``placement``, ``observability``, as they are written.
    notes : tuple of str
        What a reader of the configuration would otherwise miss.
    main : str
        The Worker's entry file, relative to the configuration; empty if it names none.
    environments : tuple of str
        All that the file has.
    classes : dict of str to str
        Durable Object classes that its migrations make, with their storage: ``sqlite`` or ``kv``.
    unnamed : tuple of str
        Tables of bindings of the top level that the environment does not name, and so does not have.
    """

    path: Path
    name: str
    environment: str
    bindings: tuple[Binding, ...]
    crons: tuple[str, ...]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    main: str = ""
    environments: tuple[str, ...] = ()
    classes: dict[str, str] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()


def read_config(path: str | Path, environment: str = "") -> Config:
    """Read a Wrangler configuration.

    Parameters
    ----------
    path : str or Path
        A file, or a folder that holds one.
    environment : str
        Empty for the top level.

    Raises
    ------
    UsageError
        There is none, it cannot be read, or it has no such environment.
    """
    file = _file(Path(path))
    top = _tables(file)
    environments = top.get("env", {})
    if not isinstance(environments, dict) or not all(isinstance(table, dict) for table in environments.values()):
        raise UsageError(f"{file}: env must be a table of environments")
    if environment and environment not in environments:
        others = nearest(environment, environments) if environments else "it has no environments"
        raise UsageError(f"env={environment!r} is not an environment of {file}; {others}")
    own = environments.get(environment, {})
    bound = {**{key: value for key, value in top.items() if key not in _BOUND or not environment}, **own}
    bindings = tuple(_bindings(bound, file))
    triggers = bound.get("triggers") or {}
    crons = triggers.get("crons") or () if isinstance(triggers, dict) else ()
    if not isinstance(crons, list | tuple) or not all(isinstance(text, str) for text in crons):
        raise UsageError(f"{file}: triggers.crons must be a list of texts")
    for schedule in crons:
        _check_schedule(schedule, file)
    name = str(bound.get("name") or file.resolve().parent.name)
    settings = {key: bound[key] for key in ("limits", "placement", "observability") if bound.get(key)}
    unnamed = tuple(key for key in top if key in _BOUND and key not in own and top[key]) if environment else ()
    classes = _classes(bound)
    return Config(
        path=file,
        name=name,
        environment=environment,
        bindings=bindings,
        crons=tuple(crons),
        settings=settings,
        notes=tuple(_notes(environment, unnamed, environments=tuple(environments))),
        main=str(bound.get("main") or ""),
        environments=tuple(environments),
        classes=classes,
        unnamed=unnamed,
    )


def _check_schedule(text: str, file: Path) -> None:
    try:
        runs = read_schedule(text).runs_per_s
    except ValueError as error:
        raise UsageError(f'{file}: triggers.crons "{text}" {error}') from None
    if not runs:
        raise UsageError(f'{file}: triggers.crons "{text}" never comes: no day has that date')


_BOUND = frozenset({*(table.partition(".")[0] for table in TABLES if table != "assets"), "vars", "define", "unsafe"})
"""Keys that environments do not inherit."""


def _file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise UsageError(f"{path} holds no {', '.join(FILES)}")
        return found[0]
    if not path.is_file():
        raise UsageError(f"{path} does not exist, or is no file (a Wrangler configuration, or its folder)")
    return path


def _tables(file: Path) -> dict[str, Any]:
    """The file's tables, by its ending or, if that is unknown, by its first character."""
    try:
        raw = file.read_bytes()[: CONFIG_BYTES_MAX + 1]
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text, at byte {error.start}") from None
    if len(raw) > CONFIG_BYTES_MAX:
        raise UsageError(f"{file} is larger than {CONFIG_BYTES_MAX:,} bytes: is it a Wrangler configuration?")
    try:
        found = (
            jsonc.loads(text) if file.suffix in (".json", ".jsonc") or text.lstrip()[:1] == "{" else tomllib.loads(text)
        )
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}:{error.lineno} is not JSON: {error.msg.lower()}, at column {error.colno}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None
    except RecursionError:
        raise UsageError(f"{file} nests too deep") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file} must hold one table of keys")
    return found


def _bindings(bound: Mapping[str, Any], file: Path) -> Iterator[Binding]:
    for table, (name, target) in TABLES.items():
        for entry in _entries(bound, table, file=file):
            yield Binding(table, str(entry.get(name, "")), str(entry.get(target, "")), entry)
    for key in bound:
        if key not in QUIET and key not in _BOUND and key not in TABLES:
            yield Binding(key, "", "", {})


def _entries(bound: Mapping[str, Any], table: str, *, file: Path) -> list[dict[str, Any]]:
    outer, _, inner = table.partition(".")
    found: Any = bound.get(outer)
    if inner and found is not None:
        if not isinstance(found, dict):
            raise UsageError(f"{file}: {outer} must be a table")
        found = found.get(inner)
    entries = [found] if isinstance(found, dict) else found or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{file}: {table} must be a list of tables")
    return entries


def _classes(bound: Mapping[str, Any]) -> dict[str, str]:
    """The classes that the migrations leave, with their storage."""
    found: dict[str, str] = {}
    for step in bound.get("migrations") or ():
        if not isinstance(step, dict):
            continue
        for key, storage in (("new_classes", "kv"), ("new_sqlite_classes", "sqlite")):
            found |= {str(name): storage for name in step.get(key) or ()}
        for renamed in (*(step.get("renamed_classes") or ()), *(step.get("transferred_classes") or ())):
            if isinstance(renamed, dict):
                found[str(renamed.get("to"))] = found.pop(str(renamed.get("from")), "sqlite")
        for name in step.get("deleted_classes") or ():
            found.pop(str(name), None)
    return found


def _notes(environment: str, unnamed: tuple[str, ...], *, environments: tuple[str, ...]) -> Iterator[str]:
    if not environment and environments:
        yield f"environments {', '.join(environments)}: not read, this is the top level (--env NAME reads one)"
    if unnamed:
        yield f"environment {environment} names no {', '.join(unnamed)}; those of the top level are not inherited"
