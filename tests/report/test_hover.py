"""What marks say when the pointer rests on them, in the files and in the page."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from modulewise.report import drawing, hover

SVG = "{http://www.w3.org/2000/svg}"


def titles(svg: bytes | str) -> list[str]:
    """All titles of an SVG, which must be well formed."""
    return [str(one.text) for one in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def plain() -> Figure:
    fig = Figure()
    ax = fig.subplots()
    (marks,) = ax.plot([1, 2, 3], [4, 5, 6], ls="", marker="o")
    hover.tell(
        marks, 'a "quoted" & <b>', "\N{GREEK SMALL LETTER MU}s: 5\N{NO-BREAK SPACE}%", "c--d"
    )
    (line,) = ax.plot([1, 3], [5, 5])
    hover.tell(line, "all of it")
    return fig


def test_every_mark_has_its_own_text() -> None:
    made = drawing.files(plain)
    said = {'a "quoted" & <b>': 4, "\N{GREEK SMALL LETTER MU}s: 5\N{NO-BREAK SPACE}%": 5, "c--d": 6}
    root = ElementTree.fromstring(made["svg"])
    places = {
        str(title.text): float(use.attrib["y"])
        for use in root.iter(f"{SVG}use")
        for title in use.iter(f"{SVG}title")
    }
    assert list(places) == list(said)
    heights = list(places.values())
    assert heights == sorted(heights, reverse=True), "the first is the lowest"
    assert titles(made["svg"]) == [*said, "all of it"]
    assert b"says" not in made["svg"] and b"quoted" not in made["pdf"]


def test_the_figures_of_a_report_say_their_values(site: Any, drawn: None) -> None:
    s = site()
    s.fill("backprop", 1, [10.0, 11.0, 12.0], peak_memory_bytes=3 * 2**20)
    s.fill("dgl", 2, [12.0, 13.0, 14.5], peak_memory_bytes=2**20)
    s.fill("dgl", 4, [13.0], peak_memory_bytes=2**20)
    page, folder = s.report(), s.root / "out/figures"
    said = {
        kind: [t.replace("\N{NO-BREAK SPACE}", " ") for t in titles(path.read_bytes())]
        for path in folder.glob("*.svg")
        for kind in path.name.split("_")[:1]
    }
    at = "DGL & co_1, K = 2"
    assert sorted(said["error-against-modules"]) == [
        "Backprop: test error 11.00 % [8.52, 13.48], 3 seeds",
        f"{at}: test error 13.17 % [10.04, 16.29], 3 seeds",
        f"{at[:-1]}4: test error 13.00 %",
    ]
    memory = "peak memory while training"
    assert f"{at}: test error 13.17 %, {memory} 1 MiB, n = 3" in said["error-against-memory"]
    assert (
        f"Backprop, K = 1: test error 11.00 %, {memory} 3 MiB, n = 3"
        in (said["error-against-memory"])
    )
    assert f"{at}: test error 13.17 %, 1 MiB, 100 ms" in said["decision"]
    assert f"{at}, epoch 3: test error 13.17 %" in said["learning-curves"]
    assert f"{at}, seed 1" in said["learning-curves"]
    assert f"{at}, module 1: test error 18.17 %" in said["error-over-depth"]
    shown = re.findall(r"<title>(.*?)</title>", page.split("</head>")[1])
    assert sorted(html.unescape(t).replace("\N{NO-BREAK SPACE}", " ") for t in shown) == sorted(
        text for texts in said.values() for text in texts
    )


@pytest.mark.usefixtures("sketched")
def test_a_page_without_the_script_keeps_the_titles(site: Any) -> None:
    """The script is ours, in the page, and nothing else is loaded."""
    s = site()
    s.fill("dgl", 2, [12.0])
    page = s.report()
    assert page.count("<script>") == 1 and 'querySelectorAll("figure svg")' in page
