"""A shell for the commands of a page: what one block exports, the next one finds."""

import subprocess
from pathlib import Path

MARK = "--- the environment ---"


class Shell:
    """Runs blocks one after the other in a folder; fails with what was said when one does."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder
        self.said = ""
        """All output so far."""

    def run(self, block: str, timeout: float = 300) -> None:
        """Runs a block with `set -e`."""
        program = f"set -euo pipefail\n{block}\nprintf '%s\\n' '{MARK}'\nenv -0"
        command = ["bash", "-c", program]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        said, _, variables = done.stdout.partition(f"{MARK}\n")
        self.said += said + done.stderr
        assert done.returncode == 0, f"{block}\n{said}\n{done.stderr}"
        self.env = dict(pair.split("=", 1) for pair in variables.split("\0") if pair)
