# The engines' image for KubeRay: an image of Understudy, and what deploy/ray needs on top.
#
#   docker build -t understudy:ray-cpu -f deploy/k8s/ray.Dockerfile --build-arg BASE=understudy:cpu .
#   docker build -t understudy:ray-gpu -f deploy/k8s/ray.Dockerfile --build-arg BASE=understudy:engine .
ARG BASE=understudy:cpu
FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM ${BASE}
WORKDIR /home/user/app
USER 0
# wget: KubeRay's probes call it in versions that do not yet ask over HTTP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
COPY deploy/ray/requirements.txt deploy/ray/requirements.txt
RUN uv pip install --no-cache --no-deps --compile-bytecode --python .venv/bin/python -r deploy/ray/requirements.txt \
    && .venv/bin/python -c "import ray.serve.llm"
COPY deploy/ray/understudy_ray.py deploy/ray/understudy_ray.py
ENV PYTHONPATH=/home/user/app/deploy/ray:/home/user/app \
    RAY_USAGE_STATS_ENABLED=0
USER 1000
