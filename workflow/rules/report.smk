# Compile the comparison report of a sweep.
localrules:
    report,


rule report:
    input:
        RESULTS,
    output:
        report(
            REPORT,
            caption="../report/report.rst",
            category="Comparison",
            labels={"sweep": SWEEP.sweep},
        ),
    log:
        f"results/logs/report/{SWEEP.sweep}.log",
    benchmark:
        f"results/benchmarks/report/{SWEEP.sweep}.tsv"
    params:
        sweep=CONFIG,
        root=ROOT,
    message:
        "report: {output}"
    shell:
        "modulewise report --sweep {params.sweep:q} --root {params.root:q} 2>&1 | tee {log}"
