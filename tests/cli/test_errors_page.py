"""Every kind of wrong input, as the command line answers it. docs/errors.md is made of this table:

MODULEWISE_WRITE_ERRORS=1 python -m pytest tests/cli/test_errors_page.py
"""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from valid_files import FILES

from modulewise.cli import app

GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [1],
    "seeds": 1,
}

Files = dict[str, Any]


def put(*path: Any, to: Any) -> Callable[[Files], None]:
    """Set one value of the three files; `path` begins with the file's name without `.yaml`."""

    def change(files: Files) -> None:
        content = files[f"{path[0]}.yaml"]
        for key in path[1:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


def text(name: str, how: Callable[[str], str | bytes]) -> Callable[[Files], None]:
    """Change the text of a file."""

    def change(files: Files) -> None:
        made = how(yaml.safe_dump(files[name], sort_keys=False))
        files[name] = made if isinstance(made, bytes) else made.encode()

    return change


def two_views_of_one(files: Files) -> None:
    """A recipe that compares augmentations, of a data set without."""
    files["recipes.yaml"]["recipes"]["local"] = {"method": "local_simclr", "label": "Views"}
    files["datasets.yaml"]["datasets"]["made"] |= {"pad": 0, "flip": False}


def micro_batches_too(files: Files) -> None:
    """A recipe that learns from earlier steps, with whole batches and with cut ones."""
    files["recipes.yaml"]["recipes"]["local"] = {"method": "ddg", "label": "Delayed"}
    grid = {**GRID, "datasets": ["made"], "networks": ["mlp3x8"], "recipes": ["local"]}
    grid["modules"] = [2]
    files["sweep.yaml"]["grids"] = [grid, grid | {"training": {"accumulate": 2}}]


def views_in_parallel(files: Files) -> None:
    """A recipe that compares augmentations, every module in a process of its own."""
    files["recipes.yaml"]["recipes"]["local"] = {"method": "local_simclr", "label": "Views"}
    files["sweep.yaml"]["grids"][0] |= {"recipes": ["local"], "training": {"schedule": "parallel"}}


def dropout_in_parallel(files: Files) -> None:
    """A network with dropout, every module in a process of its own."""
    parallel = {"recipes": ["local"], "training": {"schedule": "parallel"}}
    files["sweep.yaml"]["grids"][0] |= parallel | {"networks": ["vgg8b-w2-d30"]}


def npz(**changes: Any) -> Callable[[Files], None]:
    """A sweep of a user's npz file, with other arrays than a sound one has, or another entry."""

    def change(files: Files) -> None:
        x, y = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 3
        sound = {"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3]}
        entry = {k: v for k, v in changes.items() if k not in sound}
        files["mine.npz"] = {
            k: v
            for k, v in (sound | {k: v for k, v in changes.items() if k in sound}).items()
            if v is not None
        }
        files["datasets.yaml"]["datasets"]["mine"] = {"source": "npz", "path": "mine.npz"} | entry
        files["sweep.yaml"]["grids"] = [{**GRID, "datasets": ["mine"], "recipes": ["local"]}]

    return change


def raw(content: bytes) -> Callable[[Files], None]:
    """The same with a file of these bytes."""

    def change(files: Files) -> None:
        npz()(files)
        files["mine.npz"] = content

    return change


def pictures(**more: Any) -> Callable[[Files], None]:
    """A sweep of a user's folders of pictures, two classes of one picture each, and more files
    below train/ or test/."""

    def change(files: Files) -> None:
        npz()(files)
        entry = {"source": "imagefolder", "path": "mine", "shape": [3, 8, 8], "classes": 2}
        files["datasets.yaml"]["datasets"]["mine"] = entry
        usual = {f"{part}/{name}/0.pgm": GREY for part in ("train", "test") for name in "ab"}
        files.update({f"mine/{name}": content for name, content in (usual | more).items()})

    return change


GREY = b"P5 1 1 255\n\x07"
STATISTICS = {"mean": [0.5] * 3, "std": [0.25] * 3}
MAPS = {"task": "segmentation"}


def decoded(source: str, more: Files, **entry: Any) -> Callable[[Files], None]:
    """A sweep of pictures that are decoded as they are needed, with these files beside them."""

    def change(files: Files) -> None:
        pictures()(files)
        maps = source in ("mapfolder", "cityscapes")
        found = files["datasets.yaml"]["datasets"]["mine"]
        crop = "scaled_crop" if maps else "resized_crop"
        found |= {"source": source, crop: {}, **STATISTICS} | entry
        for name in ("train/{}/0", "train/{}/1", "test/{}/0") if maps else ():
            for kind in ("images", "labels"):
                files[f"mine/{name.format(kind)}.pgm"] = GREY
        files.update(more)

    return change


def both(*changes: Callable[[Files], None]) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for c in changes:
            c(files)

    return change


def nothing(files: Files) -> None:
    pass


CHECK = "check --sweep sweep.yaml --data data --runs runs"
DATA = "data --config . --dataset mine"
STUDY = "study --config . --run x --name transfer"
TRAIN = (
    "train --config . --data data --results results --dataset made --network mlp3x8 --recipe local "
    "--modules 2"
)
ONE = ("sweep", "grids", 0)
MADE = ("datasets", "datasets", "made")
CASES: dict[str, tuple[Callable[[Files], None], str]] = {
    "a key that does not exist": (put(*ONE, "network", to=["mlp3x8"]), CHECK),
    "a key that is missing": (lambda f: f["sweep.yaml"]["grids"][0].pop("seeds"), CHECK),
    "a method that does not exist": (put("recipes", "recipes", "local", "method", to="dlg"), CHECK),
    "a network that does not exist": (put(*ONE, "networks", to=["resnet33x"]), CHECK),
    "a depth no ResNet has": (put(*ONE, "networks", to=["resnet33"]), CHECK),
    "a data set that does not exist": (put(*ONE, "datasets", to=["mode"]), CHECK),
    "a recipe that does not exist": (put(*ONE, "recipes", to=["lokal"]), CHECK),
    "two views of images that are not augmented": (two_views_of_one, CHECK),
    "an option that does not exist": (
        put("recipes", "recipes", "info", "options", "lamda1", to=[1, 1]),
        CHECK,
    ),
    "a choice that does not exist": (
        put("recipes", "recipes", "info", "options", "mode", to="softmx"),
        CHECK,
    ),
    "a setting that does not exist": (put(*ONE, "training", to={"epoch": 3}), CHECK),
    "a stage that does not exist": (
        put("recipes", "tables", "cuts", 0, "set", "partition", to=["1.9"]),
        CHECK,
    ),
    "a stage without quotes": (
        put("recipes", "tables", "cuts", 0, "set", "partition", to=[1.0]),
        CHECK,
    ),
    "K larger than the net allows": (put(*ONE, "modules", to=[2, 9]), CHECK),
    "fewer epochs than modules under `sequential`": (
        put("sweep", "grids", 1, "training", "epochs", to=1),
        CHECK,
    ),
    "a negative number": (put(*ONE, "training", to={"lr": -0.1}), CHECK),
    "zero modules": (put(*ONE, "modules", to=[0]), CHECK),
    "not a number": (put(*ONE, "training", to={"weight_decay": float("nan")}), CHECK),
    "words for a number": (put(*ONE, "training", to={"epochs": "many"}), CHECK),
    "a truth value for a number": (put(*ONE, "modules", to=[True]), CHECK),
    "a huge number": (put(*ONE, "seeds", to=10**12), CHECK),
    "a word for a list": (put(*ONE, "datasets", to="made"), CHECK),
    "a name that stands in no path": (put("sweep", "sweep", to="my sweep"), CHECK),
    "two budgets": (put(*ONE, "training", to={"flops": 1e9, "seconds": 5}), CHECK),
    "epochs beside another budget": (put(*ONE, "training", to={"epochs": 2, "flops": 1e9}), CHECK),
    "a profile file that is not there": (
        lambda f: f["sweep.yaml"].update(profile="results/profile/none.json"),
        CHECK,
    ),
    "a limit that does not exist": (lambda f: f["sweep.yaml"].update(limits={"hours": 3}), CHECK),
    "more files than the limit": (lambda f: f["sweep.yaml"].update(limits={"files": 10}), CHECK),
    "weights to keep that do not exist": (
        lambda f: f["sweep.yaml"].update(keep_weights="best"),
        CHECK,
    ),
    "a sweep without grids": (put("sweep", "grids", to=[]), CHECK),
    "a grid without networks": (put(*ONE, "networks", to=[]), CHECK),
    "an empty file": (text("sweep.yaml", lambda t: ""), CHECK),
    "the same cell twice": (put(*ONE, "modules", to=[2, 2]), CHECK),
    "a key given twice": (text("sweep.yaml", lambda t: t + "title: again\n"), CHECK),
    "a date for a name": (
        text("sweep.yaml", lambda t: t.replace("sweep: tiny", "sweep: 2026-11-26")),
        CHECK,
    ),
    "a time of day for a title": (
        text("sweep.yaml", lambda t: t.replace("title: A title", "title: 12:30")),
        CHECK,
    ),
    "a word that YAML takes for a truth value": (
        text("sweep.yaml", lambda t: t.replace("title: A title", "title: on")),
        CHECK,
    ),
    "YAML indented with tabs": (text("sweep.yaml", lambda t: t.replace("  ", "\t")), CHECK),
    "broken YAML": (text("recipes.yaml", lambda t: t[:200] + "]"), CHECK),
    "a file that is no text": (text("datasets.yaml", lambda t: b"\xff\xfe" + t.encode()), CHECK),
    "no such file": (nothing, CHECK.replace("sweep.yaml", "swep.yaml")),
    "npz: no such file": (both(npz(), lambda f: f.pop("mine.npz")), CHECK),
    "npz: damaged": (raw(b"PK\x03\x04 torn"), CHECK),
    "npz: an array is missing": (npz(y_test=None), CHECK),
    "npz: images of a wrong shape": (npz(x_train=np.zeros((6, 2, 8, 8), np.uint8)), CHECK),
    "npz: images that are no bytes": (npz(x_train=np.zeros((6, 8, 8), np.float32)), CHECK),
    "npz: fewer labels than images": (npz(y_train=np.arange(5) % 3), CHECK),
    "npz: a negative label": (npz(y_train=np.array([0, 1, 2, 0, 1, -1])), CHECK),
    "npz: a label beyond the classes": (npz(classes=2), CHECK),
    "npz: another shape than the entry says": (npz(shape=[1, 4, 4]), CHECK),
    "a folder of images that is not there": (
        both(
            npz(),
            put(
                "datasets",
                "datasets",
                "mine",
                to={"source": "imagefolder", "path": "mine", "shape": [3, 8, 8], "classes": 2},
            ),
        ),
        CHECK,
    ),
    "pictures: other classes in test/": (pictures(**{"test/c/0.pgm": GREY}), CHECK),
    "pictures: more class folders than the entry says": (
        pictures(**{"train/c/0.pgm": GREY, "test/c/0.pgm": GREY}),
        CHECK,
    ),
    "pictures: a class without any": (
        both(
            pictures(**{"train/c/notes.txt": b"", "test/c/notes.txt": b""}),
            lambda f: f["datasets.yaml"]["datasets"]["mine"].update(classes=3),
        ),
        CHECK,
    ),
    "pictures: a damaged one": (pictures(**{"train/b/1.png": b"\x89PNG torn"}), DATA),
    "pictures: values without a white": (
        pictures(**{"train/b/1.pgm": b"Pf\n1 1\n-1.0\n" + bytes(4)}),
        DATA,
    ),
    "pictures: one of 400 megapixels": (
        pictures(**{"train/b/1.pgm": b"P5 20000 20000 255\n"}),
        DATA,
    ),
    "pictures: other channels than they have": (
        both(
            pictures(),
            lambda f: f["datasets.yaml"]["datasets"]["mine"].update(shape=[4, 8, 8]),
        ),
        CHECK,
    ),
    "a data set that was not downloaded": (
        put(
            *MADE,
            to={
                "source": "torchvision",
                "torchvision_class": "MNIST",
                "shape": [1, 28, 28],
                "classes": 10,
            },
        ),
        TRAIN,
    ),
    "more reflection than image": (
        lambda f: f["datasets.yaml"]["datasets"]["made"].update(pad=8, padding="reflect"),
        CHECK,
    ),
    "means of other channels": (put("datasets", "datasets", "made", "mean", to=[0.5]), CHECK),
    "two views, made in several processes": (views_in_parallel, CHECK),
    "dropout in several processes": (dropout_in_parallel, CHECK),
    "micro-batches of a method that learns from earlier steps": (
        micro_batches_too,
        CHECK,
    ),
    "more held out than there are": (
        put("datasets", "datasets", "digits", "validation", to=5000),
        CHECK,
    ),
    "more training images than there are": (
        put("sweep", "grids", 1, "training", "train_images", to=5000),
        CHECK,
    ),
    "decoded pictures: no mean": (decoded("imagefolder", {}, mean=None, std=None), CHECK),
    "decoded pictures: a middle larger than the picture": (
        decoded("imagefolder", {}, resized_crop={"resize": 7}),
        CHECK,
    ),
    "decoded pictures: padded": (decoded("imagefolder", {}, pad=1), CHECK),
    "decoded pictures: another source's crop": (
        decoded("imagefolder", {}, scaled_crop={}),
        CHECK,
    ),
    "decoded pictures: images that are held": (
        put("datasets", "datasets", "made", "resized_crop", to={}),
        CHECK,
    ),
    "maps: a scale below zero": (decoded("mapfolder", {}, **MAPS, test_scales=[1, -0.5]), CHECK),
    "maps: no scale": (decoded("mapfolder", {}, **MAPS, test_scales=[]), CHECK),
    "maps: scales of a task without": (
        put("datasets", "datasets", "made", "test_scales", to=[0.5, 1]),
        CHECK,
    ),
    "maps: a picture without": (
        decoded("mapfolder", {"mine/train/images/2.pgm": GREY}),
        CHECK,
    ),
    "maps: of another size": (
        decoded("mapfolder", {"mine/test/labels/0.pgm": b"P5 2 1 255\n\x07\x07"}),
        DATA,
    ),
    "ImageNet: not there": (decoded("imagenet", {}, path=None), DATA),
    "ImageNet: another folder": (decoded("imagenet", {}), DATA),
    "Cityscapes: in part": (
        decoded("cityscapes", {"mine/leftImg8bit/train/ulm/0_leftImg8bit.png": GREY}),
        DATA,
    ),
    "a run that does not exist": (nothing, "show 0123abcd"),
    "export: nothing to write": (nothing, "export 0123abcd"),
    "train: a recipe that does not exist": (nothing, TRAIN.replace("local", "lokal")),
    "train: a setting that does not exist": (nothing, TRAIN + " --set training.lrr=0.1"),
    "train: a setting without a value": (nothing, TRAIN + " --set training.lr"),
    "train: zero epochs": (nothing, TRAIN + " --epochs 0"),
    "train: nothing said": (nothing, "train"),
    "train: a cell that is no JSON": (nothing, "train --cell {"),
    "train: a key of a cell that does not exist": (nothing, 'train --cell {"networks":"mlp3"}'),
    "train: more beside a cell": (nothing, "train --cell {} --epochs 3 --set training.lr=0.1"),
    "power: no spread": (nothing, "power --sd 0"),
    "study: a name that does not exist": (nothing, STUDY.replace("transfer", "transver")),
    "study: options that are no JSON": (nothing, STUDY + " --options {targets:"),
    "study: options that are no mapping": (nothing, STUDY + " --options [1]"),
    "study: an option that does not exist": (nothing, STUDY + ' --options {"target":["made"]}'),
    "study: targets that are no list": (nothing, STUDY + ' --options {"targets":3}'),
    "study: a target that is no name": (nothing, STUDY + ' --options {"targets":[[1]]}'),
    "study: a target that does not exist": (nothing, STUDY + ' --options {"targets":["mode"]}'),
    "study: more beside an order": (nothing, "study --run x --order {} --name labels"),
    "train: a device that does not exist": (nothing, TRAIN + " --device gpu"),
    "data: a name that does not exist": (nothing, "data --config . --dataset mode"),
    "data: an entry that is no JSON": (nothing, "data --dataset x --entry {"),
}


def answer(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What the command line says of a case; it writes nothing and leaves with status 2."""
    change, words = CASES[what]
    files = copy.deepcopy(FILES)
    change(files)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".npz") and not isinstance(content, bytes):
            np.savez(folder / name, **content)
        else:
            (folder / name).write_bytes(
                content
                if isinstance(content, bytes)
                else yaml.safe_dump(content, sort_keys=False).encode()
            )
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["modulewise", *words.split(" ")])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        app.main()
    said = capsys.readouterr().err
    assert left.value.code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said, said
    assert sorted(folder.rglob("*")) == before
    said = said.removeprefix("error: ").strip().replace(str(folder), ".")
    return re.sub(r" toy_\w+,", "", said)  # methods of the tests, which users do not have


PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """# What wrong input is told

One line that names the file, the key and the valid choices, exit status 2, nothing written.
What stands in the files, `modulewise check` says before the first job. `snakemake --configfile`
says the same line, with status 1; Snakemake reads the file before any workflow, so where it cannot,
the executor plugin says so. A full, read-only or absent disk is one line too, with status 1, and
the run resumes from its last checkpoint when started again; after a transient error of a network
disk (ESTALE, EBUSY, EREMOTEIO, EAGAIN) saving is tried a second time first. A second trainer of a
run is refused with status 2. A loss that is not finite and too little memory are results,
`diverged` and `out_of_memory`.
Made by `tests/cli/test_errors_page.py`, which holds it true.

| input | answer |
| --- | --- |
"""


def row(what: str, said: str) -> str:
    return f"| {what} | `{said.replace('|', chr(92) + '|').replace('`', chr(39))}` |"


@pytest.mark.parametrize("what", CASES)
def test_the_errors_page_says_what_is_said(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = row(what, answer(what, tmp_path, monkeypatch, capsys))
    if os.environ.get("MODULEWISE_WRITE_ERRORS"):
        old = PAGE.read_text().removeprefix(HEAD).splitlines() if PAGE.exists() else []
        rows = {line.split(" | ")[0].removeprefix("| "): line for line in old} | {what: said}
        PAGE.write_text(HEAD + "".join(rows[w] + "\n" for w in CASES if w in rows))
    assert said in PAGE.read_text().splitlines()


def test_the_errors_page_says_nothing_else() -> None:
    assert PAGE.read_text().startswith(HEAD)
    assert [line.split(" | ")[0] for line in PAGE.read_text().removeprefix(HEAD).splitlines()] == [
        f"| {what}" for what in CASES
    ]
