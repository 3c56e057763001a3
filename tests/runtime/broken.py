"""Broken variants of the reference, which the comparison with the real runtime must notice.

Each entry of ``broken.txt`` is a small change of the reference's source, in the form of the planted defects' catalogue;
``tests:`` names the kind of sequence that must tell. A process of its own loads the changed source and plays random
sequences on it and on the runtime until something differs. As a control, each kind's sequences are played on the
reference as it is, as far as any variant needed them. ``python -m tests.runtime.broken`` writes the page; ``--json``
prints what was found.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sim.runners import workerd
from tests.defects.catalogue import Defect, read
from tests.defects.planting import Planter
from tests.project.tidy import ROOT
from tests.runtime import api_sequences, binding_sequences, object_sequences, socket_sequences
from tests.runtime.probe import Probe, probing

CATALOGUE = Path(__file__).with_name("broken.txt")
VARIANTS: Sequence[Defect] = tuple(read(one.strip("\n")) for one in CATALOGUE.read_text("utf-8").split("\n\n"))
PAGE = ROOT / "docs/BROKEN_VARIANTS.md"
SEQUENCES_MAX = 300
"""Sequences that are played before a variant counts as not noticed: as many as CI plays of each kind."""
DIFFERENCE_CHARACTERS_MAX = 400
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "api": api_sequences.sequences(),
    "sql": binding_sequences.d1_calls,
    "r2": binding_sequences.r2_calls,
    "kv": object_sequences.kv_calls,
    "object": object_sequences.object_steps,
    "socket": socket_sequences.socket_steps,
}
OVER_HTTP = ("api", "socket")
"""Kinds that are played on a whole deployment."""
Play = Callable[[Any], list[str]]


@dataclass(frozen=True)
class Noticed:
    """What was found of a variant, or of the reference as it is (*defect* empty).

    Parameters
    ----------
    defect, kind
        Its name, and the kind of sequence.
    sequences
        How many were played; the last one differed, if any did.
    difference
        What differed; empty: nothing.
    """

    defect: str
    kind: str
    sequences: int
    difference: str


class DifferenceError(BaseException):
    """Ends the search: of another kind than what Hypothesis would shrink."""


def search(kind: str, play: Play, *, sequences_max: int) -> tuple[int, str]:
    """Play sequences until something differs; return how many were played, and what differed."""
    played, found = 0, ""

    @seed(0)
    @settings(
        max_examples=sequences_max,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        deadline=None,
    )
    @given(drawn=KINDS[kind])
    def look(drawn: Any) -> None:
        nonlocal played, found
        played += 1
        try:
            differences = play(drawn)
        except Exception as error:  # noqa: BLE001  # a variant may raise anything, which the runtime does not
            differences = [f"{type(error).__name__}: {error}"]
        if differences:
            found = differences[0]
            raise DifferenceError

    with suppress(DifferenceError):
        look()
    return played, found


@contextmanager
def player(kind: str, *, served: Sequence[str], probe_url: str, api_url: str) -> Iterator[Play]:
    """Yield what plays a sequence on the runtime and on the reference, loaded here or started as *served*."""
    if kind in OVER_HTTP:
        with _serving(served) as url:
            if kind == "socket":
                yield lambda asked: socket_sequences.socket_differences((url, api_url), asked)
                return
            with closing(api_sequences.Client(url)) as ours, closing(api_sequences.Client(api_url)) as theirs:
                yield lambda asked: api_sequences.differences((ours, theirs), asked)
        return
    from tests.runtime.sides import Reference, Runtime

    with closing(Reference()) as reference, closing(Probe(probe_url)) as probe:
        sides = (reference, Runtime(probe))
        # The runtime has seen others' sequences.
        binding_sequences.level(sides)
        plays: dict[str, Play] = {
            "sql": lambda calls: binding_sequences.sql_differences(sides, calls),
            "r2": lambda calls: binding_sequences.r2_differences(sides, calls),
            "kv": lambda calls: object_sequences.kv_differences(sides, calls),
            "object": lambda steps: object_sequences.object_differences(sides, steps, name=api_sequences.new_name()),
        }
        yield plays[kind]


@contextmanager
def _serving(command: Sequence[str]) -> Iterator[str]:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["http"])
        finally:
            process.terminate()


def serve(name: str) -> int:
    """Serve the reference with a variant's change, in this process."""
    if name:
        _planted(name)
    from reference_impl.__main__ import main as reference

    sys.argv = ["reference_impl", "--fsync", "off"]
    return reference()


def _planted(name: str) -> Planter:
    (defect,) = (one for one in VARIANTS if one.name == name)
    loaded = [module for module in sys.modules if module.startswith("reference_impl.")]
    assert not loaded, f"a module is changed before it is loaded: {loaded}"
    planter = Planter(defect)
    sys.meta_path.insert(0, planter)
    return planter


def _look(name: str, kind: str, *, sequences_max: int, urls: tuple[str, str], said: Connection) -> None:
    """Look for a variant in this process, and say what was found."""
    planter = _planted(name) if name and kind not in OVER_HTTP else None
    served = [sys.executable, "-m", "tests.runtime.broken", "--serve", name]
    with player(kind, served=served, probe_url=urls[0], api_url=urls[1]) as play:
        assert planter is None or planter.is_planted, "the change was loaded"
        sequences, difference = search(kind, play, sequences_max=sequences_max)
    said.send(Noticed(name, kind, sequences, difference[:DIFFERENCE_CHARACTERS_MAX]))


def _apart(name: str, kind: str, *, sequences_max: int, urls: tuple[str, str]) -> Noticed:
    """Look for a variant in a process of its own: a fork, which has loaded nothing of the reference."""
    fork = multiprocessing.get_context("fork")
    hears, says = fork.Pipe(duplex=False)
    process = fork.Process(
        target=_look, args=(name, kind), kwargs={"sequences_max": sequences_max, "urls": urls, "said": says}
    )
    process.start()
    says.close()
    try:
        noticed: Noticed = hears.recv()
    except EOFError:
        raise AssertionError(f"the search for {name or kind!r} broke off") from None
    finally:
        process.join()
    return noticed


def look_for_all(variants: Sequence[Defect] = VARIANTS) -> Iterator[Noticed]:
    """Look for every variant; then play each kind on the reference as it is, as far as a variant needed."""
    needed: dict[str, int] = {}
    with probing() as probe, workerd.running() as running:
        urls = (probe.url, running.deployment.http)
        for variant in variants:
            noticed = _apart(variant.name, variant.tests, sequences_max=SEQUENCES_MAX, urls=urls)
            needed[variant.tests] = max(needed.get(variant.tests, 1), noticed.sequences)
            yield noticed
        for kind, sequences in needed.items():
            yield _apart("", kind, sequences_max=sequences, urls=urls)


HEAD = """# Broken variants

The comparison with the real runtime ([CONFORMANCE.md](CONFORMANCE.md)) is worth as much as what it notices. Each row is
a small, plausible change of the reference (`tests/runtime/broken.txt`). Random sequences are played on it and on the
runtime, from a fixed seed, until an answer, an error, a count or the state in the end differs. All {number} are
noticed, {within} of them within {few} sequences; every run of `make test-runtime` plays at least {most} of each kind.
It plants all of these again too, and plays as many sequences of each kind on the reference as it is, where nothing may
differ. Made by `python -m tests.runtime.broken`.

| # | variant | in | sequences | noticed after |
| --- | --- | --- | --- | --- |
"""
FEW = 10


def page(found: Sequence[Noticed]) -> str:
    """Return the page."""
    by_name = {one.defect: one for one in found if one.defect}
    lines = [
        f"| {number} | {one.name} | `{one.module}` | {one.tests} | {by_name[one.name].sequences} |"
        for number, one in enumerate(VARIANTS, start=1)
    ]
    within = sum(one.sequences <= FEW for one in by_name.values())
    return HEAD.format(number=len(VARIANTS), within=within, few=FEW, most=SEQUENCES_MAX) + "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or print what was found."""
    parser = argparse.ArgumentParser(prog="tests.runtime.broken", description="Plant variants and look for them.")
    parser.add_argument("--serve", metavar="NAME", help="serve the reference with this variant's change")
    parser.add_argument("--only", metavar="NAME", help="look for this variant alone")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each, and write nothing")
    asked = parser.parse_args()
    if asked.serve is not None:
        return serve(asked.serve)
    variants = [one for one in VARIANTS if asked.only in (None, one.name)]
    found = []
    for noticed in look_for_all(variants):
        found.append(noticed)
        print(json.dumps(asdict(noticed)), flush=True)
    missed = [one for one in found if bool(one.difference) != bool(one.defect)]
    if not (asked.json or asked.only or missed):
        PAGE.write_text(page(found), "utf-8")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
