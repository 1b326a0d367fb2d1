#!/bin/sh
# Lint, format, types, import rules, spelling, workflow lint. Called by `make check`.
set -e
mypy &  # the longest beside all others
types=$!
ruff check src tests tools docs benchmarks
ruff format --check src tests tools docs benchmarks
snakefmt --check --line-length 100 Snakefile workflow
PYTHONPATH=src lint-imports --no-logo
codespell src tests tools config docs workflow profiles Makefile \
    README.md CONTRIBUTING.md CHANGELOG.md
# Snakemake's linter asks for an environment per rule; ours is requirements.lock. Nothing else may
# be left.
snakemake --lint text --configfile config/demo.yaml 2>&1 | python tests/lint_filter.py
wait $types
