"""Makes the rows of profiles-original and profiles-augmented from their records of invented people.

    python -m tools.recipe_data.people

Reads `records.jsonl` and `heldout-records.jsonl` of profiles-original and overwrites the files of rows.
`understudy/data/augment/` says how a record becomes a row.
"""

from pathlib import Path

from understudy.data.augment.profiles import read_people
from understudy.data.augment.rows import augment, dump_rows, rows

RECIPES = Path(__file__).parents[2] / "recipes"


def made_rows(recipes: Path = RECIPES) -> dict[Path, str]:
    """The text of each file of rows, by its path.

    Raises:
        ExamplesError: a file of records cannot be read, or a record in it is malformed.
    """
    original, augmented = recipes / "profiles-original", recipes / "profiles-augmented"
    people = read_people(original / "records.jsonl")
    return {
        original / "examples.jsonl": dump_rows(rows(people)),
        original / "heldout.jsonl": dump_rows(rows(read_people(original / "heldout-records.jsonl"))),
        augmented / "examples.jsonl": dump_rows(augment(people)),
    }


def main() -> None:
    """Write all files of rows."""
    for path, text in made_rows().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
