#!/usr/bin/env bash
# Makes the secrets of compose.yaml in deploy/secrets/, each once: what is there already stays.
#
# Compose gives them to containers as files with the mode they have here, and the programs in there run as users of
# their own. So the files can be read by all, and the folder by nobody but you.
set -euo pipefail
umask 077
folder=$(cd "$(dirname "$0")" && pwd)/secrets
mkdir -p "$folder"
chmod 700 "$folder"

keep() { # NAME: takes what it is to hold from standard input, unless it is there
  if [ -e "$folder/$1" ]; then cat >/dev/null; else cat >"$folder/$1"; fi
  chmod 644 "$folder/$1"
}
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

random | keep postgres_password
random | keep understudy_admin_key
random | keep understudy_api_key
random | keep understudy_webhook_secret
random | keep grafana_password
printf 'postgresql+psycopg://understudy:%s@postgres:5432/understudy' "$(cat "$folder/postgres_password")" |
  keep understudy_database_url
keep metrics_key </dev/null # filled once the gateway runs, see README.md
keep hf_token </dev/null    # put a token in if the base or the personas are private
printf 'secrets are in %s\n' "$folder"
