#!/usr/bin/env bash
# pyproject.toml -> requirements/cpu.txt and requirements/gpu.txt (`make requirements`).
set -euo pipefail
cd "$(dirname "$0")/.."
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
compile() {
  "${VENV:-.venv}/bin/uv" pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform linux \
    --no-annotate --quiet --custom-compile-command 'make requirements' "$@"
}
if [ -n "$links" ]; then torch=(--find-links "$links"); else torch=(--torch-backend cpu); fi
compile --extra cpu --override requirements/overrides-cpu.txt "${torch[@]}" --output-file requirements/cpu.txt
compile --extra gpu --output-file requirements/gpu.txt
