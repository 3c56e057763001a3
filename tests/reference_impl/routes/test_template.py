"""Path templates: which paths a route answers, and whether two routes could be meant by one.

Goal: matching is what the deployment file says, and two templates overlap exactly when a path fits both. Method: small
templates drawn by Hypothesis against every short path there is, matched by an independent reading of the rule.
"""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference_impl.errors import ConfigError
from reference_impl.routes.template import Template

ALPHABET = "ab/"
PATHS = ["/" + "".join(rest) for length in range(7) for rest in product(ALPHABET, repeat=length)]
symbols = st.lists(st.sampled_from(["a", "b", "/", "{x}", "{y}"]), max_size=4)


def template(text: str) -> Template:
    return Template(text, where="routes.one.request.path")


def fits(pieces: tuple[str, ...], path: str) -> bool:
    """Whether *path* fits, by trying every value of the first placeholder."""
    if not pieces:
        return path == ""
    first, rest = pieces[0], pieces[1:]
    if not first.startswith("{"):
        return path.startswith(first) and fits(rest, path[len(first) :])
    return any("/" not in path[:cut] and fits(rest, path[cut:]) for cut in range(1, len(path) + 1))


@given(pieces=symbols)
def test_a_template_answers_the_paths_that_fit_it_and_no_others(pieces: list[str]) -> None:
    made = template("/" + "".join(pieces))
    for path in PATHS:
        values = made.values(path)
        assert (values is not None) == fits(("/", *pieces), path), path
        if values is not None:
            assert set(values) == {piece.strip("{}") for piece in pieces if piece.startswith("{")}
            assert all(value and "/" not in value for value in values.values())


@given(ours=symbols, theirs=symbols)
@example(ours=["{x}"], theirs=["a", "b", "a"])
@example(ours=["{x}", "a"], theirs=["b", "{y}"])
@example(ours=["{x}", "{y}"], theirs=["a"])
def test_two_templates_overlap_exactly_when_a_path_fits_both(ours: list[str], theirs: list[str]) -> None:
    a, b = template("/" + "".join(ours)), template("/" + "".join(theirs))
    # Templates of at most four symbols that meet at all meet in a path of at most seven letters.
    meet = any(fits(("/", *ours), path) and fits(("/", *theirs), path) for path in PATHS)
    assert a.overlaps(b) == b.overlaps(a) == meet


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("/feed/{key}?page={request}", "/feed/7", {"key": "7"}),
        ("/feed/{key}?page={request}", "/feed/7/8", None),
        ("/feed/{key}", "/feed/", None),
        ("/files/{name}.bin", "/files/a.b.bin", {"name": "a.b"}),
        ("/files/{name}.bin", "/files/abbin", None),
        ("/caf%C3%A9/{key}", "/café/ä ö", {"key": "ä ö"}),
        ("/a.c", "/abc", None),
    ],
)
def test_examples(text: str, path: str, values: dict[str, str] | None) -> None:
    assert template(text).values(path) == values


@pytest.mark.parametrize("text", ["", "feed", "/feed/{}", "/feed/{a-b}", "/feed/{key", "/a b", "/a#b"])
def test_what_is_no_template_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a path such as /feed/\{key\}") as caught:
        template(text)
    assert str(caught.value).startswith(f"routes.one.request.path={text!r} ")
    assert "\n" not in str(caught.value)
