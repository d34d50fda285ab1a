"""The two profile recipes, their base and another system compared, kept under docs/results/reports/profiles-compared/.

python -m bench.training.profiles [--runs FOLDER]

The other system is `template`: a rule of ours that fills a sentence, in place of the answers that people collect from
Claude, ChatGPT or Gemini by the prompts in prompts.jsonl. Its answers are imported as theirs would be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.machine import RESULTS
from evaluate.profiles.facts import Facts, facts_of

RECIPES = ("profiles-original", "profiles-augmented")
OUT = RESULTS / "reports" / "profiles-compared"
SAMPLES = 5
WORDINGS = ("{who} likes {hobby}.", "{who} spends free hours on {hobby}.")


def main() -> None:
    """Trains both recipes (unless --runs has them), compares twice: to get the prompts, then with the template."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="runs that are there already")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        places = {"UNDERSTUDY_HOME": f"{folder}/home", "UNDERSTUDY_RUNS_DIR": str(runs or f"{folder}/runs")}
        env = {**os.environ, **places}
        if not runs:
            for recipe in RECIPES:
                _understudy(env, "train", recipe, "--base", "smollm2")
        compare = ("compare", *RECIPES, "--samples", str(SAMPLES), "--out", str(OUT))
        _understudy(env, *compare)
        answers = OUT / "template.jsonl"
        prompts = [json.loads(line)["prompt"] for line in (OUT / "prompts.jsonl").read_text().splitlines()]
        rows = [
            {"prompt": text, "answer": template(facts_of(text), k), "sample": k}
            for text in prompts
            for k in range(SAMPLES)
        ]
        answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(_understudy(env, *compare, "--answers", f"template={answers}"))


def template(facts: Facts, sample: int) -> str:
    """One profile by rule: all that the record tells, in one of two wordings; nothing is made up."""
    what = " ".join(filter(None, (facts.get("trait"), facts.get("role", "person"))))
    article = "an" if what.startswith(("a", "e", "i", "o", "u", "honest")) else "a"
    text = f"{facts['name']} is {article} {what}" + (f" from {facts['place']}." if "place" in facts else ".")
    who = {"she": "She", "he": "He"}.get(facts.get("pronoun", ""), facts["name"])
    hobby = WORDINGS[sample % len(WORDINGS)]
    more = {"years": "{who} has been in the job for {years} years.", "hobby": hobby, "goal": "{who} hopes to {goal}."}
    return " ".join([text, *(line.format(who=who, **facts) for name, line in more.items() if name in facts)])


def _understudy(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "understudy", *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"understudy {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
