#!/usr/bin/env bash
# pyproject.toml -> requirements/cpu.txt and requirements/gpu.txt (`make requirements`), for Python 3.11 to 3.13.
#
# gpu.txt is resolved for all three at once. cpu.txt is resolved for 3.11, since torch's CPU build may be at hand for that
# one only; what later versions need besides is taken from gpu.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
compile() {
  "${VENV:-.venv}/bin/uv" pip compile pyproject.toml --extra dev --python-version 3.11 \
    --no-annotate --quiet --custom-compile-command 'make requirements' "$@"
}
# The environment in pyproject.toml is on every line; said once, it can be left out.
plain() {
  here="platform_machine == 'x86_64' and sys_platform == 'linux'"
  sed -i -e "s/ ; python_full_version < '3.14' and $here\$//" -e "s/ and $here\$//" "$1"
}
if [ -n "$links" ]; then torch=(--find-links "$links"); else torch=(--torch-backend cpu); fi
compile --extra gpu --universal --output-file requirements/gpu.txt
plain requirements/gpu.txt
compile --extra cpu --python-platform linux --override requirements/overrides-cpu.txt "${torch[@]}" \
  --output-file requirements/cpu.txt
awk -F'[= ]' '/^#/ {next} /; .*(>= .3\.12|== .3\.1[23])/ {later[$1] = $0; next} {at_first[$1] = 1}
  END {for (name in later) if (!(name in at_first)) print later[name]}' requirements/gpu.txt | sort >> requirements/cpu.txt
