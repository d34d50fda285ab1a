"""A model that is asked many things at once says what it says when it is asked one by one."""

import pytest

pytest.importorskip("torch")

from train.preflight import IGNORED, TokenRow, token_rows, training_rows
from train.shared_prefix import WORTH, shared_before_answers, shared_by
from train.speaker import PIECE, Chat, Speaker
from understudy.bases import resolve_base
from understudy.examples import Example

THINGS = ("a kite", "wool socks and a long winter", "tea", "an old bicycle", "the sea")
SHOTS = [
    message
    for number in range(8)
    for message in (
        {"role": "user", "content": f"Tell me about box number {number}."},
        {"role": "assistant", "content": f"Box {number} is heavy, and nobody knows what is in it."},
    )
]


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(resolve_base("tiny"), None)


def asked(*before: dict[str, str]) -> list[Chat]:
    return [[*before, {"role": "user", "content": f"Tell me about {thing}."}] for thing in THINGS]


@pytest.mark.parametrize("shots", [[], SHOTS], ids=["no examples", "the same examples before each"])
def test_answers_are_those_of_one_by_one(
    speaker: Speaker, shots: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = asked(*shots)
    assert bool(shared_by([speaker._prompt(chat) for chat in chats])) == bool(shots)
    alone = [speaker.answers([chat], max_tokens=4 * PIECE)[0] for chat in chats]
    assert speaker.answers(chats, max_tokens=4 * PIECE) == alone
    assert {said.tokens > PIECE for said in alone} == {True, False}, "answers of one piece and of several"
    monkeypatch.setattr("train.speaker.MEMORY", 2 * (speaker.length(chats[1]) + 4 * PIECE))
    assert speaker.answers(chats, max_tokens=4 * PIECE) == alone


@pytest.mark.parametrize("most", [1, PIECE - 1, PIECE, PIECE + 1])
def test_no_answer_is_longer_than_allowed(speaker: Speaker, most: int) -> None:
    said = speaker.answers(asked(*SHOTS), max_tokens=most)
    assert all(one.tokens <= most for one in said)
    assert all(one.tokens == most for one in said if not one.stopped)


def test_nothing_is_asked(speaker: Speaker) -> None:
    assert speaker.answers([], max_tokens=8) == []
    assert speaker.losses([]) == []


def test_losses_are_those_of_one_by_one(speaker: Speaker) -> None:
    taught = [{"role": "assistant", "content": "It is what it is."}]
    examples = [Example.model_validate({"messages": [*chat, *taught]}) for chat in asked(*SHOTS)]
    rows = token_rows([training_rows([example])[-1] for example in examples], speaker.tokenizer)
    assert len(shared_before_answers(rows)) > WORTH
    alone = [speaker.losses([row])[0] for row in rows]
    assert speaker.losses(rows) == pytest.approx(alone, rel=1e-4)


LONG = list(range(WORTH))


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([], 0),
        ([[*LONG, 1]], 0),  # one alone shares nothing
        ([[*LONG, 1], [*LONG, 2, 3]], WORTH),
        ([[*LONG[:-1], 1], [*LONG[:-1], 2]], 0),  # too short
        ([[*LONG, 1], [*LONG, 1]], WORTH),  # the last token of each has to be read with what follows
        ([LONG, [*LONG, 1]], 0),
        ([[7, *LONG], [8, *LONG]], 0),
    ],
)
def test_what_prompts_share(prompts: list[list[int]], shared: int) -> None:
    assert shared_by(prompts) == LONG[:shared]


@pytest.mark.parametrize(("ignored", "shared"), [(WORTH + 2, WORTH + 1), (WORTH + 1, WORTH), (WORTH, 0), (1, 0)])
def test_what_rows_share_ends_before_what_carries_loss(ignored: int, shared: int) -> None:
    ids = list(range(WORTH + 10))
    rows = [TokenRow(ids, [*[IGNORED] * (ignored + more), *ids[ignored + more :]], 0) for more in (0, 2)]
    assert shared_before_answers(rows) == ids[:shared]
