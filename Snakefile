# The workflow fans out, the package trains one cell, the report reads files.
#   snakemake -n                                                  what would run (config/sweep.yaml)
#   snakemake --profile profiles/local --configfile config/demo.yaml
from snakemake.utils import min_version

min_version("9.20")


# Snakemake merges configuration files deeply: reading the default sweep beside a --configfile would
# leak its keys into it.
if "sweep" not in config:

    configfile: f"{workflow.current_basedir.get_path_or_uri(secret_free=True)}/config/sweep.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/profile.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/tune.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        [TUNED] if PLAN.tuning else [REPORT, TRACKED],
        # Named here too: a report that was made after a failure is newer than what is missing.
        RESULTS,
        list(STUDIES),
