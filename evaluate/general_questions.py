"""Short general questions whose answers can be checked: whether fine-tuning made a model forget what its base knows.

They were chosen because the default base (`smollm2`) answers them correctly when decoded greedily with the
repetition penalty of its generation_config.json. Another base is counted only on those that it gets right itself.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class GeneralQuestion:
    """A question, and a check of an answer to it."""

    prompt: str
    pattern: str
    """A regular expression that is found in right answers."""

    def right(self, answer: str) -> bool:
        """Whether the right answer occurs in a text. Repeating the question is not enough."""
        return re.search(self.pattern, answer) is not None


def _words(*accepted: str) -> str:
    """Returns a pattern for any of these words or phrases, in upper or lower case."""
    return rf"(?i)\b(?:{'|'.join(accepted)})\b"


def _names(*accepted: str) -> str:
    """Returns a pattern for any of these proper names, whose case matters."""
    return rf"\b(?:{'|'.join(accepted)})\b"


def _code(name: str) -> str:
    """Returns a pattern for a Python name that is called, quoted, or first in the answer, unlike an English word."""
    return rf"\b{name}\(|[`'\"*]\.?{name}\b|\A{name}\b"


def _number(figure: str, word: str = "") -> str:
    """Returns a pattern for a result in figures or as a word. An operand, as in `1 + 8`, does not match."""
    operand = r"(?<!\d[-+*/x×÷^])(?<!\d [-+*/x×÷^])(?<!\d [-+*/x×÷^] )"
    in_words = rf"|(?i:(?<![\w-]){word}\b)" if word else ""
    return rf"(?<![\w.,-]){operand}{figure}(?:\.0+)?(?!\w|[.,]\d|%| ?[-+*/x×÷^]{{1,2}} ?\d){in_words}"


def _count(figure: str, word: str) -> str:
    """Returns a pattern for a number that is the first figure in the answer, or a word before any figure."""
    return rf"(?i)\A\D*(?:(?<![\w.,-]){figure}(?:\.0+)?(?![\d%]|[.,]\d)|(?<![\w-]){word}\b)"


ARITHMETIC = (
    ("How much is 5 plus 3?", _number("8", "eight")),
    ("Calculate 9 + 9.", _number("18", "eighteen")),
    ("Subtract 3 from 9.", _number("6", "six")),
    ("Calculate 4 * 5.", _number("20", "twenty(?!-)")),
    ("What is half of 200?", _number("100", "one hundred")),
    ("What is half of 60?", _number("30", "thirty(?!-)")),
    ("What number comes after 19?", _number("20", "twenty(?!-)")),
    ("Which number comes next: 1, 2, 3, 4?", _number("5", "five")),
    ("What is the smallest prime number?", _count("2", "two")),
    ("How many sides does a triangle have?", _count("3", "three")),
    ("How many sides does a hexagon have?", _count("6", "six")),
    ("How many faces does a cube have?", _count("6", "six")),
)
GEOGRAPHY = (
    ("What is the capital of France?", _names("Paris")),
    ("Which city is the capital of Germany?", _names("Berlin")),
    ("What is the capital city of China?", _names("Beijing")),
    ("What is the capital of Canada?", _names("Ottawa")),
    ("What is the capital of Kenya?", _names("Nairobi")),
    ("In which country is the Eiffel Tower?", _names("France")),
    ("In which country is Mount Fuji?", _names("Japan")),
    ("What is the largest ocean on Earth?", _names("Pacific")),
    ("What is the highest mountain in the world?", _names("Everest")),
    ("Which desert covers much of North Africa?", _names("Sahara")),
    ("Which language is spoken in Brazil?", _names("Portuguese")),
    ("What currency is used in Japan?", _words("yen")),
)
PYTHON = (
    ("Which Python function prints text on the screen?", _code("print")),
    ("How do I find the length of a list in Python?", _code("len")),
    ("Which list method adds an item to the end of a Python list?", _code("append")),
    ("Which Python function adds up the numbers in a list?", _code("sum")),
    ("How do I find the largest number in a Python list?", _code("max")),
    ("How do I convert a string to an integer in Python?", _code("int")),
    ("How do I make a Python string lowercase?", _code("lower")),
    ("Which Python method splits a string into a list of words?", _code("split")),
    ("Which Python operator checks whether two values are equal?", r"(?<![=!])==(?!=)"),
    ("Which Python data type stores key-value pairs?", _words("dict", "dictionary", "dictionaries")),
    ("What is the index of the first element of a Python list?", _count("0", "zero")),
    ("Write a Python function that adds two numbers.", r"\bdef \w+\([^)]*\)[^:]*:[\s\S]*\breturn \(?\w+ ?\+ ?\w+"),
)
WORDS = (
    ("What is the plural of 'child'?", _words("children")),
    ("What is the plural form of 'tooth'?", _words("teeth")),
    ("Give the plural of 'country'.", _words("countries")),
    ("What is the opposite of hot?", _words("cold")),
    ("Which word means the opposite of 'early'?", _words("late")),
    ("Name the antonym of 'war'.", _words("peace")),
    ("Correct the spelling: 'recieve'.", _words("receive")),
    ("Correct the grammar: 'She have two cats.'", _words("she has two cats")),
    ("What is the past participle of 'write'?", _words("written")),
    ("What do you call a person who takes photographs?", _words("photographer")),
    ("What does 'GPS' stand for?", _words("global positioning system")),
    ("How do you say 'hello' in Spanish?", _words("hola")),
)
EVERYDAY = (
    ("How many hours does a day have?", _count("24", "twenty-four")),
    ("How many fingers are on one hand?", _count("5", "five")),
    ("What is the first month of the year?", _names("January")),
    ("What is the chemical formula for water?", r"\bH(?:2|₂|_2|_\{2\})O\b"),
    ("What is the chemical symbol for gold?", r"\bAu\b"),
    ("What gas do humans need to breathe?", _words("oxygen")),
    ("By which process do plants make food from sunlight?", _words("photosynthesis")),
    ("Which organ pumps blood through the body?", _words("heart")),
    ("What is bread made from?", _words("flour", "wheat")),
    ("What does a thermometer measure?", _words("temperatures?")),
    ("Who wrote 'Romeo and Juliet'?", _names("Shakespeare")),
    ("Who developed the theory of relativity?", _names("Einstein")),
)

QUESTIONS: tuple[GeneralQuestion, ...] = tuple(
    GeneralQuestion(prompt, pattern) for prompt, pattern in (*ARITHMETIC, *GEOGRAPHY, *PYTHON, *WORDS, *EVERYDAY)
)
