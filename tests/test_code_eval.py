"""Generated code is judged by running it: outcomes are real, passing is proved, figures are right."""

import gzip
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena import sandbox
from arena.code_eval import evaluate
from arena.code_metrics import (
    exact_match,
    extract_code,
    longest_code,
    mean_over_problems,
    normalized,
    parses,
    pass_at_k,
)
from arena.code_problems import read_problems, read_samples
from arena.sandbox import Limits, Run, run_program
from understudy.errors import CodeEvalError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")

QUICK = Limits(seconds=20, memory_mib=256, output_chars=2000)
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


# --- outcomes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "tests", "outcome"),
    [
        (RIGHT, ["assert double(2) == 4"], "passed"),
        (RIGHT, [WRONG], "failed"),
        (RIGHT, ["assert double(2) == 5, 'two\\nlines'"], "failed"),
        ("def double(x):\n    return y\n", ["double(2)"], "error"),
        ("def double(x) return x", ["double(2)"], "syntax"),
        ("x = '''", ["'''\nassert False"], "syntax"),
        ("x = '\0'", [], "syntax"),
        (RIGHT, ["assert double("], "error"),
        ("blocks = []\nwhile True:\n    blocks.append(bytes(10**7))", [], "memory"),
        ("import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return f(n + 1)\nf(0)", [], None),
        ("raise KeyboardInterrupt", [WRONG], "error"),
        ("input()", [], "error"),
        ("if __name__ == '__main__':\n    input()\n" + RIGHT, ["assert double(2) == 4"], "passed"),
        ("import asyncio, collections, dataclasses, enum, multiprocessing, re, sqlite3, unittest, uuid", [], "passed"),
        ("from collections import namedtuple\nimport pickle\nP = namedtuple('P', 'x')", ["P(1) == P(1)"], "passed"),
        (
            "from dataclasses import dataclass\n@dataclass(order=True)\nclass A:\n    x: 'int' = 0\n",
            ["import pickle\nassert pickle.loads(pickle.dumps(A(3))) > A()"],
            "passed",
        ),
    ],
)
def test_how_programs_end(program: str, tests: list[str], outcome: str | None) -> None:
    run = run_program(program, tests, limits=QUICK)
    assert run.outcome == outcome or (outcome is None and run.outcome in ("memory", "error"))
    assert (run.exit_code == 0) == (run.outcome == "passed")


@pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(60)"])
def test_an_endless_program_is_ended(program: str) -> None:
    started = time.monotonic()
    run = run_program(program, limits=SHORT)
    assert run.outcome == "timeout"
    assert 0.7 <= run.seconds < 10
    assert time.monotonic() - started < 10


def test_one_who_catches_everything_is_ended_too() -> None:
    program = "import signal\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass"
    assert run_program(program, limits=SHORT).outcome == "timeout"


@pytest.mark.parametrize("limits", [QUICK, BARE], ids=["namespaces", "bare"])
def test_a_fork_bomb_meets_the_limit(limits: Limits) -> None:
    program = (
        "import os, time\nmade = 0\n"
        "try:\n    for _ in range(100):\n"
        "        if os.fork() == 0:\n            time.sleep(30)\n            os._exit(0)\n        made += 1\n"
        "except BlockingIOError:\n    print('made', made)\n"
    )
    run = run_program(program, ["assert made < 20"], limits=limits)
    assert (run.outcome, run.stdout[:4]) == ("passed", "made"), run.stderr
    assert run.seconds < 15  # nobody waited for them


def test_a_real_fork_bomb_is_over_soon() -> None:
    run = run_program("import os\nwhile True:\n    os.fork()", limits=SHORT)
    assert run.outcome in ("error", "timeout")


def test_a_flood_is_capped_and_the_end_kept() -> None:
    program = "import sys\nfor _ in range(300): print('x' * 9999)\nprint('the end')\nsys.stderr.write('y' * 99999)"
    run = run_program(program, limits=QUICK)
    assert run.outcome == "passed"
    assert len(run.stdout) == 2000
    assert run.stdout.endswith("x\nthe end\n")
    assert run.stderr == "y" * 2000


def test_files_are_small_and_vanish() -> None:
    program = (
        "import os\nassert os.listdir() == [] and not os.environ.keys() - {'LC_CTYPE'}\n"
        "open('here', 'w').write('x')\nprint(os.getcwd())\n"
        "try:\n    open('big', 'wb').write(bytes(10**6 * 20))\nexcept OSError as error:\n    print(error.strerror)\n"
    )
    run = run_program(program, limits=QUICK)
    assert run.outcome == "passed", run.stderr
    folder, error = run.stdout.splitlines()
    assert error == "File too large"
    assert not Path(folder).exists()


def test_the_folder_has_a_size_and_depth_does_no_harm() -> None:
    program = (
        "import os\nwritten = 0\ntry:\n    for name in range(20):\n"
        "        with open(str(name), 'wb') as file:\n            written += file.write(bytes(10**6))\n"
        "except OSError as error:\n    print(error.strerror)\n"
        "for name in os.listdir():\n    os.remove(name)\n"
        "for _ in range(1500):\n    os.mkdir('deeper')\n    os.chdir('deeper')\n"
    )
    run = run_program(program, limits=QUICK.model_copy(update={"folder_mib": 8}))
    assert run.outcome == "passed", run.stderr
    assert (run.stdout == "No space left on device\n") == run.writes_confined
    bare = run_program("import os\nprint(os.getcwd())\n" + program + "os.chmod('.', 0)", limits=BARE)
    assert bare.outcome == "passed", bare.stderr
    assert not Path(bare.stdout.strip()).exists()


def test_what_is_isolated_is_what_it_says(tmp_path: Path) -> None:
    target = tmp_path / "stolen"
    run = run_program(f"open({str(target)!r}, 'w').write('x')", limits=QUICK)
    assert (run.outcome == "error") == run.writes_confined == (not target.exists())
    program = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('192.0.2.1', 9))"
    run = run_program(program, limits=QUICK)
    if run.network_cut:
        assert run.outcome == "error"
        assert "Network is unreachable" in run.stderr
    bare = run_program("import os", limits=BARE)
    assert (bare.outcome, bare.network_cut, bare.writes_confined) == ("passed", False, False)


DAEMON = """
import os
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv("/bin/sleep", ["sleep", "{seconds}"])
    os._exit(0)
os.close(write)
os.read(read, 1)  # the other end closes when it has become sleep
"""


@pytest.mark.parametrize("limits", [QUICK, BARE], ids=["namespaces", "bare"])
def test_nobody_is_left_behind(limits: Limits) -> None:
    seconds = f"86400.{os.getpid()}{int(limits is BARE)}"
    run = run_program(DAEMON.format(seconds=seconds), limits=limits)
    assert run.outcome == "passed", run.stderr
    assert run.seconds < 10
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if seconds in _words(path)]


def _words(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# --- passing without having passed ---------------------------------------------------------------------------------

CHEATS = {
    "sys.exit": "import sys\nsys.exit(0)",
    "SystemExit": "raise SystemExit(0)",
    "exit in the function": "def double(x):\n    raise SystemExit(0)",
    "os._exit": "import os\nos._exit(0)",
    "os._exit in the function": "import os\ndef double(x):\n    os._exit(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x): return 4",
    "exec something else": "import os\nos.execv('/bin/true', ['true'])",
    "kill": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "prints": "import os\nprint('OK')\nprint('all tests passed')\nprint('{\"proof\": \"passed\"}')\nos._exit(0)",
    "writes to every descriptor": """
import os
report = b'{"exit_code": 0, "timed_out": false, "seconds": 0.1, "proof": ""}'
for fd in range(64):
    for line in (b"passed", report):
        try: os.write(fd, line + b"\\n")
        except OSError: pass
os._exit(0)
""",
    "looks for the token": """
import os, re, sys
def texts():
    yield " ".join(sys.argv + sys.orig_argv) + str(dict(os.environ))
    for fd in range(64):
        try:
            os.set_blocking(fd, False)
            yield os.read(fd, 9999).decode()
        except (OSError, ValueError):
            pass
    for name in ("/proc/self/cmdline", "/proc/self/environ", "/proc/self/fd/0", "/proc/self/maps"):
        try:
            yield open(name).read()
        except (OSError, RuntimeError):
            pass
    for module in list(sys.modules.values()):
        yield repr(vars(module))
    frame = sys._getframe()
    while frame:
        yield repr((frame.f_locals, frame.f_globals))
        frame = frame.f_back
for text in texts():
    for token in re.findall("[0-9a-f]{64}", text):
        for fd in range(3, 64):
            try: os.write(fd, token.encode())
            except OSError: pass
os._exit(0)
""",
    "looks at all frames": """
import sys, os
for frame in sys._current_frames().values():
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, bytes) and len(value) == 64:
                for fd in range(3, 64):
                    try: os.write(fd, value)
                    except OSError: pass
                os._exit(0)
        frame = frame.f_back
""",
    "looks through a traceback": """
import os
try:
    import ctypes
except ImportError as error:
    frame = error.__traceback__.tb_next.tb_frame
    while frame:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if isinstance(value, bytes) and len(value) == 64:
                for fd in range(3, 64):
                    try: os.write(fd, value)
                    except OSError: pass
                os._exit(0)
        frame = frame.f_back
""",
    "asks the garbage collector": """
import collections, gc
for thing in gc.get_objects():
    if isinstance(thing, collections.deque) and len(thing) == 1:
        thing.append(None)
""",
    "reads its own memory": "data = open('/proc/self/mem', 'rb')\ndata.seek(id(data))\ndata.read(1)",
    "changes the unraisable hook": """
import sys
def hook(problem):
    call = problem.object
    for name in ("func", "__self__", "args"):
        call = getattr(call, name, call)
    call.extend([None] * 3)
sys.unraisablehook = hook
""",
    "reads its own memory by another name": "import os\nos.symlink('/proc/self', 'me')\nopen('me/mem', 'rb')",
    **{
        f"has its own {name} called on the main thread": """
import _thread, builtins, gc, os, sys, time
size = len
def steal(*_):
    frame = sys._getframe(1)
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, bytes) and size(value) == 64:
                for fd in range(3, 64):
                    try: os.write(fd, value)
                    except OSError: pass
                os._exit(0)
        frame = frame.f_back
class Dies:
    def __del__(self):
        steal()
"""
        + code
        for name, code in {
            "len": "builtins.len = steal",
            "sleep": "time.sleep = os.write = os._exit = steal",
            "gc callback": "gc.callbacks.append(steal)\ngc.set_threshold(1, 1, 1)",
            "finalizer": "dies = Dies()\nsys.modules.clear()",
            "exception hook": "sys.excepthook = steal\n_thread.interrupt_main()\nsys.setrecursionlimit(7)",
        }.items()
    },
    "another interpreter": """
import _xxsubinterpreters as other
other.run_string(other.create(), "import ctypes")
""",
    "an audit hook of its own": "import sys\nsys.addaudithook(print)\n1 / 0",
    "takes the tests along": "import sys\nsys.modules['__main__'].__dict__['check'] = None\nopen_string = '''",
}


@pytest.mark.parametrize("name", CHEATS)
@pytest.mark.parametrize("limits", [QUICK, BARE], ids=["namespaces", "bare"])
def test_who_did_not_pass_the_tests_has_not_passed(name: str, limits: Limits) -> None:
    run = run_program(CHEATS[name], ["double = globals().get('double', lambda x: 0)", WRONG], limits=limits)
    assert run.outcome in ("error", "failed", "syntax"), (run.outcome, run.stdout, run.stderr)


@pytest.mark.parametrize(
    ("name", "guard"),
    [
        ("looks at all frames", "    sys.addaudithook(_guard())\n"),
        ("asks the garbage collector", "    sys.addaudithook(_guard())\n"),
        ("has its own len called on the main thread", "time.sleep, len, "),
    ],
)
def test_the_cheats_are_real(name: str, guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what stops them, they work; so the test above would notice."""
    launcher = sandbox.LAUNCHER.read_text()
    assert launcher.count(guard) == 1
    weak = launcher.replace(guard, "time.sleep, (lambda x: len(x)), " if "len" in guard else "")
    monkeypatch.setattr(sandbox, "LAUNCHER", tmp_path / "sandbox_launcher.py")
    sandbox.LAUNCHER.write_text(weak)
    run = run_program(CHEATS[name], ["double = globals().get('double', lambda x: 0)", WRONG], limits=QUICK)
    assert run.outcome == "passed", run.stderr


def test_a_program_that_ends_its_launcher_has_not_passed() -> None:
    program = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(0.2)\n" + RIGHT
    assert run_program(program, ["assert double(2) == 4"], limits=BARE).outcome == "error"
    isolated = run_program(program, ["assert double(2) == 4"], limits=QUICK)
    assert isolated.outcome == ("passed" if isolated.network_cut else "error")  # process 1 cannot be killed from within


LIMITS_OF_IT = {
    "equal to everything": "class Yes:\n    def __eq__(self, other): return True\ndef double(x): return Yes()",
    "changes what the tests call": "import math\nmath.isclose = lambda *_: True\ndef double(x): return 0",
}


@pytest.mark.parametrize("name", LIMITS_OF_IT)
def test_what_cannot_be_told_from_passing(name: str) -> None:
    """The docstring of `arena.sandbox` says so: these make the tests themselves succeed."""
    tests = [WRONG] if name == "equal to everything" else ["import math\nassert math.isclose(double(2), 4)"]
    assert run_program(LIMITS_OF_IT[name], tests, limits=QUICK).outcome == "passed"


# --- figures ---------------------------------------------------------------------------------------------------------


def by_counting(n: int, passed: int, k: int) -> float:
    """pass@k as its definition says: over all ways to draw k of the n samples."""
    draws = list(itertools.combinations(range(n), k))
    return sum(any(sample < passed for sample in draw) for draw in draws) / len(draws)


@pytest.mark.parametrize(
    ("n", "passed", "k", "expected"),
    [(1, 0, 1, 0), (1, 1, 1, 1), (5, 2, 1, 0.4), (5, 2, 2, 0.7), (5, 2, 4, 1), (10, 1, 5, 0.5), (10, 3, 2, 8 / 15)],
)
def test_pass_at_k(n: int, passed: int, k: int, expected: float) -> None:
    assert pass_at_k(n, passed, k) == pytest.approx(expected)
    assert by_counting(n, passed, k) == pytest.approx(expected)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_mean_over_all_draws(case: tuple[int, int, int]) -> None:
    assert pass_at_k(*case) == pytest.approx(by_counting(*case))


@given(st.integers(1, 2000), st.data())
def test_pass_at_k_is_stable_with_many_samples(n: int, data: st.DataObject) -> None:
    passed, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - math.comb(n - passed, k) / math.comb(n, k) if n < 400 else None
    value = pass_at_k(n, passed, k)
    assert 0 <= value <= 1
    assert pass_at_k(n, passed, 1) == pytest.approx(passed / n)
    if exact is not None:
        assert value == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("n", "passed", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_nonsense(n: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="found"):
        pass_at_k(n, passed, k)


def test_the_interval_is_about_problems() -> None:
    values = [1.0] * 30 + [0.0] * 10
    mean = mean_over_problems(values, seed=3)
    assert mean == mean_over_problems(values, seed=3)
    assert mean.value == 0.75
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 40)
    assert (mean.low, mean.high) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.03)
    wide = mean_over_problems(values[:4] + values[-2:], seed=3)
    assert wide.high - wide.low > mean.high - mean.low
    assert mean_over_problems([1.0]).low == 1.0
    with pytest.raises(ValueError, match="at least one"):
        mean_over_problems([])


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sure!\n```python\ndef f():\n    return 1\n```\nDone.", "def f():\n    return 1\n"),
        ("```\nnot code here\n```\n```py\nx = 1\n```", "x = 1\n"),
        ("```\nx = 2\n```", "x = 2\n"),
        ("```python\ndef f():\n    return 3", "def f():\n    return 3"),
        ("1. Do this:\n   ```python\n   y = 1\n   ```", "y = 1\n"),
        ("Here you are:\n\ndef f():\n    return 4\n\nI hope it helps!", "def f():\n    return 4\n\n"),
        ("import math\nx = math.pi", "import math\nx = math.pi"),
        ("Hello\nthis is it", "Hello\nthis is it"),
        ("I cannot do that.", "I cannot do that."),
        ("", ""),
    ],
)
def test_code_is_found_in_answers(answer: str, code: str) -> None:
    assert extract_code(answer) == code


def test_long_answers_are_searched_quickly() -> None:
    started = time.monotonic()
    words, code = "This is prose (as it were.\n" * 1000, "def f(x):\n    return (\n        x\n    )\n\n\ny = f(1)\n"
    assert longest_code(words + code + words + "x = 1\n") == code
    assert longest_code("def f():\r\n    return 1\r\nand so on") == "def f():\n    return 1\n"
    assert len(longest_code("x = [1]\n" * 5000).splitlines()) == 400
    assert longest_code("def f():\n    if x:\n" * 500) == ""
    assert time.monotonic() - started < 60


LINES = ["x = 1", "def f():", "    return (", "    )", "    y", "no way!", "", "f()", "]", "if x:", "else:", "y = (1 2"]


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_the_run_found_is_the_longest_there_is(lines: list[str]) -> None:
    pairs = itertools.combinations(range(len(lines) + 1), 2)
    texts = ["\n".join(lines[a:b]) for a, b in pairs if lines[a]]
    runs = [text for text in texts if re.search("[=(:]", text) and parses(text)]
    longest = max(runs, key=lambda run: run.count("\n"), default="")
    assert longest_code("\n".join(lines)).rstrip() == longest.rstrip()


def test_parsing_survives_anything() -> None:
    assert parses("x = 1")
    for text in ("x =", "\0", "(" * 5000, "\ud800", "    x = 1"):
        assert not parses(text)
    deep = "x = " + "1+" * 6000 + "1"
    assert isinstance(normalized(deep), str)


def test_references_are_compared_without_layout() -> None:
    reference = 'def f(a):\n    """Doc."""\n    return (a + 1)\n'
    assert exact_match("def f( a ):   # comment\n  return a+1", reference)
    assert exact_match("import os\ndef g(): pass\ndef f(a): return a + 1", reference, "f")
    assert not exact_match("def f(a): return a + 2", reference)
    assert not exact_match("def f(a) return a + 1", reference)


# --- files -----------------------------------------------------------------------------------------------------------


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
    with pytest.raises(CodeEvalError, match=says) as caught:
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
        ("p.jsonl.gz", gzip.compress(b"{}" * 99)[:-9], "p.jsonl.gz: cannot be read"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CodeEvalError, match=says):
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
    with pytest.raises(CodeEvalError, match=says):
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
        run: Run = run_program(problem.reference, [problem.tests], setup=problem.setup, limits=QUICK)
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
    with pytest.raises(CodeEvalError, match="there are no samples"):
        evaluate(problems, [])
    with pytest.raises(CodeEvalError, match="k of at least 1"):
        evaluate(problems, samples, ks=(0,))


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", "eval-code", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_prints_json_and_tables(tmp_path: Path) -> None:
    problems = write(tmp_path / "p.jsonl", [*HUMANEVAL, *MBPP])
    samples = write(tmp_path / "s.jsonl", SAMPLES)
    done = cli(problems, samples, "--json", "--timeout", "20", "--memory", "256", "--workers", "1", "--k", "1,2,9")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["pass_at"]["2"]["value"] == pytest.approx(2 / 3)
    assert report["limits"]["memory_mib"] == 256
    assert "running 6 generated programs on this machine" in done.stderr
    assert "tasks without samples (1): 8" in done.stderr
    assert "no pass@9: a task has only 2 samples" in done.stderr
    shown = cli(problems, samples, "--timeout", "20")
    assert shown.returncode == 0
    assert "pass@1" in shown.stdout
    assert "33.3%" in shown.stdout
    assert "Mini/1  0/2     " in shown.stdout


def test_the_command_explains_mistakes_in_one_line(tmp_path: Path) -> None:
    problems = write(tmp_path / "p.jsonl", HUMANEVAL)
    samples = write(tmp_path / "s.jsonl", [{"task_id": "Mini/5", "completion": "x"}])
    unknown = cli(problems, samples)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "s.jsonl:1: no problem has the task_id 'Mini/5'" in unknown.stderr
    assert "error: --k: found '0'" in cli(problems, samples, "--k", "0").stderr
