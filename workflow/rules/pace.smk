# Measure how long the runs will take, on the device they will use: one job for all configurations of the sweep.
rule pace:
    output:
        "results/pace/{cells,[0-9a-f]{12}}.json",
    log:
        "results/logs/pace/{cells}.log",
    benchmark:
        "results/benchmarks/pace/{cells}.tsv"
    threads: 1
    params:
        sweep=CONFIG,
        root=ROOT,
    message:
        "pace: measure {output}"
    shell:
        "modulewise pace --sweep {params.sweep:q} --root {params.root:q} --out {output:q} --threads {threads} 2>&1 | tee -i {log:q}"
