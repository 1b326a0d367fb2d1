# Choose every recipe's settings by the validation errors of its trials. In the run after it, the
# cells are the reported ones.
if PLAN.tuning:

    rule tune:
        input:
            RESULTS,
            sweep=SWEEP_FILE,
        output:
            TUNED,
        log:
            f"results/logs/tune/{SWEEP.sweep}.log",
        benchmark:
            f"results/benchmarks/tune/{SWEEP.sweep}.tsv"
        localrule: True
        params:
            root=ROOT,
        message:
            "tune: {output}"
        shell:
            "modulewise tune --sweep {input.sweep:q} --root {params.root:q} --out {output} 2>&1 | "
            "tee -i {log}"
