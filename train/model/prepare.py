"""Prepares a base that has no chat template, or no safetensors: Hub id or folder in, folder out.

    python -m train.model.prepare openlm-research/open_llama_7b bases/open_llama_7b \\
        --template recipes/instruct/chat_template.jinja

The folder is a base of its own (`--base bases/open_llama_7b`, `UNDERSTUDY_BASE`). Training, verification and vLLM all
read the template from it, so they write the same prompts. A template adds no tokens: it uses plain words and the base's
bos and eos, so adapters need no embeddings of their own, which vLLM would refuse.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from train.model.load import first_line
from train.model.loss_mask import check_stop_trained
from train.model.tokenize import token_rows, training_rows
from understudy.data.messages import Example, Message
from understudy.errors import BaseModelError, TrainingError

SAMPLE = Example(
    messages=(
        Message(role="user", content="What is a teapot?"),
        Message(role="assistant", content="A pot for tea."),
        Message(role="user", content="And a kettle?"),
        Message(role="assistant", content="A pot for boiling water."),
    )
)
"""A chat that a template must write correctly."""


def prepare_base(source: str, out: Path, template: Path) -> Path:
    """Write the base to `out` as safetensors, in its own precision, with `template` as its chat template.

    Raises:
        BaseModelError: it cannot be loaded, has a chat template already, or `out` is not empty.
        TrainingError: the template does not end answers with the base's end of text, or writes the prompt differently
            once an answer follows.
    """
    if out.exists() and any(out.iterdir()):
        raise BaseModelError(f"{out}: is not empty; name a new folder")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
        if tokenizer.chat_template:
            raise BaseModelError(f"base {source}: has a chat template already; use it as it is")
        _set_template(tokenizer, template)
        model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    except (OSError, ValueError) as error:
        if isinstance(error, BaseModelError):
            raise
        raise BaseModelError(f"base {source}: cannot be loaded: {first_line(error)}") from error
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
    return out


def _set_template(tokenizer: PreTrainedTokenizerBase, template: Path) -> None:
    """Set the tokenizer's template, after checking it on a chat of two turns."""
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise TrainingError("the base's tokenizer has no end of text; use another base")
    rows = token_rows(training_rows([SAMPLE]), tokenizer)
    check_stop_trained([row.labels for row in rows], {end})


def main() -> None:
    """Read the options, write the folder, print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", help="Hub id or folder of the base")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--template", type=Path, required=True, help="a chat template (Jinja)")
    arguments = parser.parse_args()
    print(prepare_base(arguments.source, arguments.out, arguments.template))


if __name__ == "__main__":
    main()
