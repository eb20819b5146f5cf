#!/usr/bin/env bash
# Makes the virtual environment that holds the rivals from PyPI, about 1 GB, under the target directory.
# Spark wants a Java, 17 or newer, as well. To bring your own, name it by EMBERFLOW_RIVALS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv="${CARGO_TARGET_DIR:-target}/rivals/venv"
python3 -m venv "$venv"
"$venv/bin/pip" install polars duckdb numpy pyspark
printf 'compare finds %s by itself\n' "$venv"
