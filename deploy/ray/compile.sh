#!/usr/bin/env bash
# ray[serve] -> deploy/ray/requirements.txt: what it needs beyond requirements/*.txt, in versions that agree with both.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${VENV:-.venv}/bin/uv
pins() { grep -E '^[a-z0-9][a-z0-9._-]*==' | sed 's/ .*//' | LC_ALL=C sort; }
added() {
  echo 'ray[serve]==2.60.0' |
    "$uv" pip compile - --constraint "requirements/$1.txt" --python-version 3.11 --python-platform linux --no-annotate --quiet |
    pins | LC_ALL=C comm -23 - <(pins <"requirements/$1.txt")
}
cpu=$(added cpu) gpu=$(added gpu)
[ "$cpu" = "$gpu" ] || { diff <(echo "$cpu") <(echo "$gpu"); echo "compile: CPU and GPU need different pins" >&2; exit 1; }
{
  echo "# What Ray Serve needs on top of requirements/cpu.txt or requirements/gpu.txt; made by deploy/ray/compile.sh."
  echo "$cpu"
} >deploy/ray/requirements.txt
