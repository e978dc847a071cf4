# Training, evaluation and everything else but the replay server. Not built yet, as there was no Docker:
# tests/docs/test_containers.py only reads it.
#   docker build -f docker/training.Dockerfile -t effective-rainbow .
#   docker build -f docker/training.Dockerfile -t effective-rainbow --build-arg EXTRAS=distributed,gpu .
FROM python:3.11-slim

ARG EXTRAS=distributed
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    VIRTUAL_ENV=/project/.venv \
    PATH=/project/.venv/bin:$PATH

WORKDIR /project
# First what changes seldom, so that an edit of the code does not install anything anew.
COPY pyproject.toml setup.py README.md constraints.txt ./
COPY effective_rainbow effective_rainbow
RUN python -m venv .venv && pip install -c constraints.txt -e ".[${EXTRAS}]"
COPY . .

# A run's directory belongs to whoever runs the container: give it with --user and a volume.
VOLUME /project/runs
ENTRYPOINT ["python", "-m"]
CMD ["scripts.doctor"]
