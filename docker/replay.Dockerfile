# The replay role: the training image, which is built first, and the Reverb server's own environment
# beside it. Not built yet.
#   docker build -f docker/replay.Dockerfile -t effective-rainbow-replay .
ARG TRAINING=effective-rainbow
FROM ${TRAINING}

RUN python3.11 -m venv .venv-replay && .venv-replay/bin/pip install -r constraints-replay.txt
