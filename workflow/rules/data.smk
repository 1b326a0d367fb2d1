# Download, verify and describe a data set; the mark says it is there.
localrules:
    data,


rule data:
    output:
        "results/data/{dataset}.json",
    log:
        "results/logs/data/{dataset}.log",
    benchmark:
        "results/benchmarks/data/{dataset}.tsv"
    params:
        entry=entry_of,
    message:
        "data: {wildcards.dataset}"
    shell:
        "modulewise data --dataset {wildcards.dataset} --entry {params.entry:q} --mark {output} "
        "2>&1 | tee -i {log}"
