# Measure something on the weights that a finished run has left.
rule study:
    input:
        marks_of,
        result=f"results/runs/{SPACE.wildcard_pattern}/result.json",
    output:
        f"results/runs/{SPACE.wildcard_pattern}/study~{{study}}~{{id}}.json",
    log:
        f"results/logs/runs/{SPACE.wildcard_pattern}.{{study}}~{{id}}.log",
    benchmark:
        f"results/benchmarks/runs/{SPACE.wildcard_pattern}.{{study}}~{{id}}.tsv"
    threads: 1
    params:
        order=order_of,
    message:
        "{wildcards.study}: {wildcards.dataset} {wildcards.network} {wildcards.recipe} "
        "K={wildcards.modules} s{wildcards.seed}"
    shell:
        "modulewise study --order {params.order:q} --run {input.result:q} --out {output:q} "
        "--threads {threads} 2>&1 | tee -i {log:q}"
