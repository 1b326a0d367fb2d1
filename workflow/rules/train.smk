# Train one cell. Record, checkpoint and train.log lie beside the result undeclared: Snakemake deletes declared outputs and logs before
# a run, and these must survive the interruption they exist for.
rule train:
    input:
        data_of,
    output:
        result=f"results/runs/{SPACE.wildcard_pattern}/result.json",
    log:
        f"results/logs/runs/{SPACE.wildcard_pattern}.log",
    benchmark:
        f"results/benchmarks/runs/{SPACE.wildcard_pattern}.tsv"
    threads: 1
    resources:
        resumable=1,  # interrupted at any step it goes on where it was
    params:
        cell=cell_of,
    message:
        "train: {wildcards.dataset} {wildcards.network} {wildcards.recipe} K={wildcards.modules} s{wildcards.seed}"
    shell:
        "modulewise train --cell {params.cell:q} --out {output.result:q} --threads {threads} 2>&1 | tee -i {log:q}"
