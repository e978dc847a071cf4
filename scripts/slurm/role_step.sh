#!/bin/bash
# Starts a role as a job step; actor_nodes.sbatch has scripts.launch call it:
#
#   role_step.sh LABEL COMMAND...
#
# Together, the roles of a part of the job must not ask for more than that part has.

set -eu
label=$1
shift

# --gres: a step has all GPUs of its part if nothing is said.
case $label in
  replay) size=(--het-group=0 --gres=none --cpus-per-task=3 --mem=24G) ;;
  learner) size=(--het-group=0 --gres=gpu:1 --cpus-per-task=6 --mem=24G) ;;
  evaluator) size=(--het-group=0 --gres=none --cpus-per-task=2 --mem=8G) ;;
  actor_*) size=(--het-group=1 --gres=none --cpus-per-task=2 --mem=4G) ;;
  *) echo "error: role_step.sh: $label is no role" >&2; exit 2 ;;
esac

# At SIGTERM, by which a role is asked to end, srun would kill the step. It passes SIGUSR1 on, to all
# processes there, and on the node that becomes SIGTERM again, for the role alone.
on_node='
  trap "" USR1
  "$@" & role=$!
  trap "kill -TERM $role" USR1
  while :; do
    wait "$role"; code=$?
    kill -0 "$role" 2>/dev/null || exit "$code"
  done
'

# --exact: no more than asked for, so that there is room for other steps. cluster.supervision.processes has
# srun, and so the step, end with this script in any case.
"$1" -m cluster.supervision.processes $$ "" "$(command -v srun)" \
  --job-name="$label" --nodes=1 --ntasks=1 --exact --unbuffered "${size[@]}" \
  bash -c "$on_node" "$label" "$@" &
step=$!
trap 'kill -USR1 "$step"' TERM
set +e
while :; do
  wait "$step"
  code=$?
  kill -0 "$step" 2>/dev/null || exit "$code"
done
