#!/usr/bin/env bash
# Starts a pod: looks at the machine first, then becomes the pod.
set -euo pipefail
here="$(dirname "$(readlink -f "$0")")"

usage() {
  cat <<'TEXT'
Usage: startup.sh [--check | --help] [OPTION ...]

Starts a pod in six phases, one status line each:
  1 environment validation   Python, libraries, device, settings, ports, state folder, services
  2 model readiness          every model that is named is there, readable and whole
  3 memory assessment        what is free, and what fits
  4 worker launch            image, chat, video, one after the other
  5 auto-registration        the application is told where this pod is
  6 health monitoring        /health on both ports

Whatever is wrong in phases 1 to 3 is listed, each fault with its cure; then nothing is started.

  --check    phases 1 to 3 alone; exit 0 when a pod can run here, else 1
  --help     this text
  OPTION     handed to `ourvidz-worker up`; see `ourvidz-worker up --help`

Settings are environment variables: docs/reference/settings.md. With none of them a pod runs for
this machine alone, on the small models; with SUPABASE_URL, or the address of the application's
lists, it is deployed, and serves the models that are named.
TEXT
}

check_only=false
case "${1:-}" in
  --help | -h)
    usage
    exit 0
    ;;
  --check)
    check_only=true
    shift
    ;;
esac

[ -d "$here/.venv/bin" ] && PATH="$here/.venv/bin:$PATH"
if ! command -v ourvidz-worker > /dev/null; then
  echo "[1/6] environment validation: 1 to mend"
  echo "fail ourvidz-worker: is not installed  -> run \`pip install -c constraints.txt .\` in $here"
  exit 1
fi

# The allocator reads this when torch is imported: it must be set before Python starts.
export PYTORCH_CUDA_ALLOC_CONF="${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}"

ourvidz-worker doctor --phases || exit 1
if [ "$check_only" = true ]; then
  exit 0
fi

# Phases 4 to 6 are the pod's own: it tells of them as they come.
exec ourvidz-worker up "$@"
