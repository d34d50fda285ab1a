"""Entry point of a Hugging Face Space: the same app, listening on every address of its container.

Nobody but the Hub's proxies can reach that container, and they are in private networks.
"""

from space.app import launch
from understudy.config.settings import load_settings

if __name__ == "__main__":
    launch(load_settings(host="0.0.0.0", trusted_proxies="loopback,private"))
