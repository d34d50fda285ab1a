#!/usr/bin/env bash
# Makes the environment in which the engines run on Ray: Understudy's own, and ray[serve] on top. Idempotent.
#
#   VARIANT=cpu|gpu  as ./setup.sh: gpu if nvidia-smi lists one, else cpu
#   VENV=DIR         where it goes (default deploy/ray/.venv); seen from the root of the project
#   PYTHON=PROGRAM   a Python 3.11
#
# Every machine of the cluster needs the same environment in the same place.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=${VENV:-deploy/ray/.venv}
pins=deploy/ray/requirements.txt
VENV=$venv ./setup.sh  # torch, vLLM, Understudy: the same versions as everywhere

stamp=$venv/.ray-$(cat "$pins" requirements/*.txt | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0
# Not the extra ray[llm]: it pins another vLLM.
VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --no-deps --compile-bytecode -r "$pins"
"$venv/bin/python" -c 'import ray.serve.llm'
rm -f "$venv"/.ray-*
touch "$stamp"
printf 'setup: Ray is ready in %s\n' "$venv" >&2
