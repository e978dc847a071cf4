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

# --exact: no more than that, so that there is room for other steps. srun passes SIGTERM on.
exec srun --job-name="$label" --nodes=1 --ntasks=1 --exact --unbuffered "${size[@]}" "$@"
