#!/usr/bin/env bash
# Lets llm-comply judge a server of this machine: run.sh [FORMAT ...]. See README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=${LLM_COMPLY_VERSION:-0.5.0}
environment=$root/.cache/llm-comply/$version

if [ ! -e "$environment/.ready" ]; then
  "${PYTHON:-python3}" -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet "llm-comply==$version"
  touch "$environment/.ready"
fi
PYTHONPATH=$root "${HAYHOOKS_PYTHON:-$root/.venv/bin/python}" "$here/check.py" "$environment/bin/llm-comply" "$@"
