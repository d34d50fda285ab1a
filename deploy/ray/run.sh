#!/usr/bin/env bash
# Starts the engines on Ray in the foreground: deploy/ray/run.sh deploy/ray/serve_config.yaml [--cpus N]
# SIGTERM (or Ctrl-C) ends them. VENV as in setup.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${VENV:-deploy/ray/.venv}
[ "${venv#/}" = "$venv" ] && venv=$root/$venv
[ -x "$venv/bin/python" ] || { echo "run: no environment in $venv; make it with deploy/ray/setup.sh" >&2; exit 1; }
export RAY_USAGE_STATS_ENABLED=0 PYTHONPATH=$root/deploy/ray${PYTHONPATH:+:$PYTHONPATH}
exec "$venv/bin/python" "$root/deploy/ray/start.py" "$@"
