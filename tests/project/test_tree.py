"""What must hold for every file of the repository, whatever its kind.

Goal: a clone works elsewhere and gives nothing away. Method: each pattern is shown to match a made-up example, then to
match nothing in the files that git knows or would add.
"""

import re
import subprocess

import pytest

from tests.project.tidy import ROOT

# Put together from halves, so that this file does not match itself.
PATTERNS = {
    "package registry": (
        "(?:py" + r"pi\.org|python" + r"hosted\.org|registry\." + r"npmjs\.org|deb\." + r"debian\.org)",
        "https://py" + "pi.org/simple",
    ),
    "path of one machine": (
        r"(?:^|[^A-Za-z0-9_.~])/(?:root|work|home/\w+|Users/\w+|tmp/bash_jobs)/",
        'open("/ro' + 'ot/x")',
    ),
    "private key": (
        "-----BEGIN " + "(?:[A-Z]+ )?PRIVATE KEY-----",
        "-----BEGIN " + "EC PRIVATE KEY-----",
    ),
    "token of a known service": (
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|sk_" + r"live_\w{16,}|xox[abp]-[\w-]{20,})",
        "AKIA" + "Q" * 16,
    ),
    "literal secret": (
        r"(?i)\b\w*(?:api_?key|secret|password|api_?token|auth_?token)\w*[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/_.=-]{16,}[\"']",
        "API_" + "TOKEN = '" + "a1B2" * 6 + "'",
    ),
}

TEXT_BYTES_MAX = 512 * 1024
"""Larger text is data that somebody should not have committed; binary files are passed over."""


def files() -> list[str]:
    """Every file that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def texts() -> list[tuple[str, str]]:
    """Name and text of every file that is text."""
    contents = [(name, (ROOT / name).read_bytes()) for name in files()]
    return [(name, data.decode("utf-8", errors="replace")) for name, data in contents if b"\0" not in data]


@pytest.mark.parametrize("kind", PATTERNS)
def test_pattern_matches_its_example(kind: str) -> None:
    pattern, example = PATTERNS[kind]
    assert re.search(pattern, example)


@pytest.mark.parametrize("kind", PATTERNS)
def test_no_file_contains_one(kind: str) -> None:
    pattern = re.compile(PATTERNS[kind][0], re.MULTILINE)
    found = [f"{name}: {match.group().strip()}" for name, text in texts() for match in pattern.finditer(text)]
    assert found == []


def test_the_files_are_found() -> None:
    assert {"pyproject.toml", "Makefile", "tests/project/test_tree.py"} <= set(files())


def test_no_text_is_large() -> None:
    assert [name for name, text in texts() if len(text.encode()) > TEXT_BYTES_MAX] == []


def test_markdown_has_one_title_and_it_is_first() -> None:
    for name, text in texts():
        if name.endswith(".md"):
            prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
            assert text.startswith("# "), name
            assert len(re.findall(r"^# ", prose, flags=re.MULTILINE)) == 1, name


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    links = [
        (name, target)
        for name, text in texts()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        if "://" not in target and not target.startswith("mailto:")
    ]
    assert [(name, target) for name, target in links if not (ROOT / name).parent.joinpath(target).exists()] == []


def test_every_decision_is_indexed_and_complete() -> None:
    folder = ROOT / "docs/decisions"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text("utf-8")
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index) == records
    sections = ["Context", "Decision", "Rejected", "Consequence", "How to undo"]
    for name in [*records, "template.md"]:
        text = (folder / name).read_text("utf-8")
        assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == sections, name
