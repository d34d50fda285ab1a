"""Starts the application of understudy_ray and keeps it until SIGTERM: `deploy/ray/run.sh serve_config.yaml`.

With RAY_ADDRESS set it joins that cluster, and leaves it running; else it starts one of its own on loopback, which ends
with it.
"""

import argparse
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

MEMORY = 200 * 2**20
"""Bytes of Ray's object store: answers are small, and adapters do not go through it."""


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="such as deploy/ray/serve_config.yaml")
    parser.add_argument("--cpus", type=int, help="cores to tell Ray of, on one machine (default: all)")
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    stop = threading.Event()
    with joined() if os.environ.get("RAY_ADDRESS") else own_cluster(args.cpus), deployed(config):
        for number in (signal.SIGTERM, signal.SIGINT):  # only now: Ray has set its own
            signal.signal(number, lambda *_: stop.set())
        print("ready: UNDERSTUDY_ENGINE_URL=http://{host}:{port}".format(**config["http_options"]), flush=True)
        stop.wait()


@contextmanager
def deployed(config: dict[str, Any]) -> Iterator[None]:
    """What a file in Serve's own form describes, from when it answers until it is shut down."""
    import understudy_ray
    from ray import serve

    (application,) = config["applications"]
    try:
        serve.start(proxy_location=config.get("proxy_location", "HeadOnly"), http_options=config["http_options"])
        serve.run(
            understudy_ray.build(application["args"]),
            name=application["name"],
            route_prefix=application["route_prefix"],
            blocking=False,
        )
        yield
    finally:
        serve.shutdown()


@contextmanager
def joined() -> Iterator[None]:
    """The cluster at RAY_ADDRESS."""
    import ray

    ray.init(namespace="serve")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def own_cluster(cpus: int | None) -> Iterator[None]:
    """A Ray of our own, which nobody else can talk to: on loopback, with a token in a folder that only we can read."""
    folder = tempfile.mkdtemp(prefix="u-ray-")  # short: Ray's sockets lie in it, and their paths may have 107 bytes
    token = Path(folder, "token")
    token.write_text(secrets.token_hex(32))
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    import ray  # only now: it reads the token once
    from ray._private import services

    # Ray takes this address for a mistake and replaces it by one that others reach; left alone, all of Ray's own
    # servers listen on loopback.
    services.resolve_ip_for_localhost = lambda host: host
    try:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=MEMORY,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
            log_to_driver=False,
            namespace="serve",
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
