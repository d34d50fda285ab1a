"""Base and adapters in this process: the answers of several conversations from one mixed batch (transformers, PEFT).

On ZeroGPU (https://huggingface.co/docs/hub/spaces-zerogpu) the model is placed on an emulated GPU when the Space
starts, and each call of `generate` runs in a process that is forked from it and has a real one. A call may find itself
in a process that is older than an adapter, so it loads what it needs from its folder. Elsewhere `spaces.GPU` returns
the function unchanged, and everything runs here, on a CPU or a GPU.
"""

import math
import queue
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spaces  # before torch: on ZeroGPU it replaces parts of it
import torch
from jinja2 import TemplateError
from peft import PeftModel
from spaces.config import Config
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from serve.adapter_files.named_modules import named_modules
from space.backends.protocol import Messages
from understudy.bases import Base, pinned
from understudy.bases.sampling import base_sampling
from understudy.errors import BaseModelError

ON_ZEROGPU = bool(Config.zero_gpu)
BASE_ROW = "__base__"
"""PEFT's name for rows without an adapter."""
BEAT = 0.05
"""Seconds between two pieces of a stream: each is a message between two processes."""
BANDWIDTH = 1.5e12
"""Bytes of weights that a ZeroGPU `large` reads in a second, with some slack (three sevenths of an H200: 2.0e12)."""
LAYER_SECONDS = 0.6e-3
"""Time to start the kernels of one layer with an adapter in the batch; without a compiled graph it adds up."""
PREFILL = 4_000
"""Tokens of prompts read in a second."""
START = 2.0
"""Seconds until a call has its GPU with the weights on it; an adapter that is new there comes on top."""
NEW_ADAPTER = 1.0
SLACK = 1.3
"""A call that takes longer than it said may be ended."""
MEMORY = 48e9
"""Bytes of a ZeroGPU `large`. Half of what the base leaves of it is for adapters, the rest for what a call computes."""
MOST_PERSONAS = 64
"""More than somebody reads on one page."""


@dataclass(frozen=True)
class BatchSampling:
    """How every row of a batch is sampled; 0 as temperature is greedy."""

    temperature: float
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Batch:
    """What one call answers. It travels between processes, so it is plain data."""

    prompts: Sequence[Sequence[int]]
    names: Sequence[str]
    """An adapter for each row, or BASE_ROW."""
    adapters: Mapping[str, str]
    """The folders of these adapters, by name."""
    kept: Collection[str]
    """Adapters that stay loaded besides."""
    sampling: BatchSampling


class AdapterModel:
    """The base with any number of adapters. Make it when the program starts, in its main thread.

    Adapters are named as PEFT names them, and each stands for one immutable folder.

    Raises, when it is made:
        BaseModelError: the base cannot be loaded, or has no chat template.
    """

    def __init__(self, base: Base) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(base.location, **pinned(base))
            model = AutoModelForCausalLM.from_pretrained(
                base.location, dtype=dtype, attn_implementation="sdpa", **pinned(base)
            )
        except (OSError, ValueError) as error:
            raise BaseModelError(f"base {base.name} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
        if not self._tokenizer.chat_template:
            raise BaseModelError(f"base {base.name} has no chat template; use its instruct or chat version")
        self._model: Any = torch.nn.Module.to(model, self.device).eval()
        config = model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or 4096)
        self._weights = float(self._model.get_memory_footprint())
        linear = [one.weight for one in model.modules() if isinstance(one, torch.nn.Linear)]
        self._per_rank = sum(sum(one.shape) * one.element_size() for one in linear)
        self._step = step_seconds(self._weights, config.num_hidden_layers)
        self.sampling = base_sampling(base)
        configured = self._model.generation_config.eos_token_id
        ends = [self._tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
        self._ends = {token for token in ends if isinstance(token, int)}
        self._adapters: set[str] = set()
        self._one = threading.Lock()
        """Held by each call; on ZeroGPU a process has only one."""
        self.generate = spaces.GPU(self._generate, duration=self.seconds)

    def encode(self, messages: Messages) -> list[int]:
        """The tokens of a conversation up to where its answer begins.

        Raises:
            ValueError: the chat template does not take such a conversation.
        """
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ValueError(f"the base's chat template does not take this conversation: {error}") from error
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer so far, without a character at its end that is not complete yet."""
        return self._tokenizer.decode(tokens, skip_special_tokens=True).rstrip("\ufffd")

    def personas(self, rank: int) -> int:
        """How many personas of at most that rank fit, each with the revision before it and one on trial."""
        return max(1, min(MOST_PERSONAS, int((MEMORY - self._weights) / 2 / (3 * rank * self._per_rank))))

    def load(self, adapters: Mapping[str, str]) -> None:
        """Loads adapters, by name and folder, that are not loaded yet."""
        for name, folder in adapters.items():
            if name in self._adapters:
                continue
            # On the CPU first: what PEFT would choose fails on the emulated GPU (peft#3793). In the base's own type,
            # as vLLM has them.
            options: dict[str, Any] = {"torch_device": "cpu", "autocast_adapter_dtype": False}
            with named_modules(Path(folder)) as named:
                if isinstance(self._model, PeftModel):
                    self._model.load_adapter(named, name, **options)
                else:
                    self._model = PeftModel.from_pretrained(self._model, named, adapter_name=name, **options)
            self._model.eval()
            self._adapters.add(name)

    def seconds(self, batch: Batch) -> int:
        """How long a call of `generate` takes at most on ZeroGPU, for the visitor's quota."""
        new = len(batch.adapters.keys() - self._adapters)
        return call_seconds([len(prompt) for prompt in batch.prompts], batch.sampling, self._step, new)

    def _generate(self, batch: Batch) -> Generator[list[list[int]]]:
        """Answers all prompts in one batch; yields the new tokens of every row, about every `BEAT` seconds.

        All adapters but the batch's and those to be kept are unloaded. Closing the iterator ends the call within a
        token.
        """
        rows = _Rows(len(batch.prompts), self._ends)
        with self._one:
            self.load(batch.adapters)
            self._unload(self._adapters - batch.adapters.keys() - set(batch.kept))
            answering = threading.Thread(target=self._answer, args=(batch, rows), daemon=True)
            answering.start()
            try:
                yield from rows.pieces()
            finally:
                rows.stopped.set()
                answering.join()

    def _unload(self, names: Collection[str]) -> None:
        for name in names:
            if len(self._adapters) > 1:  # PEFT needs one
                self._model.set_adapter(next(other for other in self._adapters if other != name))
                self._model.delete_adapter(name)
                self._adapters.discard(name)

    def _answer(self, batch: Batch, rows: "_Rows") -> None:
        prompts, sampling = batch.prompts, batch.sampling
        try:
            width = max(len(prompt) for prompt in prompts)
            # Padded with a token of their own: a repetition penalty looks at padding, too.
            ids = [[prompt[0]] * (width - len(prompt)) + list(prompt) for prompt in prompts]
            mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            mixed = {"adapter_names": list(batch.names)} if isinstance(self._model, PeftModel) else {}
            self._model.generate(
                input_ids=torch.tensor(ids, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                generation_config=self._config(sampling, self.context - width),
                streamer=rows,
                **mixed,
            )
        except BaseException as error:  # told to whoever reads the rows
            rows.fail(error)
        else:
            rows.end()

    def _config(self, sampling: BatchSampling, room: int) -> GenerationConfig:
        """What the caller asks for, and of the base's own settings what vLLM takes from them, too."""
        own = self.sampling
        settings: dict[str, Any] = {
            "max_new_tokens": max(1, min(sampling.max_tokens, room)),
            "eos_token_id": sorted(self._ends),
            "pad_token_id": min(self._ends, default=0),  # after a row's end, and read by nobody
            "repetition_penalty": own.get("repetition_penalty", 1.0),
            "do_sample": sampling.temperature > 0,
        }
        if sampling.temperature > 0:
            settings |= {"temperature": sampling.temperature, "top_p": own.get("top_p", 1.0)}
            settings |= {"top_k": max(0, int(own.get("top_k", 0))), "min_p": own.get("min_p")}
        return GenerationConfig(**settings)


def step_seconds(weights: float, layers: int) -> float:
    """How long one token of every row takes on ZeroGPU; `weights` in bytes."""
    return weights / BANDWIDTH + layers * LAYER_SECONDS


def call_seconds(prompts: Sequence[int], sampling: BatchSampling, step: float, new_adapters: int = 0) -> int:
    """What a call asks for; `prompts` are their lengths in tokens."""
    reading = sum(prompts) / PREFILL
    return math.ceil(SLACK * (START + NEW_ADAPTER * new_adapters + reading + sampling.max_tokens * step))


class _Rows(BaseStreamer):
    """Takes each step's tokens of all rows; the library's own streamers take one row only."""

    def __init__(self, count: int, ends: set[int]) -> None:
        self.stopped = threading.Event()
        self._ends = ends
        self._done = [False] * count
        self._steps: queue.Queue[list[int] | BaseException | None] = queue.Queue()
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self.stopped.is_set():
            raise InterruptedError("nobody reads the answers any more")  # ends the call
        if self._prompt_seen:
            self._steps.put(value.tolist())
        self._prompt_seen = True

    def end(self) -> None:
        self._steps.put(None)

    def fail(self, error: BaseException) -> None:
        self._steps.put(error)

    def pieces(self) -> Iterator[list[list[int]]]:
        """The tokens since the last piece, by row, until the end; what follows a row's end is left out.

        Raises what `fail` was given.
        """
        while True:
            waiting = [self._steps.get()]
            self.stopped.wait(BEAT)
            while not self._steps.empty():
                waiting.append(self._steps.get())
            piece: list[list[int]] = [[] for _ in self._done]
            for step in waiting:
                if isinstance(step, BaseException):
                    raise step
                for row, token in enumerate(step or ()):
                    self._done[row] = self._done[row] or token in self._ends
                    if not self._done[row]:
                        piece[row].append(token)
            yield piece
            if waiting[-1] is None:
                return
