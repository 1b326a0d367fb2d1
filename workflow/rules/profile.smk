# Measure how long the runs will take, on the device they will use: one job for all configurations
# of the sweep.
rule profile:
    output:
        "results/profile/{cells,[0-9a-f]{12}}.json",
    log:
        "results/logs/profile/{cells}.log",
    benchmark:
        "results/benchmarks/profile/{cells}.tsv"
    threads: 1
    params:
        sweep=SWEEP_FILE,
        root=ROOT,
    message:
        "profile: measure {output}"
    shell:
        "modulewise profile --sweep {params.sweep:q} --root {params.root:q} --out {output:q} "
        "--threads {threads} 2>&1 | tee -i {log:q}"
