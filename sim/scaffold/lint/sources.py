"""The files of a deployment that can be looked at: its configuration, its code, its migrations, its workflows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sim.foundation.errors import UsageError
from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.wrangler import FILES, Config, read_config

CODE_ENDINGS = (".ts", ".tsx", ".mts", ".js", ".mjs")
SKIPPED = frozenset({"node_modules", "dist", "build", "out", "test", "tests", "__tests__", ".wrangler"})
"""Folders whose code is not the Worker's own."""
FILES_MAX, FILE_BYTES_MAX = 2_000, 1_000_000
WORKFLOWS = ".github/workflows"
RUNBOOKS = ("runbooks", "docs/runbooks")


@dataclass(frozen=True)
class Text:
    """A text file, its path relative to the folder."""

    path: Path
    text: str

    def line_of(self, pattern: str) -> int:
        """Return the number of the first line that *pattern* is found in, from 1; 0 for none."""
        found = re.search(pattern, self.text)
        return 0 if found is None else self.text.count("\n", 0, found.start()) + 1


@dataclass(frozen=True)
class Workflow:
    """A workflow of CI, parsed."""

    file: Text
    jobs: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Sources:
    """What was found in a folder.

    Attributes
    ----------
    folder : Path
    config_file : Text
    configs : tuple of Config
        The top level, then each environment.
    code : tuple of Text
    migrations : Path or None
        Folder of the migrations of the first database.
    workflows : tuple of Workflow
    runbooks : tuple of Text or None
        Pages of ``runbooks`` or ``docs/runbooks``, beside the configuration or at the top of the repository;
        None without such a folder.
    unread : tuple of Finding
        Files that could not be read.
    """

    folder: Path
    config_file: Text
    configs: tuple[Config, ...]
    code: tuple[Text, ...]
    migrations: Path | None
    workflows: tuple[Workflow, ...]
    runbooks: tuple[Text, ...] | None
    unread: tuple[Finding, ...]

    @property
    def top(self) -> Config:
        """The configuration's top level."""
        return self.configs[0]


def read_sources(path: Path) -> Sources:
    """Read the deployment at *path*: a Wrangler configuration, or a folder that holds one, at its top or one below.

    Raises
    ------
    UsageError
        There is no configuration, or it cannot be read.
    """
    config_path = _config_in(path)
    folder = config_path.parent
    top = read_config(config_path)
    configs = (top, *(read_config(config_path, name) for name in top.environments))
    unread: list[Finding] = []
    root = path if path.is_dir() else folder
    repository = next((place for place in (root, *root.resolve().parents) if (place / WORKFLOWS).is_dir()), root)
    return Sources(
        folder=folder,
        config_file=_text(config_path, root),
        configs=configs,
        code=tuple(_code(folder, root)),
        migrations=_migrations(top, folder),
        workflows=tuple(_workflows(repository, unread)),
        runbooks=_runbooks(folder, root, repository),
        unread=tuple(unread),
    )


def _config_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    for folder in (path, *sorted(one for one in path.iterdir() if one.is_dir() and one.name not in SKIPPED)):
        found = [folder / name for name in FILES if (folder / name).is_file()]
        if found:
            return found[0]
    raise UsageError(f"path={str(path)!r} holds no {', '.join(FILES)}, nor does a folder in it")


def _code(folder: Path, root: Path) -> Iterator[Text]:
    count = 0
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        if file.suffix not in CODE_ENDINGS or SKIPPED & set(inside) or not file.is_file():
            continue
        count += 1
        if count > FILES_MAX:
            return
        yield _text(file, root)


def _text(file: Path, root: Path) -> Text:
    shown = file.relative_to(root) if file.is_relative_to(root) else file
    return Text(shown, file.read_bytes()[:FILE_BYTES_MAX].decode("utf-8", errors="replace"))


def _migrations(config: Config, folder: Path) -> Path | None:
    for binding in config.bindings:
        if binding.table == "d1_databases":
            found = folder / str(binding.keys.get("migrations_dir") or "migrations")
            return found if found.is_dir() else None
    return None


def _runbooks(*places: Path) -> tuple[Text, ...] | None:
    folders = [place / inside for place in dict.fromkeys(places) for inside in RUNBOOKS]
    found = [folder for folder in folders if folder.is_dir()]
    if not found:
        return None
    return tuple(_text(file, folder) for folder in found for file in sorted(folder.rglob("*.md")))


def _workflows(repository: Path, unread: list[Finding]) -> Iterator[Workflow]:
    folder = repository / WORKFLOWS
    for file in sorted((*folder.glob("*.yml"), *folder.glob("*.yaml"))):
        text = _text(file, repository)
        try:
            found = yaml.safe_load(text.text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line_number = 0 if mark is None else mark.line + 1
            said = str(getattr(error, "problem", "") or "it cannot be parsed")
            unread.append(Finding(Severity.ERROR, text.path, line_number, "yaml", f"no YAML: {said}", "mend the file"))
            continue
        jobs = found.get("jobs") if isinstance(found, dict) else None
        if isinstance(jobs, dict):
            yield Workflow(text, {str(name): job for name, job in jobs.items() if isinstance(job, dict)})
