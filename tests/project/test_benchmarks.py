"""Goal: a race is run over one distance, and its table is told as it was measured.

Method: every contender plays a short job, and must give every request the latency that our SimPy engine gives it.
"""

from typing import Any

import pytest

from benchmarks import jobs, processes, timing
from benchmarks.__main__ import NAMES, SIZES
from benchmarks.page import Section, page
from sim.engines.recording import Recording

PLAYERS = processes.players()


def latency_ms(player: str, job: jobs.Job) -> jobs.Times:
    """What a contender says, whatever it returns."""
    played: Any = PLAYERS[player](job)
    times: jobs.Times = played.latency_ms if isinstance(played, Recording) else played
    return times


def nothing() -> None:
    """Work for a process of a pool, which must find it by its name."""


@pytest.mark.parametrize(
    ("job_name", "player"), [(job_name, player) for job_name, sizes in SIZES.items() for player in sizes]
)
def test_all_contenders_do_the_same_work(job_name: str, player: str) -> None:
    """Each request within 1e-9; in ``launch`` that is twenty thousand chances to tell two models apart."""
    job = jobs.MAKERS[job_name](20_000 if job_name == "launch" else 3_000)
    assert latency_ms(player, job) == pytest.approx(latency_ms("simpy", job), rel=1e-9, abs=1e-9)


def test_the_queues_are_as_busy_as_their_name_says() -> None:
    """Arrivals times service, over the servers: 0.8 within five standard errors."""
    for job in (jobs.mm4(50_000), jobs.three_in_a_row(50_000)):
        for times in job.service_ms:
            load_ratio = times.sum() / (job.servers * job.schedule.duration_ms)
            assert load_ratio == pytest.approx(0.8, abs=0.8 * 5 * (2 / 50_000) ** 0.5)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that was twice as slow in the second round was so for both."""
    rates = {"slow": [10.0, 5.0], "fast": [600.0, 300.0]}
    assert timing.ratios(rates, "slow")["fast"] == timing.Spread(60.0, 60.0, 60.0)


def test_a_round_is_quiet_only_if_two_processes_had_a_processor_each() -> None:
    """One of two looks is not enough: the other work may have begun, or ended, in between."""
    assert timing.Gain(1.2, (1.8, 1.9)).is_quiet
    assert not timing.Gain(1.9, (1.8, 1.2)).is_quiet
    assert not timing.Gain(1.9, (1.2, 1.8)).is_quiet


def test_threads_and_processes_do_the_same_work() -> None:
    """As often as asked, twice in each round by each, and positive gains come of it."""
    done: list[int] = []
    found = timing.gains(lambda: done.append(1), nothing, times=4, rounds=3)
    assert len(done) == 4 + 3 * (4 + 4)
    assert all(gain.threads > 0 and min(gain.processes) > 0 for gain in found)


def test_a_child_tells_its_memory() -> None:
    """A process with a schedule of a thousand requests holds more than a megabyte and less than a gigabyte."""
    assert 1e6 < processes.child("memory", "mm4", "plain", 1000)["peak_bytes"] < 1e9


def test_a_page_holds_its_tables() -> None:
    """A line a row, as many cells as columns, and the machine's load beside it."""
    section = Section("Title", "Some   words.", ("job", "rate"), [["one", "1"], ["two", "2"]])
    told = page([section], load_average=(0.25, 1.5))
    assert told.startswith("# Speed\n")
    assert "load average of the machine was 0.2 before and 1.5 after" in " ".join(told.split())
    assert "## Title\n\nSome words.\n\n| job | rate |\n| --- | ---: |\n| one | 1 |\n| two | 2 |\n" in told


def test_the_written_page_has_every_contender() -> None:
    """``docs/SPEED.md`` is what ``make bench`` wrote last: nobody who races today is missing there."""
    told = (processes.ROOT / "docs/SPEED.md").read_text("utf-8")
    for job_name, sizes in SIZES.items():
        job = jobs.MAKERS[job_name](10)
        assert [player for player in sizes if f"| {job.name}: {NAMES[player]} |" not in told] == []
