from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from autoprune.report.page import render
from tests.report import synthetic


class Page(HTMLParser):
    """Collects what a browser would see of a page's markup."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.scripts[0])
        return content


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return synthetic.summary()


@pytest.fixture(scope="module")
def html(summary: dict[str, Any]) -> str:
    return render(summary)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_front_trial_stands_in_the_table_and_in_the_charts(
    summary: dict[str, Any], page: Page
) -> None:
    rows = [a["data-trial"] for t, a in page.tags if t == "tr" and "data-trial" in a]
    front = [entry["trial"] for entry in summary["front"]]
    assert rows == front
    drawn = [p for p in page.data["points"] if p["group"] == "front"]
    assert [p["trial"] for p in drawn] == front
    assert drawn[0]["testCI"] == pytest.approx(summary["front"][0]["test_ci95"], abs=1e-5)


def test_records_and_baselines_are_drawn_but_a_diverged_one_is_not(
    summary: dict[str, Any], page: Page
) -> None:
    groups = [p["group"] for p in page.data["points"]]
    assert groups.count("baseline") == 9  # the dense one is a line
    finished = sum(r["val_accuracy"] is not None for r in summary["records"])
    assert groups.count("record") == finished - len(summary["front"])


def test_a_point_carries_its_configuration_and_layers(page: Page) -> None:
    point = next(p for p in page.data["points"] if p["method"] == "imp" and p["group"] == "front")
    assert point["config"]["imp.rounds"] == 3
    assert len(point["layers"]) == len(page.data["layerNames"]) == 3


def test_the_page_is_one_small_file_that_loads_nothing(html: str, page: Page) -> None:
    assert len(html.encode()) < 6_000_000
    loading = [(t, a) for t, a in page.tags if {"src", "href", "srcset", "action"} & set(a)]
    assert loading == []
    assert not {"link", "iframe", "img", "object", "embed"} & {t for t, _ in page.tags}
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    own = page.scripts[-1]
    assert not re.search(r"https?:|fetch\(|XMLHttp|import\(|localStorage|cookie|parent\.", own)


def test_plotly_is_inlined_once(html: str) -> None:
    assert html.count("* plotly.js v") == 1


def test_a_hostile_study_name_is_only_text(summary: dict[str, Any]) -> None:
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'; rm -rf ~"
    hostile = render(summary | {"study": name})
    page = Page(hostile)
    assert len(page.scripts) == 3  # data, plotly, ours
    assert "img" not in {t for t, _ in page.tags}
    assert name in page.text
    # In the command it is one quoted word.
    assert page.data["study"] == "'" + name.replace("'", "'\"'\"'") + "'"


def test_baselines_are_compared_in_words(page: Page) -> None:
    assert "At 95.0 %: " in page.text
    assert "one-shot magnitude 8" in page.text
    assert "Against one-shot magnitude pruning" in page.text


def test_knobs_costs_and_conventions_are_there(page: Page) -> None:
    assert "Which knobs mattered" in page.text
    assert "lr.peak" in page.text
    assert "412 of 633 stages were reused" in page.text
    assert "Torch-Pruning" in page.text
    assert "No point of this front is physically smaller" in page.text


def test_knobs_are_hidden_when_trials_are_few() -> None:
    assert "Which knobs mattered" not in Page(render(synthetic.summary(15))).text


def test_digits_is_called_plumbing() -> None:
    summary = synthetic.summary(20)
    for row in [*summary["front"], *summary["records"], *summary["baselines"]]:
        row["config"]["task"] |= {"data": "digits"}
    summary["task"] |= {"num_val": 360}
    assert "Its 360 validation images prove that the plumbing works and nothing else" in (
        Page(render(summary)).text
    )


def test_a_study_without_results_still_renders() -> None:
    summary = synthetic.summary(20) | {
        "status": "running",
        "front": [],
        "profile": [],
        "baselines": [],
        "records": [],
        "hypervolume_curve": [],
        "confirmed_hypervolume": None,
    }
    summary["dense"] = {"val_accuracy": None, "test_accuracy": None, "params": 10, "macs": 10}
    summary["costs"] |= {"by_purpose": {}, "epochs_trained": 0.0, "epochs_reused": 0.0}
    page = Page(render(summary))
    assert "No trial has finished yet." in page.text
    assert "The study is running" in page.text


def test_an_unconfirmed_front_says_so() -> None:
    summary = synthetic.summary(20)
    bare = {"test_accuracy": None, "test_ci95": None, "val_ci95": None, "seeds": 1}
    summary["front"] = [entry | bare for entry in summary["front"]]
    assert "The front is not confirmed yet" in Page(render(summary)).text


def test_numbers_json_cannot_hold_become_null() -> None:
    summary = synthetic.summary(20)
    summary["records"][0] |= {"val_accuracy": float("nan"), "status": "diverged"}
    trial = summary["records"][0]["trial"]
    points = Page(render(summary)).data["points"]
    assert next(p for p in points if p["trial"] == trial)["val"] is None


def test_a_large_study_stays_small_and_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, summary: dict[str, Any]
) -> None:
    monkeypatch.setattr("autoprune.report.page.MAX_RECORDS", 40)
    monkeypatch.setattr("autoprune.report.page.MAX_LAYERS", 40 * 3 - 1)
    page = Page(render(summary))
    records = [p for p in page.data["points"] if p["group"] == "record"]
    assert len(records) == 40
    assert all(p["layers"] == [] for p in records)
    assert all(len(p["layers"]) == 3 for p in page.data["points"] if p["group"] == "front")
    assert "The charts show the best 40 search records; 60 are left out." in page.text


def test_more_than_twelve_methods_are_told_apart_by_hollow_marks(summary: dict[str, Any]) -> None:
    records = [
        {**record, "method": f"method{number % 26}"}
        for number, record in enumerate(summary["records"])
    ]
    found = Page(render({**summary, "records": records}))
    looks = [a["class"] for tag, a in found.tags if tag == "i" and "dot" in str(a.get("class"))]
    assert len(looks) >= 26
    assert len(set(looks)) == len(looks)
    assert looks[12] == "dot m0 r1"
