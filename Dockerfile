# The same demo as `make demo`, in one image: engine, gateway and app on a CPU.
#
#   docker build -t understudy .
#   docker run --rm -p 7860:7860 -p 8000:8000 -v understudy:/home/user/app/.understudy understudy
#
# UID 1000 and port 7860 are what Hugging Face's Docker Spaces expect.
FROM python:3.11-slim-bookworm

# libnuma1: vLLM's CPU build; libgomp1: its threads. Debian drops old versions, so pins would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libnuma1 make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user

USER 1000
WORKDIR /home/user/app
COPY --chown=1000 . .
RUN VARIANT=cpu ./setup.sh

# Published ports must be reachable from outside the container; the engine stays on loopback all the same.
ENV UNDERSTUDY_HOST=0.0.0.0 \
    VARIANT=cpu
EXPOSE 7860 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
    CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD [".venv/bin/understudy", "demo"]
