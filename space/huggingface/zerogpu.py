"""Entry point of a ZeroGPU Space: page, base and adapters in one program. Made by `understudy space deploy
--flavor zerogpu`.
"""

import spaces  # noqa: F401, I001 - first: it replaces parts of torch

from pathlib import Path

from serve.hub_sync.follow_config import read_following
from serve.rollout.validate import validate
from space.app import launch
from space.backends.followed import Followed
from space.backends.zerogpu import zerogpu_backend
from understudy.bases import resolve_base
from understudy.config.settings import load_settings

HERE = Path(__file__).resolve().parent

settings = load_settings(host="0.0.0.0", trusted_proxies="loopback,private")
base = resolve_base(settings.base)
following = {
    name: Followed(one.repo, one.follow, one.card) for name, one in read_following(HERE / "personas.yaml").items()
}
# At module level: only what is placed before the page starts is there when a call gets its GPU.
backend = zerogpu_backend(
    settings, base, following, lambda folder: validate(folder, base, max_rank=settings.max_lora_rank)
)

if __name__ == "__main__":
    launch(settings, backend, opened=backend.open, routes=backend.routes(settings))
