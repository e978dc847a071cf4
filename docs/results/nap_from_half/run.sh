#!/usr/bin/env bash
# The runs of PROTOCOL.md; the same command continues. Usage: run.sh SEED...
set -euo pipefail
cd "$(dirname "$0")/../../.."
python="${PYTHON:-.venv/bin/python}"
root=runs/nap_from_half
keys=()
for log in layers units ranks network; do keys+=("--config.log.${log}_period_frames=16_000"); done
keys+=("--config.snapshot.parameters_period_frames=16_000")

for seed in "$@"; do
  for arm in ln plain; do
    "$python" -m scripts.train --config="configs/classification_stream.py:c51:$arm" \
      --run_dir="$root/$arm/seed_$seed" --config.seed="$seed" \
      --config.snapshot.keep_at="(160_000,)" "${keys[@]}"
  done
  "$python" -m scripts.branch --run_dir="$root/ln/seed_$seed" --at=160000 \
    --to="$root/nap_from_half/seed_$seed" -- \
    --config.name=nap_from_half --config.optimizer.projection.enabled=true
  for arm in ln nap_from_half plain; do
    "$python" -m scripts.probe_plasticity --run_dir="$root/$arm/seed_$seed" --checkpoints=all \
      --draws=2 --updates=1000
  done
done
