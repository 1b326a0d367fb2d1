"""A card per method, made of its file, its recipes, what they cost and what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from generator import values
from generator.diagram import drawn
from generator.docstring import Described, described
from generator.formula import block, prose
from generator.markdown import count, folded, number, plain, table
from generator.measured import Cost, Counted, Flow, flow
from generator.results import Results
from modulewise.config.options import names, options_model
from modulewise.config.resolve import Catalog
from modulewise.engine.needs import needs_of
from modulewise.method import Method
from modulewise.methods import method_class
from modulewise.report.needs import FEEDBACK, LABELS, LOCKED

LABELS_LONG = {
    "class": "which class an image is of",
    "pair": "which images are of one class; the last module the classes",
    "none": "none; probes and the net's classifier, which move no stage, the classes",
}
FEEDBACK_LONG = {
    "none": "nothing",
    "later": "detached tensors, or weights, of later modules",
    "fixed": "the error at the output, through fixed random weights",
}
LOCKED_LONG = {
    "input": "for what enters the module",
    "scores": "for the net's scores",
    "later": "for gradients or targets that later modules compute",
}


INDEX = """\
Every method declares these, and tests hold the declarations true on small networks
(`tests/contract/test_requirements.py`, `test_feedback.py`, `test_declarations.py`). *Passes*:
forward passes that a layer of the network makes of an image in a training step, at most, and in a
prediction. *Horizon*: through how many modules the gradient of a loss reaches back. *Labels*: what
of them moves the stages. *Feedback*: what a module is given from beyond the horizon. *Waits for*:
what an update of a module's stages waits for within a step. *Extra networks*: what is trained
beside the network. *Helpers' FLOPs*: their share of a training step, what is computed again
included. *Alive*: modules whose activations are kept at one time. *Kept*: what no gradient moves
and a checkpoint holds (fixed weights, moving averages, tensors of earlier steps). *Schedules*:
`any` are joint, sequential, asynchronous and parallel. *Inference*: multiply-accumulates, of the
net's own.
Numbers are counted for ResNet-32 (`reversible`: RevNet-38; fully connected nets where a method
needs one) on CIFAR-10, K = 4 where it is cut; steps of an earlier time for three modules."""


class Cards:
    """The cards of all methods.

    Args:
        root: the repository.
        kept: file of the counted costs.
    """

    def __init__(self, root: Path, kept: Path) -> None:
        config = root / "config"
        self.root = root
        self.catalog = Catalog(config / "recipes.yaml", config / "datasets.yaml")
        self.counted, self.results = Counted(self.catalog, kept), Results(root)
        self._rows: list[tuple[str, ...]] = []

    def pages(self) -> Iterator[tuple[str, str]]:
        """Names and texts of all pages."""
        for method in names("methods"):
            yield f"methods/{method}.md", self.card(method)
        yield "methods/values.md", values.page(self.catalog)
        yield "methods/index.md", self._index()

    def recipes(self, method: str) -> list[str]:
        """A method's recipes, the one that is nearest to its defaults first."""
        model, all_ = options_model("methods", method), self.catalog.recipes.recipes
        mine = [name for name, recipe in all_.items() if recipe.method == method]

        def far(name: str) -> tuple[bool, int]:
            recipe, made = all_[name], model(**all_[name].options)
            own = sum(
                v != f.default for (_, v), f in zip(made, model.model_fields.values(), strict=True)
            )
            return recipe.training != all_[mine[0]].training, own  # fmt: skip

        return sorted(mine, key=far)

    def card(self, method: str) -> str:
        """One page."""
        said = described(self.root / f"src/modulewise/methods/{method}.py")
        recipes, cls = self.recipes(method), method_class(method)
        all_ = self.catalog.recipes.recipes
        cuts = any(all_[r].modules == "any" for r in recipes)
        content = {"dataset": "cifar10", "data": self.catalog.datasets["cifar10"]}
        step = flow(method, dict(all_[recipes[0]].options) if recipes else {}, cuts, content)
        costs = {name: self.counted.cost(name) for name in recipes}
        if recipes:
            self._rows.append(self._row(method, said, step, cls, costs[recipes[0]]))
        parts = [
            f"# {said.title}",
            f"`{method}`. {prose(said.first)}",
            drawn(step),
            "## Formula",
            *(block(p) if p.startswith("    ") else prose(p) for p in said.body),
            "## What it needs",
            _needs(step, cls),
        ]
        if recipes:
            parts += ["## Train it", self._command(recipes[0]), "## What it costs", _costs(costs)]
            parts += ["## Recipe", *self._recipe(recipes[0]), self._others(recipes)]
        parts += ["## Deviations", _deviations(said), "## Published and ours"]
        parts += [*self._found(recipes), "## Cite", _citation(method, said)]
        return "\n\n".join(parts) + "\n"

    def _command(self, recipe: str) -> str:
        cell = self.counted.cell(recipe)
        words = f"--network {cell.network} --recipe {recipe} --modules {cell.modules} --seed 0"
        return (
            f"```sh\nmodulewise data --dataset cifar10\n"
            f"modulewise train --dataset cifar10 {words}\n```\n\nTo see it move without a download "
            f"and in less time: `--dataset digits --epochs 5`."
        )

    def _recipe(self, name: str) -> Iterator[str]:
        cell, recipe = self.counted.cell(name), self.catalog.recipes.recipes[name]
        yield f"`{name}` ({recipe.label}) for {cell.dataset}, {cell.network}, K = {cell.modules}:"
        by: dict[tuple[str, str], list[str]] = {}
        for part, key, value, source in values.of_cell(self.catalog, cell):
            by.setdefault((part, source), []).append(f"`{key}: {plain(value)}`")
        rows = ((part, ", ".join(v), source) for (part, source), v in by.items())
        yield table(("of", "values", "source"), rows)
        if recipe.note:
            yield f"Note: {' '.join(recipe.note.split())}."
        yield "Other data sets, networks and K have [other published values](values.md)."

    def _others(self, recipes: list[str]) -> str:
        rows = []
        for name in recipes:
            r = self.catalog.recipes.recipes[name]
            tables = (o if isinstance(o, str) else "its own" for o in r.overrides)
            rows.append(
                (
                    f"`{name}`",
                    r.label + (" (experimental)" if r.experimental else ""),
                    ", ".join(f"`{k}: {plain(v)}`" for k, v in r.options.items()) or "–",
                    f"[{r.training}](values.md#{r.training})",
                    ", ".join(t if t == "its own" else f"[{t}](values.md#{t})" for t in tables),
                    " ".join((r.note or "").split()),
                )
            )
        titles = ("recipe", "label", "options", "training", "overrides", "note")
        return f"### All recipes\n\n{table(titles, rows)}"

    def _found(self, recipes: list[str]) -> Iterator[str]:
        rule = "[the report's rule](../report.md#verdicts-on-published-numbers)"
        beside, alone = self.results.beside(recipes), self.results.alone(recipes)
        if not beside and not alone:
            yield "No number is published that we know of, and none of ours is in the repository."
        if beside:
            all_ = beside.count("\n") - 2
            run = all_ - beside.count("| not run |")
            yield f"Verdicts are by {rule}. Of {all_} published numbers {run} have one of ours."
            yield folded(f"{all_} published numbers", beside) if all_ > 12 else beside
        if alone:
            yield "Measured by us, where no number is published:"
            yield alone

    def _row(
        self, method: str, said: Described, step: Flow, cls: type[Method], cost: Cost
    ) -> tuple[str, ...]:
        return (
            f"[{method}]({method}.md)",
            said.title,
            f"{step.method.passes}, {step.predicting:g}",
            _of(step, step.method.horizon),
            LABELS[cls.supervision],
            FEEDBACK[step.method.feedback],
            LOCKED[step.method.locked],
            _extra(step) + f", {count(cost.helper_parameters)}" * bool(cost.helper_parameters),
            f"{100 * cost.helper_share:.1f} %",
            _of(step, step.method.alive),
            _kept(step),
            "joint" if step.method.joint_only else "any",
            f"{number(cost.macs_ratio)}×",
        )

    def _index(self) -> str:
        methods = table(("method", "what it is"), ((row[0], row[1]) for row in self._rows))
        titles = ("method", "passes", "horizon", "labels", "feedback", "waits for")
        titles = (*titles, "extra networks", "helpers' FLOPs", "alive", "kept", "schedules")
        needs = table((*titles, "inference"), ((row[0], *row[2:]) for row in self._rows))
        pages = "\n".join(f"{m} <{m}>" for m in names("methods"))
        return (
            f"# Methods\n\nA card for each.\n\n{methods}\n\n## What a training step needs\n\n"
            f"{INDEX}\n\n{needs}\n```{{toctree}}\n:hidden:\n\n{pages}\n"
            f"Published values <values>\n```\n"
        )


def _span(passes: tuple[float, float]) -> str:
    least, most = passes
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _of(step: Flow, modules: int) -> str:
    return "all" if modules >= step.method.k else str(modules)


def _extra(step: Flow) -> str:
    """Names of what learns beside the stages."""
    found = (h.name for helpers in step.helpers for h in helpers if h.learns)
    return ", ".join(dict.fromkeys(found)) or "none"


def _kept(step: Flow) -> str:
    """What no gradient moves, and of how many earlier steps."""
    kept = [name.replace("_", " ") for name in needs_of(step.method).kept]
    kept += [f"{step.method.history} steps"] * bool(step.method.history)
    return ", ".join(kept) or "nothing"


def _needs(step: Flow, cls: type[Method]) -> str:
    m = step.method
    every = "the whole net: gradients are those of end-to-end training"
    through = every if m.horizon >= m.k else f"{m.horizon} module" + "s" * (m.horizon > 1)
    yes = {True: "yes", False: "no"}
    rows = [
        ("horizon: gradients of a loss reach back through", through),
        ("of labels, losses that move stages are told", LABELS_LONG[cls.supervision]),
        ("from beyond the horizon a module gets", FEEDBACK_LONG[m.feedback]),
        ("within a step an update waits", LOCKED_LONG[m.locked]),
        ("modules whose activations are kept at one time", _of(step, m.alive)),
        ("earlier steps whose images gradients depend on", str(m.history)),
        ("kept, beside what learns", _kept(step)),
        ("forward passes of the trunk's layers in a step", _span(step.passes)),
        ("in a prediction", f"{step.predicting:g}"),
        ("augmented views of an image", "two" if cls.two_views else "one"),
        ("schedules", _schedules(m)),
        ("cuts the network", yes[not cls.single]),
        ("with K = 1 it is backpropagation, bit for bit", yes[cls.equals_backprop]),
        ("`recompute: stages` can be used", yes[cls.whole_modules]),
        ("`cuda_graphs` can be used", yes[cls.graphable]),
    ]
    return table(("", ""), rows)


def _schedules(m: Method) -> str:
    """The schedules that a method runs under."""
    if m.joint_only:
        return "joint"
    return "joint, sequential, asynchronous" + ("" if m.two_views else ", parallel")


def _costs(costs: dict[str, Cost]) -> str:
    rows = [
        (
            f"`{name}`",
            f"{c.dataset}, {c.network}, K = {c.modules}, batch {c.batch}",
            count(c.helper_parameters),
            f"{100 * c.helper_share:.1f} %",
            f"{number(c.macs_ratio)}×",
            f"{number(c.parameters_ratio)}×",
        )
        for name, c in costs.items()
    ]
    titles = ("recipe", "on", "helpers' parameters", "helpers' FLOPs, of a step")
    out = table((*titles, "MACs of a prediction", "parameters at inference"), rows)
    same = all(c.macs_ratio == c.parameters_ratio == 1 for c in costs.values())
    change = "Inference is that of the net alone." if same else (
        "Inference is compared with that of the net alone, trained end to end."
    )  # fmt: skip
    return f"Counted without data, by the trainer's own count.\n\n{out}\n{change}"


def _deviations(said: Described) -> str:
    heading, *entries = said.deviations
    if not entries:
        return prose(heading)
    listed = "\n".join(f"{n}. {prose(text)}" for n, text in enumerate(entries, 1))
    return f"{heading}\n\n{listed}"


def _citation(method: str, said: Described) -> str:
    if not said.papers and not said.cited:
        return f"There is no paper. {prose(said.first)}"
    entries = []
    for number_ in said.papers:
        lines = [f"@misc{{arxiv-{number_},"]
        if number_ in said.cited and len(said.papers) == 1 and " al." in said.cited:
            lines.append(f"  author = {{{said.cited.split(' et al.')[0]} and others}},")
        lines += [
            f"  note = {{{said.title}: {said.cited or f'arXiv {number_}'}}},",
            f"  eprint = {{{number_}}},",
            "  archivePrefix = {arXiv},",
            f"  url = {{https://arxiv.org/abs/{number_}}},",
            "}",
        ]
        entries.append("\n".join(lines))
    if not said.papers:
        entries = [f"@misc{{{method},\n  note = {{{said.title}: {said.cited}}},\n}}"]
    joined = "\n".join(entries)
    return f"```bibtex\n{joined}\n```\n\nAnd modulewise itself: `CITATION.cff` in the repository."
