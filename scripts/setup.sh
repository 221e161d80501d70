#!/bin/sh
# Makes the environment .venv out of nothing but a python3 (3.11 or newer); uses uv where it is there.
# Usage: scripts/setup.sh runtime|dev|bench [FOLDER]     PYTHON=python3.13 chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
what=${1:?runtime, dev or bench}
venv=${2:-.venv}

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && { echo "$PYTHON"; return; }
        echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2
        return 1
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && fits "$name"; then
            echo "$name"
            return
        fi
    done
    echo "lakecat needs Python 3.11 or newer, and found none. Install one, or name it: make PYTHON=/path/to/python3" >&2
    return 1
}

make_venv() {
    if command -v uv >/dev/null; then
        uv venv --quiet --no-python-downloads --python "$1" "$venv"
    elif "$1" -c 'import ensurepip, venv' 2>/dev/null; then
        "$1" -m venv "$venv"
    else
        echo "This Python cannot make virtual environments: on Debian and Ubuntu its module venv is a package of its own." >&2
        echo "  mend: apt-get install python3-venv     (or install uv, which needs none)" >&2
        return 1
    fi
}

if ! fits "$venv/bin/python"; then
    python=$(find_python)
    rm -rf "$venv"
    make_venv "$python"
fi
echo "Installing into $venv (pinned, hashes checked) ..." >&2
if command -v uv >/dev/null; then
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "requirements/$what.txt"
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
else
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip --upgrade >/dev/null
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "requirements/$what.txt"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
