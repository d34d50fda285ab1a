"""`understudy eval-code`: files as published, outcomes that add up, one line for each mistake."""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from evaluate.code.evaluation import evaluate
from evaluate.code.problems import read_problems, read_samples
from evaluate.code.sandbox import ProgramRun, SandboxLimits, run_program
from tests.support.command_line import understudy
from understudy.errors import ExamplesError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")


QUICK = SandboxLimits(seconds=20, memory_mib=256, output_chars=2000)
SHORT = QUICK.model_copy(update={"seconds": 0.7})
BARE = QUICK.model_copy(update={"isolate": False})
"""As on a system without unprivileged namespaces."""
WRONG = "assert double(2) == 5"
RIGHT = "def double(x):\n    return 2 * x\n"

HUMANEVAL = [
    {
        "task_id": "Mini/0",
        "prompt": 'import math\n\n\ndef root_sum(a, b):\n    """Square root of a plus b, rounded down."""\n',
        "canonical_solution": "    return math.isqrt(a + b)\n",
        "test": "def check(candidate):\n    assert candidate(4, 5) == 3\n    assert candidate(8, 7) == 3\n",
        "entry_point": "root_sum",
    },
    {
        "task_id": "Mini/1",
        "prompt": 'def shout(word):\n    """The word in capitals with a mark."""\n',
        "canonical_solution": "    return word.upper() + '!'\n",
        "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate('tea') == 'TEA!'\n",
        "entry_point": "shout",
    },
]
MBPP = [
    {
        "task_id": 7,
        "text": "Write a function to count the even numbers.",
        "code": "def evens(xs):\n    return sum(x % 2 == 0 for x in xs)",
        "test_setup_code": "numbers = [1, 2, 4]",
        "test_list": ["assert evens(numbers) == 2", "assert evens([]) == 0"],
        "challenge_test_list": [],
    },
    {
        "task_id": 8,
        "prompt": "Write a function to give the area of a circle.",
        "code": "def area(r):\n    return math.pi * r * r",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(area(1), math.pi)"],
    },
]


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_forms_and_all_file_types_are_read(tmp_path: Path) -> None:
    problems = read_problems(write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP]))
    assert [(p.task_id, p.kind) for p in problems] == [
        ("Mini/0", "humaneval"),
        ("Mini/1", "humaneval"),
        ("7", "mbpp"),
        ("8", "mbpp"),
    ]
    (tmp_path / "p.json").write_text(json.dumps([*HUMANEVAL, *MBPP]))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress((tmp_path / "p.jsonl").read_bytes()))
    assert read_problems(tmp_path / "p.json") == read_problems(tmp_path / "p.jsonl.gz") == problems
    rows = [{"task_id": 7, "completions": ["a", ""]}, {"task_id": "Mini/0", "answer": "b"}]
    samples = read_samples(write(tmp_path / "s.jsonl", rows), problems)
    assert [(s.task_id, s.answer) for s in samples] == [("7", "a"), ("7", ""), ("Mini/0", "b")]


H, M = HUMANEVAL[0], MBPP[0]


def without(row: dict, name: str) -> dict:
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no problems in it; rows look like HumanEval: task_id.*MBPP"),
        ("{", "p.jsonl:1: not JSON"),
        ("\n[]", "p.jsonl:2: found a JSON list; a row must be an object"),
        (
            json.dumps({"task_id": "x", "question": "?"}),
            "p.jsonl:1: neither HumanEval nor MBPP, found task_id, question",
        ),
        (json.dumps(without(H, "task_id")), "p.jsonl:1: task_id must be text or a number, found nothing"),
        (json.dumps(H | {"task_id": None}), "task_id must be text or a number, found None"),
        (json.dumps(without(H, "prompt")), "p.jsonl:1: prompt must be text, not empty, found nothing"),
        (json.dumps(without(H, "test")), "p.jsonl:1: test must be text, not empty, found nothing"),
        (json.dumps(H | {"entry_point": "a b"}), "entry_point must be the name of a function, found 'a b'"),
        (json.dumps(H | {"canonical_solution": 3}), "canonical_solution must be text, found 3"),
        (json.dumps(M | {"test_list": "assert 1"}), "test_list must be a list of texts, found 'assert 1'"),
        (json.dumps(M | {"test_list": [1]}), "test_list must be a list of texts"),
        (json.dumps(M | {"test_list": []}), "test_list is empty; a problem without tests would always pass"),
        (json.dumps(M | {"challenge_test_list": 1}), "challenge_test_list must be a list of texts, found 1"),
        (json.dumps(H) + "\n" + json.dumps(H), "p.jsonl:2: task Mini/0 is there twice; remove one"),
    ],
)
def test_broken_problem_files(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(ExamplesError, match=says) as caught:
        read_problems(tmp_path / "p.jsonl")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("gone.jsonl", None, "gone.jsonl: no such file"),
        ("p.json", b"{}", "p.json: found a JSON dict; a .json file must be a list"),
        ("p.json", b"[1]", "p.json: entry 1: found a JSON int"),
        ("p.jsonl", b"\xff\xfe", "p.jsonl: not UTF-8 text"),
        ("p.jsonl.gz", b"plain", "p.jsonl.gz: cannot be read"),
        ("p.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "p.jsonl.gz: cannot be read"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ExamplesError, match=says):
        read_problems(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"task_id": "Mini/9", "completion": ""}, "s.jsonl:1: no problem has the task_id 'Mini/9'.*like 'Mini/0'"),
        ({"completion": ""}, "s.jsonl:1: task_id must be text or a number, found nothing"),
        ({"task_id": "Mini/0"}, "one of completion, answer or completions, found none"),
        ({"task_id": "Mini/0", "answer": "", "completion": ""}, "found completion and answer"),
        ({"task_id": "Mini/0", "completion": ["x"]}, r"completion must be text, found \['x'\]"),
        ({"task_id": "Mini/0", "completions": "x"}, "completions must be a list of texts, found 'x'"),
        (None, "no samples in it; add rows like"),
    ],
)
def test_broken_sample_files(tmp_path: Path, row: dict | None, says: str) -> None:
    problems = read_problems(write(tmp_path / "p.jsonl", HUMANEVAL))
    path = write(tmp_path / "s.jsonl", [] if row is None else [row])
    with pytest.raises(ExamplesError, match=says):
        read_samples(path, problems)


# --- all of it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "answer", "passes"),
    [
        ("Mini/0", "    return math.isqrt(a + b)\n", True),
        ("Mini/0", "return math.isqrt(a + b)", True),
        ("Mini/0", "total = a + b\n    return math.isqrt(total)\n", True),
        ("Mini/0", "total = a + b\nreturn math.isqrt(total)\n", True),
        ("Mini/0", "def root_sum(a, b):\n    return math.isqrt(a + b)\n", True),
        ("Mini/0", "Sure:\n```python\ndef root_sum(a, b):\n    return math.isqrt(a + b)\n```", True),
        ("Mini/0", "```python\n    return math.isqrt(a + b)\n```", True),
        ("Mini/0", "Here it is\n\ndef root_sum(x, y):\n    return math.isqrt(x + y)\n\nEnjoy it!", True),
        ("Mini/0", "    return a + b\n", False),
        ("Mini/0", "", False),
        ("Mini/0", "```python\ndef something_else():\n    pass\n```", False),
        ("Mini/0", "I do not know.", False),
        ("7", "def evens(xs):\n    return len([x for x in xs if not x % 2])", True),
        ("7", "Sure:\n```python\ndef evens(xs):\n    return len([x for x in xs if not x % 2])\n```", True),
        ("7", "def evens(xs):\n    return len(xs)", False),
        ("8", "def area(r):\n    return math.pi * r ** 2", True),
    ],
)
def test_answers_become_programs(tmp_path: Path, task: str, answer: str, passes: bool) -> None:
    problems = {p.task_id: p for p in read_problems(write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP]))}
    problem = problems[task]
    run = run_program(problem.program(answer), [problem.tests], setup=problem.setup, limits=QUICK)
    assert (run.outcome == "passed") == passes, (run, problem.program(answer))


def test_the_references_pass(tmp_path: Path) -> None:
    for problem in read_problems(write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP])):
        run: ProgramRun = run_program(problem.reference, [problem.tests], setup=problem.setup, limits=QUICK)
        assert run.outcome == "passed", run.stderr


SAMPLES = [
    {"task_id": "Mini/0", "completion": H["canonical_solution"]},
    {"task_id": "Mini/0", "completion": "    return a\n"},
    {"task_id": "Mini/1", "completions": ["    return (", "    raise SystemExit(0)\n"]},
    {"task_id": 7, "answer": M["code"]},
    {"task_id": 7, "answer": "def evens(xs):\n    return 0"},
]


def test_the_report_adds_up(tmp_path: Path) -> None:
    problems = read_problems(write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP]))
    samples = read_samples(write(tmp_path / "s.jsonl", SAMPLES), problems)
    seen = []
    report = evaluate(
        problems, samples, limits=QUICK, workers=1, ks=(2, 1, 5), on_progress=lambda *done: seen.append(done)
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    assert [(t.task_id, t.samples, t.passed) for t in report.tasks] == [("Mini/0", 2, 1), ("Mini/1", 2, 0), ("7", 2, 1)]
    assert Counter(report.outcomes) == Counter(passed=2, failed=2, syntax=1, error=1)
    assert report.pass_at[1].value == pytest.approx(1 / 3)
    assert report.pass_at[2].value == pytest.approx(2 / 3)
    assert report.pass_at[1].low <= 1 / 3 <= report.pass_at[1].high
    assert (list(report.pass_at), report.too_few_samples_for) == ([1, 2], [5])
    assert (report.problems, report.samples, report.without_samples) == (3, 6, ["8"])
    assert report.parse_rate == pytest.approx(5 / 6)
    assert report.exact_match == pytest.approx(2 / 6)
    assert report.chrf is not None
    assert 20 < report.chrf < 100


def test_a_file_without_references_has_no_likeness(tmp_path: Path) -> None:
    problems = read_problems(write(tmp_path / "p.jsonl", [without(H, "canonical_solution")]))
    samples = read_samples(write(tmp_path / "s.jsonl", SAMPLES[:1]), problems)
    report = evaluate(problems, samples, limits=QUICK, workers=2)
    assert (report.chrf, report.exact_match, report.pass_at[1].value) == (None, None, 1.0)
    with pytest.raises(ExamplesError, match="there are no samples"):
        evaluate(problems, [])
    with pytest.raises(ExamplesError, match="k of at least 1"):
        evaluate(problems, samples, ks=(0,))


def test_the_command_prints_json_and_tables(tmp_path: Path) -> None:
    problems = write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP])
    samples = write(tmp_path / "s.jsonl", SAMPLES)
    done = understudy(
        "eval-code", problems, samples, "--json", "--timeout", "20", "--memory", "256", "--workers", "1", "--k", "1,2,9"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["pass_at"]["2"]["value"] == pytest.approx(2 / 3)
    assert report["limits"]["memory_mib"] == 256
    assert "running 6 generated programs on this machine" in done.stderr
    assert "tasks without samples (1): 8" in done.stderr
    assert "no pass@9: a task has only 2 samples" in done.stderr
    shown = understudy("eval-code", problems, samples, "--timeout", "20")
    assert shown.returncode == 0
    assert "pass@1" in shown.stdout
    assert "33.3%" in shown.stdout
    assert "Mini/1  0/2     " in shown.stdout


def test_the_command_explains_mistakes_in_one_line(tmp_path: Path) -> None:
    problems = write(tmp_path / "p.jsonl", HUMANEVAL)
    samples = write(tmp_path / "s.jsonl", [{"task_id": "Mini/5", "completion": "x"}])
    unknown = understudy("eval-code", problems, samples)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "s.jsonl:1: no problem has the task_id 'Mini/5'" in unknown.stderr
    assert "error: --k: found '0'" in understudy("eval-code", problems, samples, "--k", "0").stderr
