# Make MLflow equal to the run folders. MLflow is a window: its failure warns and spoils nothing.
localrules:
    track,


rule track:
    input:
        RESULTS,
        REPORT,  # attached to MLflow as well
    output:
        TRACKED,
    log:
        f"results/logs/track/{SWEEP.sweep}.log",
    benchmark:
        f"results/benchmarks/track/{SWEEP.sweep}.tsv"
    params:
        sweep=SWEEP.sweep,
    message:
        "track: mirror the runs of {params.sweep} into MLflow"
    shell:
        "(modulewise track --sweep {params.sweep} || echo 'warning: MLflow is not complete; try "
        "again with: modulewise track') "
        "2>&1 | tee -i {log} {output}"
