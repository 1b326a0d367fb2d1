# Compile the comparison report of a sweep.
localrules:
    report,


rule report:
    input:
        RESULTS,
        list(STUDIES),
        [TUNED] if SWEEP.tune else [],
        sweep=SWEEP_FILE,
    output:
        **{
            f"study_{name}": report(page, category="Studies", labels={"sweep": SWEEP.sweep})
            for name, page in STUDY_PAGES.items()
        },
        page=report(
            REPORT,
            caption="../report/report.rst",
            category="Comparison",
            labels={"sweep": SWEEP.sweep},
        ),
        # Snakemake empties this folder before the rule runs again: everything in it is made anew.
        figures=report(
            directory(f"results/reports/{SWEEP.sweep}/figures"),
            patterns=["{figure,[a-z-]+}_{of}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "of": "{of}"},
        ),
    log:
        f"results/logs/report/{SWEEP.sweep}.log",
    benchmark:
        f"results/benchmarks/report/{SWEEP.sweep}.tsv"
    params:
        root=ROOT,
    message:
        "report: {output.page}"
    shell:
        "modulewise report --sweep {input.sweep:q} --root {params.root:q} 2>&1 | tee -i {log}"
