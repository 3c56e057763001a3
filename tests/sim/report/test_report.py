"""The report.

Goal: one page that stands alone, says what the plan says, and is whole whatever the plan lacks. Method: the page of a
plan with known parts is read with a strict parser; then parts are taken away, one after the other.
"""

import re
from dataclasses import replace
from html.parser import HTMLParser
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from sim import load_scenario
from sim.cli.options import typed
from sim.experiments.plan import Plan
from sim.foundation.errors import UsageError
from sim.judgement.targets import Verdict
from sim.report import tables
from sim.report.html import VERDICT_CLASS, badge, picture
from sim.report.html import table as drawn
from sim.report.page import report_html, write_report
from sim.report.sentences import summary
from sim.report.wording import amount, significant, span, usd
from tests.support.plans import example_plan, target_row

SECTIONS = [
    "targets",
    "headroom",
    "latency",
    "parts",
    "comparison",
    "stations",
    "cost",
    "sensitivity",
    "assumptions",
    "generator",
    "notes",
    "untested",
    "reproduce",
]

EMPTY_TAGS = {"meta", "br", "wbr", "img"}

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'once' {{ plan }}"


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def ids(self, tag: str | None = None) -> list[str]:
        return [attrs["id"] for name, attrs in self.tags if "id" in attrs and tag in (None, name)]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def page() -> str:
    return report_html(example_plan())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, where a test is about something else."""
    sections = ("headroom", "latency", "parts", "comparison", "cost", "sensitivity")
    monkeypatch.setattr("sim.report.page.report_figures", lambda _: dict.fromkeys(sections, ()))


# The page.


def test_page_nests_and_every_name_in_it_is_its_own(page: str) -> None:
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    assert len(parsed.ids()) == len(set(parsed.ids()))
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', page))
    assert used <= set(parsed.ids()), "a figure's own references lead somewhere"


def test_sections_follow_the_verdict_in_their_order(page: str) -> None:
    assert [name for name in Page(page).ids("section") if name != "read-first"] == SECTIONS
    assert page.index("<h1>") < page.index(example_plan().scenario.question) < page.index('class="verdict')
    assert page.index('class="verdict') < page.index('id="targets"')


def test_page_needs_no_network_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    policy = next(attrs["content"] for _, attrs in parsed.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert not {name for name, _ in parsed.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in parsed.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:image/")), (tag, attrs)
    assert "://" not in page
    assert "@import" not in page
    assert {place[:1] for place in re.findall(r"url\(([^)]*)", page)} <= {"#"}


def test_same_plan_gives_the_same_bytes(page: str) -> None:
    assert report_html(example_plan()) == page


def test_figures_take_their_findings_as_headings(page: str) -> None:
    parsed = Page(page)
    drawn = [attrs["aria-label"] for tag, attrs in parsed.tags if tag == "svg" and "aria-label" in attrs]
    assert len(drawn) == 14
    assert all(label in parsed.words for label in drawn)
    assert any(label.startswith("P99 crosses 200 ms at 1,234 requests/s") for label in drawn)


def test_page_holds_the_numbers_of_the_plan_with_intervals(page: str) -> None:
    plan, words = example_plan(), Page(page).words
    assert plan.cost is not None
    for target in (*plan.targets, *plan.measured_targets):
        lines = (target.target, target.alert)
        if target.n:
            assert amount(target.value, target.unit, apart_from=lines) in words
            assert span(target.low, target.high, unit=target.unit, apart_from=lines) in words
        assert target.reason in words
    assert "1,234 requests/s" in words
    assert "95 % interval 1,100 to 1,400" in words
    assert "D1 query P99" in words
    assert usd(plan.cost.month_usd) in words
    assert usd(plan.cost.usd_per_1000_requests) in words
    assert "0.432 ms" in words, "the generator's lateness"
    for source in plan.scenario.relied_on:
        assert source.source in words
        assert f"<code>{'.<wbr>'.join(source.path.split('.'))}</code>" in page


def words_of_stations(page: str) -> str:
    """What is read in that section."""
    section = page[page.index('id="stations"') : page.index('id="cost"')]
    return Page(section.partition(">")[2].rpartition("</section>")[0]).words


def test_arithmetic_stands_beside_the_simulation_and_is_called_so(page: str) -> None:
    """A cell for each number of each station, and one sentence with the bound; both say what they are."""
    plan = example_plan()
    assert plan.screening is not None
    words = words_of_stations(page)
    assert "approximation, not simulated" in words
    assert "by arithmetic" in words
    assert f"can never serve more than {significant(plan.screening.rate_per_s_max)} requests/s" in words
    for row in plan.screening.rows:
        assert amount(row.wait_ms_mean, "ms") in words
        bears = f"{significant(row.rate_per_s_max)}/s" if isfinite(row.rate_per_s_max) else "no bound"
        assert bears in words


def test_plan_without_arithmetic_has_none_of_it() -> None:
    """As when it was stopped at once: no column, no sentence."""
    assert "arithmetic" not in words_of_stations(report_html(replace(example_plan(), screening=None)))


def test_doubtful_numbers_are_marked(page: str) -> None:
    table = page[page.index('id="assumptions"') : page.index('id="generator"')]
    rows = table[table.index("<tbody>") :]
    doubtful = [source for source in example_plan().scenario.relied_on if source.low_confidence]
    assert rows.count("<span class=low>low</span>") == len(doubtful)
    assert f"{len(doubtful)} of {len(example_plan().scenario.relied_on)} numbers are of low confidence" in table


@pytest.mark.usefixtures("undrawn")
def test_page_tells_how_to_get_it_again(page: str) -> None:
    assert "<pre>headroom plan launch --seed 7</pre>" in page
    assert "<pre>make plan &amp;&amp; open</pre>" in report_html(example_plan(), command="make plan && open")


@pytest.mark.usefixtures("undrawn")
def test_fingerprint_changes_with_a_number_of_the_scenario(page: str) -> None:
    def fingerprint(text: str) -> str:
        return str(re.findall(r"<dd>([0-9a-f]{12})</dd>", text)[0])

    plan = example_plan()
    assert fingerprint(report_html(replace(plan, scenario=plan.scenario.vary("system.d1.queue_limit", 999)))) != (
        fingerprint(page)
    )


# What comes from outside.


def test_foreign_text_is_escaped_everywhere() -> None:
    plan = example_plan()
    assert plan.measured is not None
    scenario = plan.scenario.with_(name=HOSTILE, question=HOSTILE)
    hostile = replace(
        plan,
        scenario=scenario,
        notes=(HOSTILE,),
        targets=tuple(replace(target, reason=HOSTILE) for target in plan.targets),
        measured=replace(plan.measured, on=HOSTILE, notes=(HOSTILE,), generator={"started_utc": HOSTILE}),
        sensitivity=tuple(replace(one, source=replace(one.source, source=HOSTILE)) for one in plan.sensitivity),
    )
    assert hostile.measured is not None
    for text in (report_html(hostile, command=HOSTILE), hostile._repr_html_(), hostile.measured._repr_html_()):
        assert "<script" not in text
        assert HOSTILE in Page(text).words


# What a plan may lack.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"measured": None, "simulated_window": (), "comparison": None}, "Nothing was measured"),
        ({"simulated_window": (), "comparison": None}, "was cut short after"),
        ({"capacity": None, "notes": ("no capacity: its users set the rate",)}, "No capacity: its users set the rate."),
        ({"cost": None}, "Nothing was priced."),
        ({"sensitivity": ()}, "No low-confidence number was varied."),
        ({"targets": (), "simulated": (), "capacity": None}, "Nothing was judged"),
    ],
    ids=lambda case: ",".join(case) if isinstance(case, dict) else "",
)
def test_missing_part_leaves_a_sentence(changes: dict[str, Any], told: str) -> None:
    parsed = Page(report_html(replace(example_plan(), **changes)))
    assert [name for name in parsed.ids("section") if name != "read-first"] == SECTIONS
    assert told in parsed.words


def test_plan_that_was_stopped_at_once_is_still_a_page() -> None:
    plan = Plan(example_plan().scenario, 1, interrupted=True, notes=("interrupted: what follows is what was reached",))
    parsed = Page(report_html(plan))
    assert [name for name in parsed.ids("section") if name != "read-first"] == SECTIONS
    assert "INCONCLUSIVE" in parsed.words
    assert not [attrs for tag, attrs in parsed.tags if tag == "svg"]


def test_measurement_without_a_finished_request_is_no_measurement() -> None:
    plan = example_plan()
    assert plan.measured is not None
    nothing = replace(plan.measured, frame=plan.measured.frame.head(0), interrupted=True)
    cut = replace(plan, measured=nothing, simulated_window=(), comparison=None, interrupted=True)
    assert "Nothing was measured" in Page(report_html(cut)).words


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("why", ["interrupted", "invalid"])
def test_notes_come_before_the_numbers_when_they_must_be_read(why: str) -> None:
    plan = example_plan()
    assert plan.measured is not None
    invalid = replace(plan, notes=("the generator was late",), measured=replace(plan.measured, valid=False))
    text = report_html(invalid if why == "invalid" else replace(plan, notes=("stopped by hand",), interrupted=True))
    assert text.index('class="verdict') < text.index('id="read-first"') < text.index('id="targets"')
    assert text.index("the generator was late" if why == "invalid" else "stopped by hand") < text.index('id="targets"')


def test_calm_plan_has_no_warning_box(page: str) -> None:
    assert 'id="read-first"' not in page


@pytest.mark.usefixtures("undrawn")
def test_report_replaces_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old", "utf-8")
    assert write_report(example_plan(), target) == target
    assert target.read_text("utf-8") == report_html(example_plan())
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(UsageError, match="must be a file that can be written"):
        write_report(example_plan(), tmp_path / "none" / "report.html")


# Tables.


def test_summary_and_notebook_table_are_short_twins() -> None:
    plan = example_plan()
    assert repr(plan) == f"<Plan {summary(plan)}>"
    assert len(repr(plan)) < 200
    assert "capacity 1,234 requests/s" in repr(plan)
    assert plan.verdict in Page(plan._repr_html_()).words
    assert "<style>" in plan.simulated[0]._repr_html_()


@pytest.mark.parametrize("verdict", Verdict)
def test_verdict_has_a_word_and_a_colour(verdict: str) -> None:
    assert badge(verdict) == f'<span class="badge {VERDICT_CLASS[verdict]}">{verdict}</span>'


def test_bound_that_rounds_to_the_line_is_shown_apart_from_it() -> None:
    table = drawn(tables.targets([target_row("WARN", value=200.0003, low=200.0001, high=210.0)]))
    assert "200.0003 ms" in table
    assert "200.0001 to 210" in table


def test_reason_that_all_measured_rows_share_is_told_once() -> None:
    rows = [target_row("INVALID", reason="too slow", metric=metric) for metric in ("api_latency_ms", "d1_query_ms")]
    assert drawn(tables.targets(rows, rows)).count("too slow") == 3, (
        "once a simulated row, and once for all measured ones"
    )


@pytest.mark.parametrize(
    ("value", "zone"), [(150.0, "good"), (300.0, "warn"), (600.0, "bad")], ids=["kept", "between", "beyond"]
)
@pytest.mark.parametrize("mirrored", [False, True], ids=["below", "above"])
def test_picture_puts_the_dot_into_its_zone(value: float, zone: str, *, mirrored: bool) -> None:
    if mirrored:
        line = target_row(value=1_000 - value, target=800.0, alert=500.0, direction="above", low=1.0, high=1.0)
    else:
        line = target_row(value=value)
    drawn = picture(line)
    zones = {
        name: (float(left), float(left) + float(wide))
        for name, left, wide in re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="3" width="([\d.]+)"', drawn)
    }
    dot = float(re.findall(r'<circle cx="([\d.]+)"', drawn)[0])
    assert zones[zone][0] < dot < zones[zone][1]


def test_command_is_that_of_the_file_as_it_was_given(tmp_path: Path, undrawn: None) -> None:
    ours = tmp_path / "our plan.toml"
    ours.write_text('base = "launch.toml"\nname = "ours"\nquestion = "Does it hold?"\n', "utf-8")
    scenario = load_scenario(ours)
    assert f"<pre>headroom plan &#39;{ours}&#39; --seed 7</pre>" in report_html(
        replace(example_plan(), scenario=scenario)
    )
    assert "<pre>headroom plan launch --seed 7</pre>" in report_html(example_plan())


def test_command_line_is_repeated_with_the_seed_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/venv/bin/headroom", "plan", "our plan.toml", "--set", "a=[1, 2]"])
    assert typed(seed=7) == "headroom plan 'our plan.toml' --set 'a=[1, 2]' --seed 7"
    assert typed(seed=None) == "headroom plan 'our plan.toml' --set 'a=[1, 2]'"
