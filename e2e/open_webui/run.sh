#!/usr/bin/env bash
# Starts Hayhooks' demo and Open WebUI on free ports, and chats with one in the other. See README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=${OPEN_WEBUI_VERSION:-0.12.4}
hayhooks_python=${HAYHOOKS_PYTHON:-$root/.venv/bin/python}
environment=$root/.cache/open-webui/$version
export IMAGES=${IMAGES:-$root/.cache/open-webui/images}
export CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}

# Environments: kept, so that only the first run is long.
if [ ! -e "$environment/.ready" ]; then
  "${PYTHON:-python3}" -m venv --clear "$environment"
  # torch comes first, with pip: it honours the index or wheels that you have set for a build without CUDA.
  "$environment/bin/pip" install --quiet 'uv>=0.9,<1' "${TORCH:-torch==2.13.0}"
  "$environment/bin/uv" pip install --quiet --python "$environment/bin/python" "open-webui==$version"
  touch "$environment/.ready"
fi
# Not in this directory: the project's own checks read what is in it.
modules=$root/.cache/open-webui/node
mkdir -p "$modules"
cp "$here/package.json" "$here/chat.mjs" "$modules"
npm install --prefix "$modules" --silent --no-package-lock --no-audit --no-fund

work=$(mktemp -d)
processes=()
finish() {
  status=$?
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  for process in "${processes[@]}"; do wait "$process" 2>/dev/null || true; done
  [ $status -eq 0 ] || tail -n 40 "$work"/*.log
  rm -rf "$work"
}
trap finish EXIT

free_port() { "$hayhooks_python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { for _ in $(seq 180); do curl --fail --silent --output /dev/null "$1" && return; sleep 1; done; return 1; }

port=$(free_port)
export HAYHOOKS=http://127.0.0.1:$port
(cd "$work" && exec env -u OPENAI_API_KEY "$hayhooks_python" -m hayhooks.demo --host 127.0.0.1 --port "$port") \
  >"$work/hayhooks.log" 2>&1 &
processes+=($!)
answers "$HAYHOOKS/status"

port=$(free_port)
export OPEN_WEBUI=http://127.0.0.1:$port
settings=(
  OPENAI_API_BASE_URL="$HAYHOOKS/v1"
  OPENAI_API_KEY=unused
  TASK_MODEL_EXTERNAL=clerk # deployed by chat.mjs, later
  DATA_DIR="$work/data"
  WEBUI_AUTH=False
  ENABLE_OLLAMA_API=False
  # No models for retrieval, nothing fetched, nothing told.
  OFFLINE_MODE=true
  HF_HUB_OFFLINE=1
  BYPASS_EMBEDDING_AND_RETRIEVAL=True
  RAG_EMBEDDING_ENGINE=openai
  ENABLE_VERSION_UPDATE_CHECK=False
  ANONYMIZED_TELEMETRY=False
  DO_NOT_TRACK=True
  DEFAULT_PROMPT_SUGGESTIONS='[{"title": ["How do I", "deploy a pipeline?"], "content": "How do I deploy a pipeline?"}]'
)
mkdir "$work/data"
(cd "$work" && exec env "${settings[@]}" "$environment/bin/open-webui" serve --host 127.0.0.1 --port "$port") \
  >"$work/open-webui.log" 2>&1 &
processes+=($!)
answers "$OPEN_WEBUI/health"

export PIPELINES=$here/pipelines
node "$modules/chat.mjs"
