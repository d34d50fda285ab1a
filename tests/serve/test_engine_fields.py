"""The fields that we take to be read are those of the installed vLLM's own request models."""

import ast
import importlib.util
from pathlib import Path

import pytest

from serve.openai_api.engine_fields import FIELDS, STRUCTURED_OUTPUTS

PROTOCOL = "entrypoints/openai/{}/protocol.py"
MODELS = {
    "/v1/chat/completions": (PROTOCOL.format("chat_completion"), "ChatCompletionRequest"),
    "/v1/completions": (PROTOCOL.format("completion"), "CompletionRequest"),
    "/v1/responses": (PROTOCOL.format("responses"), "ResponsesRequest"),
    "structured_outputs": ("sampling_params.py", "StructuredOutputsParams"),
}


@pytest.mark.parametrize("route", MODELS)
def test_the_fields_are_those_of_the_installed_vllm(route: str) -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    file, name = MODELS[route]
    tree = ast.parse((Path(spec.origin).parent / file).read_text())
    model = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    lines = [node for node in model.body if isinstance(node, ast.AnnAssign) and "init=False" not in ast.unparse(node)]
    fields = {line.target.id for line in lines if isinstance(line.target, ast.Name)}
    fields = {field for field in fields if not field.startswith("_")}
    assert fields == (FIELDS.get(route) or STRUCTURED_OUTPUTS), f"write: {' '.join(sorted(fields))}"
