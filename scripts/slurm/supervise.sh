# What both job scripts share; they source it from the root of the checkout.

# Runs scripts.launch with these arguments, and queues the job again if that was stopped.
supervise() {
  local code
  "${PYTHON:-.venv/bin/python}" -m scripts.launch "$@" &
  supervisor=$!
  trap 'kill -TERM "$supervisor"' TERM
  # A signal ends `wait` before the supervisor has ended.
  while :; do
    wait "$supervisor"
    code=$?
    kill -0 "$supervisor" 2>/dev/null || break
  done
  if [ "$code" = 3 ]; then
    echo "stopped before the end: the job queues again"
    scontrol requeue "${SLURM_HET_JOB_ID:-$SLURM_JOB_ID}"
  fi
  exit "$code"
}
