"""Error against memory and time: what is comparable, the Pareto front, many recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modulewise.plots import Nothing
from modulewise.report import figures, frame, fronts


def test_pareto_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs, errors = rng.integers(0, 6, size=(2, 8))
        front = fronts.pareto(list(costs), list(errors))
        best = {(costs[i], errors[i]) for i in front}
        beaten = [
            any(
                (c <= costs[i] and e <= errors[i]) and (c, e) != (costs[i], errors[i])
                for c, e in zip(costs, errors, strict=True)
            )
            for i in range(8)
        ]
        assert best == {(costs[i], errors[i]) for i in range(8) if not beaten[i]}
        assert len(front) == len(best)
        assert list(costs[front]) == sorted(costs[front])


def read(s: Any) -> tuple[Any, Any]:
    f = frame.read(s.plan, s.runs)
    return f, f.runs[f.runs["state"] == "done"]


def test_only_comparable_runs_are_shown(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0, 10.2, 10.4], peak_memory_bytes=8 * 2**20, step_seconds=0.1)
    s.fill("dgl", 2, [12.0, 12.2], peak_memory_bytes=4 * 2**20, step_seconds=0.2)
    s.fill("dgl", 4, [14.0], device="GPU B", peak_memory_bytes=2**20, step_seconds=0.01)
    s.fill("greedy", 2, [13.0], exclusive=False, peak_memory_bytes=6 * 2**20, step_seconds=0.01)
    s.run(s.cell("greedy", 4, 0), 1.0, status="diverged", peak_memory_bytes=1, step_seconds=0.001)
    f, done = read(s)
    memory, device = fronts.points(done, done, fronts.MEMORY)
    assert device == "GPU A"
    assert list(memory["recipe"]) == ["backprop", "dgl", "greedy"]
    assert list(memory["n"]) == [3, 2, 1]
    assert list(memory["value"]) == pytest.approx([10.2, 12.1, 13.0])
    fig = fronts.against_memory(done, f)
    assert fig
    (ax,) = fig.axes
    assert (
        ax.get_xlabel() == "peak memory while training, MiB\n(GPU A; 1 more could not be compared)"
    )
    front = next(line for line in ax.lines if line.get_drawstyle() == "steps-post")
    assert (list(front.get_xdata()), list(front.get_ydata())) == (
        [4.0, 8.0],
        pytest.approx([12.1, 10.2]),
    )
    faces = {
        line.get_color(): line.get_markerfacecolor()
        for line in ax.lines
        if line.get_ls() == "None" and len(line.get_xdata())
    }
    assert faces["#000000"] == "#000000"
    assert list(faces.values()).count("white") == 2
    assert [t.get_text() for t in ax.texts] == ["1", "2", "2"]
    fig = fronts.against_time(done, f)
    assert fig
    assert (
        fig.axes[0].get_xlabel()
        == "time of a training step, ms\n(GPU A; 2 more could not be compared)"
    )


def test_nothing_to_compare_draws_nothing(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0], exclusive=False)
    s.fill("dgl", 2, [11.0], exclusive=False)
    f, done = read(s)
    with pytest.raises(Nothing, match="measured alike on a device of their own"):
        fronts.against_time(done, f)
    assert [t.get_text() for t in fronts.against_memory(done, f).axes[0].texts] == ["1", "2"]


def test_the_page_says_why_a_figure_is_not_drawn(
    site: Any, sketched: None, caplog: pytest.LogCaptureFixture
) -> None:
    s = site()
    s.fill("backprop", 1, [10.0], exclusive=False)
    s.fill("dgl", 2, [11.0], exclusive=False)
    words = s.words()
    for stem, reason in {
        "error-against-time": "no two recipes or K have a time of a training step measured alike",
        "decision": "memory and time of no local configuration were measured on a device of its",
    }.items():
        assert f"The figure {stem}_fake_resnet8 is not drawn: {reason}" in words
        assert not list((s.root / "out/figures").glob(f"{stem}*"))
    assert "not drawn" not in caplog.text, "nothing went wrong"


def test_marks_at_one_place_are_rings(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0], peak_memory_bytes=3000)
    s.fill("dgl", 2, [11.0], peak_memory_bytes=2000)
    s.fill("greedy", 2, [11.0], peak_memory_bytes=2000)
    f, done = read(s)
    (ax,) = fronts.against_memory(done, f).axes
    marks = [m for m in ax.lines if m.get_ls() == "None" and list(m.get_ydata()) == [11.0]]
    below, above = sorted(marks, key=lambda m: m.get_zorder())
    assert below.get_markersize() >= above.get_markersize() + 3


MANY = {f"r{n}": "dgl" for n in range(9)} | {f"g{n}": "greedy" for n in range(3)}


def test_many_recipes_share_several_figures(site: Any, sketched: None) -> None:
    s = site()
    twins = {
        name: s.catalog.recipes.recipes[method].model_copy(update={"label": name})
        for name, method in MANY.items()
    }
    s.catalog.recipes.recipes.update(twins)
    s = s.other(recipes=["backprop", *MANY], modules=[2], seeds=1)
    for n, name in enumerate(MANY):
        s.fill(name, 2, [10.0 + n], peak_memory_bytes=1000 + n)
    s.fill("backprop", 1, [9.0], peak_memory_bytes=2000)
    f, done = read(s)
    parts = figures.parts(done, f)
    assert parts == [["r0", "r1", "r2", "r3"], ["r4", "r5", "r6", "r7", "r8"], ["g0", "g1", "g2"]]
    fig = fronts.against_memory(done, f, parts[2])
    assert fig
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [
        "Backprop",
        "g0",
        "g1",
        "g2",
        "other recipes",
        "Pareto front",
    ]
    words = s.words()
    assert "Part 3 of 3: g0, g1, g2. Test error against peak memory" in words
    assert (s.root / "out/figures/learning-curves_fake_resnet8_part2.svg").exists()
