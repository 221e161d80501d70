#!/bin/sh
# Pins every dependency by version and hash, for every Python and platform the project supports.
# The files name no index, so that they work wherever packages come from.  Usage: scripts/lock.sh [UPGRADE-OPTIONS]
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "make lock needs uv; install it into any environment: pip install uv" >&2; exit 2; }

compile() { # OUTPUT ARGUMENTS...
    output=requirements/$1
    shift
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
        --python-version 3.11 "$@" --output-file "$output"
}

# The extra "testing" is for authors of connectors: what runs in production has no pytest.
compile runtime.txt --universal pyproject.toml --extra postgres --extra mysql --extra rest --extra avro --extra excel \
    --extra detect --extra sftp --extra gcs --extra azure --group build "$@"
compile dev.txt --universal pyproject.toml --all-extras --group dev "$@"
compile bench.txt --universal pyproject.toml --all-extras --group bench --group build "$@"
compile mlmd.txt requirements/mlmd.in "$@"
