"""Entry point of a ZeroGPU Space: page, base and adapters in one program. Made by `understudy space deploy
--flavor zerogpu`.
"""

import spaces  # noqa: F401, I001 - first: it replaces parts of torch

from pathlib import Path

from space.app import launch
from space.backends.zerogpu import zerogpu_backend
from space.backends.zerogpu_routes import hub_routes
from understudy.config.settings import load_settings

settings = load_settings(
    host="0.0.0.0",
    trusted_proxies="loopback,private",
    personas_file=Path(__file__).resolve().parent / "personas.yaml",
)
# At module level: only what is placed before the page starts is there when a call gets its GPU.
backend = zerogpu_backend(settings)

if __name__ == "__main__":
    launch(settings, backend, routes=hub_routes(backend, settings), lifespan=backend.lifespan)
