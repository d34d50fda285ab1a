"""Small Python questions with a sentence and a block of code."""

from random import Random

from tools.tiny_base import tables
from tools.tiny_base.tables import PythonAnswer

ASKING = "asking.yaml"


def python_question(rng: Random) -> tuple[str, str]:
    """A task or a word of Python and its answer."""
    if rng.random() < 0.2:
        word = rng.choice(tables.python_answers("python_words.txt"))
        return rng.choice(tables.phrases(ASKING)["python_word"]).format(t=word.task), _defined(word)
    task = rng.choice(tables.python_answers("python_tasks.txt"))
    return rng.choice(tables.phrases(ASKING)["python_task"]).format(t=task.task), _solved(task)


def next_python_question(rng: Random) -> tuple[str, str]:
    """Another task, asked after a first one."""
    task = rng.choice(tables.python_answers("python_tasks.txt"))
    return rng.choice(tables.phrases(ASKING)["python_next"]).format(t=task.task), _solved(task)


def _solved(task: PythonAnswer) -> str:
    return f"To {task.task} in Python: {task.sentence}\n```python\n{task.code}\n```"


def _defined(word: PythonAnswer) -> str:
    return f"In Python, {word.task} is {word.sentence}. Here is an example:\n```python\n{word.code}\n```"
