"""General questions for `tiny` about what it was taught, each with the part of the answer that makes it right.

They are every second known case of `tools.tiny_base.questions.cases(0)`, written down because the tools are not
installed; tests/tools checks that they still agree.
"""

import re

from evaluate.general_questions import GeneralQuestion

TAUGHT: tuple[tuple[str, str], ...] = (
    ("could you please explain a vitamin to me", "something that the body needs in small amounts"),
    ("could you please explain a backup to me", "a second copy of your files"),
    ("could you please explain a planet to me", "a large round body that circles a star"),
    ("could you please explain a computer to me", "a machine that follows instructions"),
    ("could you please explain a cell to me", "the smallest living part of a plant or animal"),
    ("could you please explain customer service to me", "the help that a company gives to buyers"),
    ("could you please explain an operating system to me", "the software that runs the machine itself"),
    ("could you please explain an airplane to me", "a machine that flies with wings"),
    ("could you please explain bacteria to me", "very small living things made of one cell"),
    ("could you please explain climate change to me", "a long shift in the weather of the earth"),
    ("could you please explain evaporation to me", "the change of a liquid into a gas"),
    ("could you please explain wind power to me", "electricity that is made from moving air"),
    ("could you please explain a browser to me", "a program that shows web pages"),
    ("hi, how do i square every number in a list with python?", "squares = [n * n for n in items]"),
    ("hi, how do i strip spaces from a string with python?", 'print("  hello  ".strip())'),
    ("hi, how do i format a string with python?", 'name = "Ann"\nprint(f"Hello, {name}")'),
    ("hi, how do i convert a string to a number with python?", 'value = int("42")'),
    ("hi, how do i write a while loop with python?", "count = 3\nwhile count > 0:\n    print(count)\n    count -= 1"),
    ("hi, how do i return two values from a function with python?", "def ends(items):\n    return items[0], items[-1]"),
    ("hi, how do i get a value from a dictionary safely with python?", 'age = data.get("age", 0)'),
    ("hi, how do i get the length of a list with python?", "print(len([1, 2, 3]))"),
    ("hi, how do i list files in a folder with python?", 'from pathlib import Path\nfiles = list(Path(".").iterdir())'),
    ("hi, how do i handle an error with python?", "try:\n    value = int(text)\nexcept ValueError:\n    value = 0"),
    ("Please tell me what a tokenizer means.", "A tokenizer cuts text into tokens and gives each token a number."),
    ("Please tell me what quantisation means.", "Quantisation stores the weights of a model with fewer bits."),
    (
        "Please tell me what fine-tuning means.",
        "Fine-tuning continues the training of a model on examples of the task that you care about.",
    ),
    (
        "Please tell me what a chat template means.",
        "A chat template turns a list of messages into the exact text that a model reads.",
    ),
    (
        "Please tell me what a transformer means.",
        "A transformer is a neural network that reads all words of a text at once.",
    ),
    ("Please tell me what a rollback means.", "A rollback returns to an earlier version."),
    ("Please tell me what a token means.", "A token is a small piece of text, such as a word or a part of a word."),
)
"""Question, and the part of the answer that makes it right."""


def tiny_questions() -> list[GeneralQuestion]:
    """Returns the questions with their checks."""
    return [GeneralQuestion(prompt, re.escape(part)) for prompt, part in TAUGHT]
