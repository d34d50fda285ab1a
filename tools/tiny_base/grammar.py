"""Just enough English grammar for the generated sentences."""

VOWELS = "aeiou"
IRREGULAR = {"have": "has", "do": "does", "go": "goes", "be": "is"}
# Words whose first sound is not what the first letter says.
CONSONANT_SOUND = ("uni", "use", "uku", "one", "eu")
VOWEL_SOUND = ("hour", "heir", "honest", "x-ray", "SMS", "LLM")


def with_article(noun: str) -> str:
    """`whisk` -> `a whisk`, `oven` -> `an oven`."""
    if noun.startswith(VOWEL_SOUND):
        return "an " + noun
    starts_with_vowel = noun[0].lower() in VOWELS and not noun.lower().startswith(CONSONANT_SOUND)
    return ("an " if starts_with_vowel else "a ") + noun


def third_person(phrase: str) -> str:
    """Inflect the verb a phrase starts with: `keep drinks hot` -> `keeps drinks hot`."""
    verb, space, rest = phrase.partition(" ")
    if verb == "never":
        return "never " + third_person(rest)
    if verb in IRREGULAR:
        inflected = IRREGULAR[verb]
    elif verb.endswith("y") and verb[-2] not in VOWELS:
        inflected = verb[:-1] + "ies"
    elif verb.endswith(("s", "sh", "ch", "x", "o", "z")):
        inflected = verb + "es"
    else:
        inflected = verb + "s"
    return inflected + space + rest


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def plural(noun: str) -> str:
    """The regular plural: `box` -> `boxes`, `berry` -> `berries`, `lamp` -> `lamps`."""
    if noun.endswith(("s", "sh", "ch", "x", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"
