"""Every citation leads somewhere that a reader can go: into the tree, or to a work by its author and title.

Goal: nobody looks for a document that a clone does not have. Method: words that stand for such documents are shown to
be found in a made-up example, then nowhere in the tree; names of files and modules are looked up. Hazards have a test
of their own, ``test_hazards.py``.
"""

import importlib
import re
from pathlib import PurePosixPath

import pytest

from tests.project.test_tree import texts
from tests.project.tidy import ROOT

# Put together from halves, so that this file does not match itself.
NOWHERE = {
    "a specification that is not here": (r"\bSP" + r"EC\b", "keeps help fast (SP" + "EC 1)"),
    "a design that is not here": (r"\bDES" + r"IGN\b", "as the DES" + "IGN says"),
    "facts that are not here": (
        r"(?i)\bshared (?:facts|hazard)|\bfacts of the " + r"origin|\bhazard " + "table",
        "Shared" + " facts 1.5",
    ),
    "a folder beside the repository": (
        r"\bshared" + r"/(?:facts|data|mission|cases|hooks)\b",
        '"shared' + '/facts/x.toml"',
    ),
    "a list that is not here": (r"(?i)\bcheck" + r"list\b", "item 7 of the check" + "list"),
    "an item of such a list": (r"\bdef test_[a-g]\d+_", "def test_" + "b10_the_knee"),
    "a section of nothing": (
        r"(?<!, )(?<!RFC \d{3} )(?<!RFC \d{4} )\b[Ss]ec" + r"tion \d",
        "as sec" + "tion 4 says",
    ),
}
"""A section is cited with its work: after a comma (title, edition, section 3) or after an RFC's number."""

FOLDERS = "sim|reference_impl|tests|docs|scenarios|deploy|benchmarks|reports|notebooks|status"
FILE = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w\.(?:py|md|toml|ipynb|sql|txt|csv|html|css|parquet|yml)\b")
OBJECT = re.compile(r":(?:mod|class|func|meth|data|attr|exc):`~?((?:sim|reference_impl|tests|benchmarks)\.[\w.]+)`")
COMMAND = re.compile(r"python -m ((?:sim|reference_impl|tests|benchmarks)(?:\.\w+)*)\b(?!\.)")

NOT_THERE = {
    "deploy/wrangler.toml": "CI deploys as soon as it exists",
    "sim/x.py": "a made-up module in tests/project/test_tidy.py",
}
"""Names of files that do not exist, and why they are named."""


def checked() -> list[tuple[str, str]]:
    """All texts but outputs of notebooks, and but records of decisions, which name the files of their day."""
    return [(name, text) for name, text in texts() if not name.endswith(".ipynb") and "docs/decisions/0" not in name]


@pytest.mark.parametrize("kind", NOWHERE)
def test_pattern_matches_its_example(kind: str) -> None:
    pattern, example = NOWHERE[kind]
    assert re.search(pattern, example)


@pytest.mark.parametrize(
    "text",
    ['Law, "Modeling", 5th ed., 2015, section 9.4', "RFC 9110 section 13.2", "the next section", "a SPECIAL"],
)
def test_a_citation_that_leads_somewhere_is_left_alone(text: str) -> None:
    assert not [kind for kind, (pattern, _) in NOWHERE.items() if re.search(pattern, text)]


@pytest.mark.parametrize("kind", NOWHERE)
def test_nothing_leads_nowhere(kind: str) -> None:
    pattern = re.compile(NOWHERE[kind][0])
    assert [f"{name}: {found.group()}" for name, text in checked() for found in pattern.finditer(text)] == []


def test_every_named_file_exists() -> None:
    """A name in capitals stands for any name."""
    named = {(name, file) for name, text in checked() for file in FILE.findall(text)}
    named = {(name, file) for name, file in named if not re.search(r"/(test_)?(NAME|COMPONENT)[/.]", file)}
    assert len(named) > 50
    assert sorted((name, file) for name, file in named if file not in NOT_THERE and not (ROOT / file).exists()) == []


def found_by(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    path = PurePosixPath(dotted.replace(".", "/"))
    for module, rest in ((path, ()), (path.parent, path.parts[-1:]), (path.parent.parent, path.parts[-2:])):
        file = ROOT / module
        if file.with_suffix(".py").is_file() or file.is_dir():
            found: object = importlib.import_module(".".join(module.parts))
            for name in rest:
                found = getattr(found, name, None)
            return found is not None
    return False


def test_every_named_object_exists() -> None:
    named = {(name, dotted) for name, text in checked() for dotted in OBJECT.findall(text)}
    assert len(named) > 10
    assert sorted((name, dotted) for name, dotted in named if not found_by(dotted)) == []


def test_every_named_program_exists() -> None:
    named = {(name, module) for name, text in checked() for module in COMMAND.findall(text)}
    assert len(named) > 5
    places = {module: ROOT / module.replace(".", "/") for _, module in named}
    missing = {
        m for m, path in places.items() if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file())
    }
    assert sorted((name, module) for name, module in named if module in missing) == []
