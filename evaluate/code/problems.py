"""Problems for generated code as HumanEval and MBPP publish them, samples for them, and the program they make.

HumanEval: Chen et al. 2021, arXiv:2107.03374. MBPP: Austin et al. 2021, arXiv:2108.07732.
"""

import ast
import gzip
import json
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from evaluate.code.metrics import UNREADABLE, extract_code, fenced_code, longest_code, parses
from understudy.errors import ExamplesError

HUMANEVAL = "HumanEval: task_id, prompt, test, entry_point, canonical_solution"
MBPP = "MBPP: task_id, text or prompt, code, test_list"


class CodeProblem(BaseModel):
    """One task, whatever file it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    kind: Literal["humaneval", "mbpp"]
    prompt: str
    """HumanEval: the start of a program, up to the function's docstring. MBPP: the task in words."""
    entry_point: str = ""
    """HumanEval: the function that is tested."""
    setup: str = ""
    """Runs before the program."""
    tests: str
    """Runs after the program; raises if it is wrong."""
    reference: str = ""
    """A whole program that is right; "" if the file has none."""

    def program(self, answer: str) -> str:
        """The program that `answer` stands for.

        MBPP: the code in the answer (`extract_code`). HumanEval: the prompt, continued by the answer or by the code in
        it: as it stands, or with the indentation that chat models leave away; a whole function goes below the prompt,
        whose imports and helpers it may use. If nothing compiles, the answer is taken at its word.
        """
        if self.kind == "mbpp":
            return extract_code(answer)
        fenced = fenced_code(answer)
        for code in [fenced] if fenced else [answer, longest_code(answer)]:
            for whole in self._readings(code):
                if _compiles(whole):
                    return whole
        return self.prompt + (fenced or answer)

    def _readings(self, code: str) -> Iterator[str]:
        if self.entry_point in _defined(code):
            yield f"{self.prompt}\n\n{code}"
        elif code.strip():
            yield self.prompt + code
            yield f"{self.prompt}    {code.lstrip()}"
            yield self.prompt + textwrap.indent(textwrap.dedent(code), "    ")


class CodeAnswer(BaseModel):
    """One answer to one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    answer: str


def read_problems(path: Path) -> list[CodeProblem]:
    """Reads problems in HumanEval's or MBPP's form: .jsonl, .jsonl.gz, or .json with a list.

    MBPP's `test_imports` run before the program, `test_setup_code` after it, since it may use it; the tests are
    `test_list`. `challenge_test_list` may be there and does not run: published figures are about `test_list`.

    Raises:
        ExamplesError: the file is missing, empty or malformed, or a task is there twice (file and line are named).
    """
    problems: dict[str, CodeProblem] = {}
    for where, row in _rows(path):
        problem = _problem(row, where)
        if problem.task_id in problems:
            raise ExamplesError(f"{where}: task {problem.task_id} is there twice; remove one")
        problems[problem.task_id] = problem
    if not problems:
        raise ExamplesError(f"{path}: no problems in it; rows look like {HUMANEVAL}; or {MBPP}")
    return list(problems.values())


def read_samples(path: Path, problems: list[CodeProblem]) -> list[CodeAnswer]:
    """Reads answers: rows with `task_id` and one of `completion`, `answer` (text) or `completions` (list of texts).

    A task may have several rows. The order is the file's.

    Raises:
        ExamplesError: the file is missing, empty or malformed, or names a task that is not among `problems`.
    """
    known = {problem.task_id for problem in problems}
    samples: list[CodeAnswer] = []
    for where, row in _rows(path):
        task = _task_id(row, where)
        if task not in known:
            raise ExamplesError(
                f"{where}: no problem has the task_id {task!r}; those there are look like {problems[0].task_id!r}"
            )
        samples += [CodeAnswer(task_id=task, answer=answer) for answer in _answers(row, where)]
    if not samples:
        raise ExamplesError(f'{path}: no samples in it; add rows like {{"task_id": "...", "completion": "..."}}')
    return samples


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object in the file, and where it is."""
    text = _text(path)
    if path.suffix == ".json":
        whole = _parsed(text, str(path))
        if not isinstance(whole, list):
            raise ExamplesError(f"{path}: found a JSON {_kind(whole)}; a .json file must be a list of objects")
        numbered = [(f"{path}: entry {number}", row) for number, row in enumerate(whole, 1)]
    else:
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        numbered = ((where, _parsed(line, where)) for where, line in lines)
    for where, row in numbered:
        if not isinstance(row, dict):
            raise ExamplesError(f"{where}: found a JSON {_kind(row)}; a row must be an object")
        yield where, row


def _text(path: Path) -> str:
    if not path.is_file():
        raise ExamplesError(f"{path}: no such file; give a .jsonl, .jsonl.gz or .json file")
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    except (OSError, EOFError) as error:
        raise ExamplesError(f"{path}: cannot be read ({error}); is it whole, and gzip if it ends in .gz?") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ExamplesError(f"{where}: not JSON ({error.msg}, {place}); .jsonl has one object a line") from None


def _problem(row: dict[str, Any], where: str) -> CodeProblem:
    task = _task_id(row, where)
    if "entry_point" in row or "test" in row:
        return _humaneval(row, task, where)
    if "test_list" in row:
        return _mbpp(row, task, where)
    found = ", ".join(row) or "nothing"
    raise ExamplesError(f"{where}: neither HumanEval nor MBPP, found {found}; rows look like {HUMANEVAL}; or {MBPP}")


def _humaneval(row: dict[str, Any], task: str, where: str) -> CodeProblem:
    prompt, entry = _field(row, "prompt", where), _field(row, "entry_point", where)
    test = _field(row, "test", where)
    if not entry.isidentifier():
        raise ExamplesError(f"{where}: entry_point must be the name of a function, found {entry!r}")
    solution = _field(row, "canonical_solution", where, optional=True)
    return CodeProblem(
        task_id=task,
        kind="humaneval",
        prompt=prompt,
        entry_point=entry,
        tests=f"{test}\n\ncheck({entry})\n",
        reference=prompt + solution if solution else "",
    )


def _mbpp(row: dict[str, Any], task: str, where: str) -> CodeProblem:
    tests = _texts(row, "test_list", where)
    if not tests:
        raise ExamplesError(f"{where}: test_list is empty; a problem without tests would always pass")
    _texts(row, "challenge_test_list", where, optional=True)
    return CodeProblem(
        task_id=task,
        kind="mbpp",
        prompt=_field(row, "text" if "text" in row else "prompt", where),
        setup="\n".join(_texts(row, "test_imports", where, optional=True)),
        tests="\n".join([_field(row, "test_setup_code", where, optional=True), *tests]),
        reference=_field(row, "code", where, optional=True),
    )


def _task_id(row: dict[str, Any], where: str) -> str:
    task = row.get("task_id")
    if isinstance(task, bool) or not isinstance(task, str | int) or task == "":
        raise ExamplesError(f"{where}: task_id must be text or a number, found {_shown(row, 'task_id')}")
    return str(task)


def _answers(row: dict[str, Any], where: str) -> list[str]:
    names = [name for name in ("completion", "answer", "completions") if name in row]
    if len(names) != 1:
        found = " and ".join(names) or "none"
        raise ExamplesError(f"{where}: a sample has one of completion, answer or completions, found {found}")
    if names == ["completions"]:
        return _texts(row, "completions", where)
    if not isinstance(row[names[0]], str):  # an empty answer is an answer
        raise ExamplesError(f"{where}: {names[0]} must be text, found {_shown(row, names[0])}")
    return [row[names[0]]]


def _field(row: dict[str, Any], name: str, where: str, *, optional: bool = False) -> str:
    value = row.get(name)
    if optional and value is None:
        return ""
    if not isinstance(value, str) or not (optional or value.strip()):
        raise ExamplesError(
            f"{where}: {name} must be text{'' if optional else ', not empty'}, found {_shown(row, name)}"
        )
    return value


def _texts(row: dict[str, Any], name: str, where: str, *, optional: bool = False) -> list[str]:
    value = row.get(name)
    if optional and value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ExamplesError(f"{where}: {name} must be a list of texts, found {_shown(row, name)}")
    return value


def _shown(row: dict[str, Any], name: str) -> str:
    return textwrap.shorten(repr(row[name]), 60, placeholder="...") if name in row else "nothing"


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _defined(code: str) -> set[str]:
    """Names of functions and classes at the top level; none if it does not parse."""
    if not parses(code):
        return set()
    return {str(getattr(node, "name", "")) for node in ast.parse(code).body} - {""}


def _compiles(program: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the sample's style
            compile(program, "<program>", "exec", dont_inherit=True)
    except UNREADABLE:
        return False
    return True
