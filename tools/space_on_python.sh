#!/usr/bin/env bash
# Runs the tests of the Space on another Python, with what a ZeroGPU Space installs there and nothing else of ours.
#   tools/space_on_python.sh PYTHON [pytest's options]       e.g. tools/space_on_python.sh 3.12 -n 2
# Makes its environment in a folder of its own, which it deletes at the end. Needs `make setup` before.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
python=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pins=$(grep -E '^(evalica|hypothesis|openai|pandas|playwright|pytest|pytest-timeout|pytest-xdist|rich|typer)==' requirements/cpu.txt | cut -d' ' -f1)
.venv/bin/uv venv -q --python "$python" "$folder"
# shellcheck disable=SC2086 # a list
.venv/bin/uv pip install -q --python "$folder/bin/python" \
  -r space/requirements.txt -r space/requirements-zerogpu.txt detect-secrets aiohttp fastapi gguf schemathesis uvicorn $pins
# What starts an engine, or looks at the Docker image, needs what other parts of the project need.
PYTHONPATH=$PWD "$folder/bin/python" -m pytest -p no:cacheprovider tests/space -m "not engine" \
  --ignore tests/space/test_docker_space.py "$@"
