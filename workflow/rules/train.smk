# Train one cell. Record, checkpoint and train.log lie beside the result undeclared: Snakemake
# deletes declared outputs and logs before a run, and these must survive the interruption they exist
# for.
rule train:
    input:
        inputs_of,
    output:
        result=f"results/runs/{SPACE.wildcard_pattern}/result.json",
    log:
        f"results/logs/runs/{SPACE.wildcard_pattern}.log",
    benchmark:
        f"results/benchmarks/runs/{SPACE.wildcard_pattern}.tsv"
    threads: 1
    resources:
        **({"runtime": minutes_of} if RUNTIME is not None else {}),
        **({"devices": devices_of} if any(c.training.devices > 1 for c in CELLS) else {}),
        resumable=1,  # stopped at its time limit, it goes on from its checkpoint
    params:
        cell=cell_of,
        weights=weights_of,
    message:
        "train: {wildcards.dataset} {wildcards.network} {wildcards.recipe} K={wildcards.modules} "
        "s{wildcards.seed}" + ("  at most {resources.runtime} min" if RUNTIME is not None else "")
    shell:
        "modulewise train --cell {params.cell:q} --out {output.result:q} --threads {threads} "
        "{params.weights} 2>&1 | tee -i {log:q}"
