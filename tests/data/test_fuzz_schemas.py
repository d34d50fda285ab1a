"""Any row of well-known columns becomes an example with all that it says, or is refused in one line."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.data.load import read_data
from understudy.data.preferences import read_preferences
from understudy.errors import ExamplesError

pytestmark = pytest.mark.fuzz

texts = st.sampled_from(["alpha", "beta", "gamma", "", " ", "N/A", "<image>\nx", "</s>", "[[", '[["q", "w"]]'])
plain = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | texts
values = st.recursive(
    plain, lambda one: st.lists(one, max_size=3) | st.dictionaries(texts, one, max_size=2), max_leaves=5
)
roles = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "function_call", "observation"])
calls = st.lists(
    st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": texts, "arguments": values})}), max_size=2
)
entries = st.fixed_dictionaries(
    {"role": roles, "content": texts | values}, optional={"weight": plain, "tool_calls": calls | plain, "name": plain}
)
talks = st.lists(entries, max_size=5) | values
cells = dict.fromkeys(("prompt", "completion", "instruction", "input", "output", "question", "answer"), texts)
more = {
    "system": texts,
    "context": texts,
    "history": values,
    "tools": values,
    "functions": st.lists(values, min_size=1, max_size=2),
    "label": plain,
    "images": values,
    "choices": values,
}
any_row = st.fixed_dictionaries({}, optional={**cells, **more, "messages": talks, "chosen": talks, "rejected": talks})
forms = st.sampled_from([("prompt", "completion"), ("instruction", "output"), ("question", "answer")])
spellings = st.sampled_from([str, str.title, str.upper, str.capitalize])


@st.composite
def almost_usual(draw: st.DrawFn) -> dict[str, object]:
    """A good row with a column or two beside it, now and then in another spelling."""
    asked, said = draw(forms)
    row: dict[str, object] = {asked: "alpha", said: "beta"}
    for name in draw(st.lists(st.sampled_from(sorted(more)), max_size=2, unique=True)):
        row[draw(spellings)(name)] = draw(more[name])
    return row


rows = any_row | almost_usual()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, min_size=1, max_size=4))
def test_no_row_is_lost_and_none_is_a_traceback(some: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in some))
        with suppress(ExamplesError):
            read_preferences(path)
        try:
            loaded = read_data(path)
        except ExamplesError:
            return
    assert len(loaded.examples) + len(loaded.bad) == len(some)
    for example, origin in zip(loaded.examples, loaded.origins, strict=True):
        row = {name.lower(): value for name, value in some[int(origin.rpartition(":")[2]) - 1].items()}
        whole = "\n".join(message.text for message in example.messages)
        for name in ("system", "context", "input", "question", "answer"):
            text = row.get(name)
            assert not (isinstance(text, str) and text in ("alpha", "beta", "gamma")) or text in whole, (name, row)
        assert row.get("label") not in (0, -1), "False, 0 and 0.0 are one"
        assert not row.get("functions")
        assert not row.get("images") or row["images"] in ("", " ", "N/A") or row["images"] != row["images"]
