"""A sweep laid out as a published table: what stands where, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from modulewise.errors import InvalidInput

GRID: dict[str, Any] = {"datasets": ["fake"], "networks": ["resnet8"]}
SWEEP: dict[str, Any] = {
    "sweep": "small",
    "title": "Small",
    "grids": [GRID | {"recipes": ["backprop", "dgl", "greedy"], "modules": [2, 4], "seeds": 4}],
}
HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
    "tolerance,source,note"
)
DGL = "fake,resnet8,dgl,2,test_error,11.0,0.2,sd,5,last,3,test,0.5,a paper,"
EXHIBIT: dict[str, Any] = {
    "title": "A paper, table 1",
    "sources": ["a paper"],
    "rows": ["recipe"],
    "columns": ["modules"],
}


def write(s: Any, *rows: str) -> None:
    (s.root / "config/references.csv").write_text("\n".join([HEADER, *rows]) + "\n")


def page(s: Any) -> str:
    """The exhibit's words: what stands between its heading and the first section's."""
    return str(s.words().split("A paper, table 1")[1].split("fake, resnet8")[0])


def test_ours_theirs_and_the_verdict_stand_in_one_place(site: Any) -> None:
    s = site(SWEEP | {"exhibit": EXHIBIT})
    write(
        s,
        DGL,
        DGL.replace("dgl,2", "dgl,4").replace("11.0", "9.0"),
        DGL.replace("dgl,2", "backprop,1"),
    )
    s.fill("dgl", 2, [10.8, 11.0, 11.2, 11.0])
    s.fill("dgl", 4, [14.0, 14.2, 13.8, 14.0])
    s.fill("greedy", 4, [20.0, 20.0])
    half = stats.t.ppf(0.975, 3) * 0.1632993 / 2
    assert half == pytest.approx(0.26, abs=0.005)
    text = page(s)
    assert "K = 1 K = 2 K = 4 Backprop ours – published 11.00 ± 0.20 (5) verdict no run yet" in text
    assert (
        "DGL & co_1 ours 11.00 ± 0.16 (4) 14.00 ± 0.16 (4) published 11.00 ± 0.20 (5) 9.00 ± 0.20 "
        "(5) verdict reproduced worse" in text
    )
    assert (
        "Greedy ours, last epoch – 20.00 ± 0.00 (2 of 4) ours, best epoch – 20.00 ± 0.00 (2 of 4)"
        in text
    )
    # horizon, helpers' parameters, their share: 100 (K - 1) of 300 + 100 (K - 1)
    assert "reproduced worse horizon · helpers 1 · 10 · 25.0 % 1 · 30 · 50.0 %" in text
    table = s.table("exhibit").set_index(["recipe", "modules"])
    assert len(table) == 5
    assert table.loc[("dgl", 2), "high"] == pytest.approx(11.0 + half)
    assert table.loc[("dgl", 2), "std"] == pytest.approx(0.1632993)
    assert list(table.loc[("dgl", 4), ["horizon", "helper_parameters", "helper_flops_share"]]) == [
        1,
        30,
        0.5,
    ]
    assert table.loc[("dgl", 4), "verdict"] == "worse"
    assert "verdict & " in (s.root / "out/tables/exhibit.tex").read_text()


def test_an_unknown_selection_shows_both_epochs_and_both_verdicts(site: Any) -> None:
    s = site(SWEEP | {"exhibit": EXHIBIT})
    write(s, DGL.replace("last", "unknown"))
    for seed, error in enumerate([12.9, 13.0, 13.1]):
        s.run(s.cell("dgl", 2, seed), error, best=error - 2)
    text = page(s)
    assert (
        "ours, last epoch 13.00 ± 0.10 (3 of 4) – ours, best epoch 11.00 ± 0.10 (3 of 4) –" in text
    )
    assert "verdict, last epoch worse verdict, best epoch reproduced" in text


def test_another_source_is_named_and_others_are_left_out(site: Any) -> None:
    s = site(SWEEP | {"exhibit": EXHIBIT | {"sources": ["a paper", "a second paper"]}})
    second = DGL.replace("dgl,2", "greedy,2").replace("a paper", "a second paper")
    write(
        s,
        DGL,
        DGL.replace("a paper", "a second paper").replace("11.0", "8.0"),
        second,
        DGL.replace("dgl,2", "dgl,4").replace("a paper", "a third paper"),
    )
    text = page(s)
    assert "published: a paper; a second paper, mean ± standard deviation" in text
    assert "8.00" not in text
    assert "a third paper" not in text
    assert "Greedy ours – – published 11.00 ± 0.20 (5) a verdict no run yet" in text
    assert " a a second paper As CSV" in text


def test_costs_stand_beside_the_published_ones(site: Any) -> None:
    metrics = [
        "test_error",
        "memory_gb",
        "memory_reduction",
        "compute_overhead",
        "time_overhead",
        "epochs",
    ]
    s = site(
        SWEEP
        | {"exhibit": EXHIBIT | {"rows": ["recipe", "modules"], "columns": [], "metrics": metrics}}
    )
    costs = [
        "memory_gb,1.5,",
        "memory_reduction,40,",
        "compute_overhead,-3,",
        "time_overhead,12.5,",
    ]
    write(s, *(f"fake,resnet8,dgl,2,{c},none,,last,3,test,,a paper," for c in costs))
    s.fill("backprop", 1, [5.0, 5.0, 5.0, 5.0], peak_memory_bytes=2 * 10**9, step_seconds=0.2)
    s.fill("dgl", 2, [6.0, 6.0, 6.0, 6.0], peak_memory_bytes=10**9, step_seconds=0.25)
    text = page(s)
    assert "Backprop 1 ours, last epoch 5.00 ± 0.00 (4) 2.00 – – – 3 all 0 0.0 %" in text
    # trunk 300 and helpers 100 (K - 1): (300 + 100) / 300
    assert "DGL & co_1 2 ours, last epoch 6.00 ± 0.00 (4) 1.00 50.0 33.3 25.0 3 1 10 25.0 %" in text
    assert "published 1.50 40.0 −3.0 12.5" in text and "No verdicts on costs" not in text
    assert " verdict " not in text, "of costs alone there is nothing to judge"
    assert "Beside published numbers : none in references.csv" in s.words()


def test_grids_that_differ_in_the_budget_stand_side_by_side(site: Any) -> None:
    grid = GRID | {"recipes": ["backprop", "dgl"], "modules": [2], "seeds": 2}
    grids = [grid | {"training": {"epochs": 3}}, grid | {"training": {"flops": 1e9}}]
    s = site(
        {
            "sweep": "x",
            "grids": grids,
            "exhibit": EXHIBIT | {"rows": ["recipe", "modules"], "columns": ["settings"]},
        }
    )
    for cell in s.cells:
        s.run(cell, 7.0 if cell.training.flops else 9.0)
    text = page(s)
    assert (
        "Recipe K epochs = 3 flops = 1e+09 Horizon Helpers’ parameters Helpers’ FLOPs Backprop 1"
        in text
    )
    assert "DGL & co_1 2 ours, last epoch 9.00 ± 0.00 (2) 7.00 ± 0.00 (2) 1 10 25.0 %" in text


def test_grids_that_differ_in_settings_do_not_share_a_place(site: Any) -> None:
    grid = GRID | {"recipes": ["backprop"], "modules": [1], "seeds": 2}
    sweep = {"sweep": "x", "grids": [grid | {"training": {"epochs": n, "lr": 0.1}} for n in (3, 4)]}
    with pytest.raises(InvalidInput) as caught:
        site(sweep | {"exhibit": EXHIBIT | {"rows": ["recipe"], "columns": []}})
    assert (
        "K=1 of different epochs would stand in one place; name settings in rows or columns"
        in str(caught.value)
    )
    site(sweep | {"exhibit": EXHIBIT | {"rows": ["recipe"], "columns": ["settings"]}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": []},
            "exhibit: 2 and 4 would stand in one place; name modules in rows or columns",
        ),
        (
            {"rows": ["modules"], "columns": []},
            "exhibit: dgl and greedy would stand in one place; name recipe in rows or columns",
        ),
        ({"rows": ["recipe", "modules"]}, "exhibit: duplicate modules"),
        ({"row": ["recipe"]}, "unknown key 'row'; did you mean 'rows'?"),
        ({"metrics": ["accuracy"]}, "exhibit.metrics"),
    ],
)
def test_a_wrong_layout_is_told_in_one_line(
    site: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        site(SWEEP | {"exhibit": EXHIBIT | change})
    assert message in str(caught.value).partition("sweep.yaml: ")[2]


def test_a_page_without_an_exhibit_has_none(site: Any) -> None:
    s = site()
    s.fill("dgl", 2, [11.0])
    s.report()
    assert not (s.root / "out/tables/exhibit.csv").exists()
