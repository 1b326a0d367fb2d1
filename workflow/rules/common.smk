# Configuration -> cells -> Paramspace: one path per cell. Nothing else.
import errno
import os
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
from snakemake.io import IOFile
from snakemake.logging import logger
from snakemake.utils import Paramspace

from modulewise.config.merged import sweep_file
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput
from modulewise.planning import timings

# Jobs find `modulewise` beside `snakemake`. A prefix takes the place of Snakemake's own, strict
# mode included. What a job says is in its log; here, in one terminal, the logger says a line of it.
shell.prefix(
    f"set -euo pipefail; PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    + "exec > /dev/null; " * workflow.is_main_process
)
ROOT = str(Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1])
try:
    READ = [Path(f) for f in workflow.configfiles]
    SWEEP_FILE = str(sweep_file(READ, config, Path("results/sweeps")))
    PLAN = load_plan(Path(SWEEP_FILE), Path(ROOT))
except InvalidInput as error:
    sys.exit(f"error: {error}")
SWEEP, CELLS = PLAN.sweep, PLAN.cells

AXES = ["dataset", "network", "recipe", "modules", "seed"]
TABLE = pd.DataFrame([{**{a: getattr(c, a) for a in AXES}, "cell": c.id} for c in CELLS])
SPACE = Paramspace(TABLE, param_sep="~")
BY_PATH = {c.path: c for c in CELLS}
RESULTS = [f"results/runs/{path}/result.json" for path in SPACE.instance_patterns]
STUDIES = {f"results/runs/{study.path}": study for study in PLAN.studies}
REPORT = f"results/reports/{SWEEP.sweep}/report.html"
BEGUN = time.time()
STUDY_PAGES = {
    name: f"results/reports/{SWEEP.sweep}/{name}.html"
    for name in ([] if PLAN.tuning else SWEEP.studies)
}
TRACKED = f"results/reports/{SWEEP.sweep}/tracked.txt"
TUNED = f"results/tuned/{SWEEP.sweep}.json"
DATASETS = sorted({c.dataset for c in CELLS} | {n for s in PLAN.studies for n in s.datasets})


# Where the site limits run times (the profile's default resources hold `runtime`), runs are
# measured first and ask for what they need.
DEFAULTS = workflow.resource_settings.default_resources or {}
RUNTIME = DEFAULTS["runtime"] if "runtime" in DEFAULTS else None  # `get` makes an empty resource
PROFILE = f"results/profile/{timings.name(CELLS)}"


wildcard_constraints:
    dataset="|".join(DATASETS),
    network=r"[A-Za-z0-9.-]+",
    recipe=r"[A-Za-z0-9.-]+",
    modules=r"\d+",
    seed=r"\d+",
    cell=r"[0-9a-f]{8}",
    study=r"[a-z_]+",
    id=r"[0-9a-f]{8}",


def cell_of(wildcards):
    """The cell whose folder the wildcards name, as JSON."""
    return BY_PATH[SPACE.wildcard_pattern.format(**wildcards)].to_json()


def devices_of(wildcards):
    """Number of processes of a cell's run."""
    return BY_PATH[SPACE.wildcard_pattern.format(**wildcards)].training.devices


def weights_of(wildcards):
    """Whether the run leaves its weights, as an option."""
    cell = BY_PATH[SPACE.wildcard_pattern.format(**wildcards)]
    return "--keep-weights" if PLAN.keeps_weights(cell) else ""


def study_of(wildcards):
    """The study that a file of the workflow holds."""
    path = f"{SPACE.wildcard_pattern}/study~{{study}}~{{id}}.json".format(**wildcards)
    return STUDIES[f"results/runs/{path}"]


def order_of(wildcards):
    """What a study's job is to measure, as JSON."""
    return study_of(wildcards).to_json()


def marks_of(wildcards):
    """The marks of the data sets that a study names."""
    return [ancient(f"results/data/{name}.json") for name in study_of(wildcards).datasets]


def inputs_of(wildcards):
    """The mark of the cell's data set, the measured profile where run times are limited, and the
    result of the run whose modules are reused: trained again, it has this cell trained again.

    Of a finished cell, what it was trained with: its profile file may be another one, or none, and
    Snakemake trains again what has another set of inputs.
    """
    result = f"results/runs/{SPACE.wildcard_pattern.format(**wildcards)}/result.json"
    if Path(result).exists():
        inputs = workflow.persistence.input(IOFile(result)) or []
        measured = [f for f in inputs if f.startswith("results/profile/")]
    else:
        measured = [] if RUNTIME is None else [PROFILE]
    reuse = BY_PATH[SPACE.wildcard_pattern.format(**wildcards)].reuse
    return [
        *(ancient(f) for f in (f"results/data/{wildcards.dataset}.json", *measured)),
        *([f"results/runs/{reuse.source}/result.json"] if reuse else []),
    ]


def minutes_of(wildcards, input, attempt):
    """Minutes to ask for, n times as many in attempt n: what was measured with a margin; the
    profile's default for what was not."""
    if PROFILE in input and not Path(PROFILE).exists():
        raise FileNotFoundError(errno.ENOENT, "to be measured", PROFILE)  # Snakemake asks again
    default = 60 if RUNTIME is None or RUNTIME.is_evaluable() else RUNTIME.value
    cell = BY_PATH[SPACE.wildcard_pattern.format(**wildcards)]
    return attempt * (timings.minutes(Path(PROFILE), cell) or default)


def entry_of(wildcards):
    """The data set's entry, as JSON."""
    return PLAN.catalog.datasets[wildcards.dataset].model_dump_json(exclude_defaults=True)


def rerun():
    """The command of this run, with one more option that trains a cell again and then makes the
    report anew."""
    program, words = Path(sys.executable).with_name("snakemake"), sys.argv[1:]
    if "--forcerun" in words:
        words = words[: words.index("--forcerun")]
    if sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") == sys.prefix:
        program = program.name
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.join([str(program), *words, "--forcerun", RESULTS[0]])


def is_new(path):
    """Whether this run made it."""
    return Path(path).exists() and Path(path).stat().st_mtime >= BEGUN


if workflow.is_main_process:
    os.environ.update(MODULEWISE_RERUN=rerun())  # the report says it too


def unmarked():
    """What is wrong where the mark of a data set is missing that has finished runs: Snakemake would
    remove their results and train them again."""
    dag, lost = workflow.persistence.dag, Counter()
    for job in dag.needrun_jobs():
        reason = dag.reason(job)
        if job.rule.name == "train" and not reason.forced and Path(job.output.result).exists():
            lost.update(f for f in reason.updated_input_run or () if f.startswith("results/data/"))
    return [f"{mark} is missing, with finished runs: {n}" for mark, n in sorted(lost.items())]


onstart:
    if lost := unmarked():
        sys.exit(
            f"error: {', '.join(lost)}. Snakemake would remove their results and train them again; "
            "first give the same command with --until data"
        )
    shell("modulewise check --sweep {SWEEP_FILE:q} --root {ROOT:q} 1>&2")


onsuccess:
    if PLAN.tuning:  # these cells are trials; the reported ones are known when they are judged
        logger.info(f"tuned   {TUNED}   the same command again trains the reported cells")
    elif is_new(REPORT):
        in_short = Path(f"results/logs/report/{SWEEP.sweep}.log").read_text().splitlines()[:-1]
        end = [f"report  {REPORT}", "MLflow  make ui", f"rerun   {rerun()}"]
        logger.info("\n".join([*in_short, *end]))


onerror:  # what exists is still shown; that it cannot be is no second error
    shell(
        "modulewise report --sweep {SWEEP_FILE:q} --root {ROOT:q} || true; "
        "modulewise track --sweep {SWEEP.sweep} || true"
    )
    shown = f"report  {REPORT}   of what is there\n" if is_new(REPORT) else ""
    logger.error(f"{shown}The same command again goes on with what is missing.")
