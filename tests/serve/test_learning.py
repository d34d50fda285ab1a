"""Personas that are not live yet: who may say so, what is listed, and when it is forgotten."""

from typing import Any

import pytest

from serve.learning import MOST, LearningRegistry, LearningStatus
from tests.support.adapters import make_adapter
from tests.support.hub.gateway import HubStage, Plays, play

__all__ = ["play"]

BODY = {"title": "Poet", "state": "learning", "percent": 40, "reason": ""}


async def put(stage: HubStage, persona: str, body: object, key: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {stage.settings.admin_secret if key is None else key}"}
    url = f"{stage.url}/admin/learning/{persona}"
    async with stage.session.put(url, json=body, headers=headers) as response:
        return response.status, await response.json()


async def listed(stage: HubStage) -> list[dict[str, Any]]:
    async with stage.session.get(f"{stage.url}/v1/models") as response:
        return (await response.json())["learning"]


def test_a_persona_is_listed_with_its_progress_until_it_is_live(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        assert await listed(stage) == []
        with stage.gateway.events.subscribe() as subscriber:
            assert await put(stage, "poet", BODY) == (200, BODY)
            assert await put(stage, "poet", BODY) == (200, BODY)
            assert await put(stage, "other", {"title": "Other", "state": "refused", "reason": "babble"}) == (
                200,
                {"title": "Other", "state": "refused", "percent": 0, "reason": "babble"},
            )
            subscriber.end()
            told = [str(event.data) async for event in subscriber.events() if event.event == "learning"]
        assert len(told) == 2, "the same again is no news"
        assert "Poet is learning, 40 %" in told[0]
        assert "Other was refused: babble" in told[1]
        other = {"persona": "other", "title": "Other", "state": "refused", "percent": 0, "reason": "babble"}
        assert await listed(stage) == [other, {"persona": "poet", **BODY}]
        stage.gateway.registry.push("poet", make_adapter(stage.folder / "adapter"), actor="test")
        await stage.admin("publish", persona="poet", actor="test")
        assert await stage.answering("poet") != "404"
        assert await listed(stage) == [other]

    play(scene)


def test_only_an_admin_says_so_and_only_in_the_right_form(play: Plays) -> None:
    bad: list[tuple[str, object, str]] = [
        ("poet", {**BODY, "percent": 101}, "percent"),
        ("poet", {**BODY, "percent": -1}, "percent"),
        ("poet", {**BODY, "percent": "40"}, "percent"),
        ("poet", {**BODY, "percent": True}, "percent"),
        ("poet", {**BODY, "state": "live"}, "state"),
        ("poet", {**BODY, "title": ""}, "title"),
        ("poet", {**BODY, "title": "x" * 101}, "title"),
        ("poet", {**BODY, "reason": "x" * 501}, "reason"),
        ("poet", {**BODY, "more": 1}, "more"),
        ("poet", {"state": "learning"}, "title"),
        ("poet", [], "body"),
        ("Poet", BODY, "persona"),
        ("..%2Fpoet", BODY, ""),
        ("p" * 64, BODY, "persona"),
        ("base", BODY, "base"),
    ]

    async def scene(stage: HubStage) -> None:
        assert (await put(stage, "poet", BODY, key="none"))[0] == 401
        for persona, body, says in bad:
            status, answer = await put(stage, persona, body)
            assert status == (404 if "%2F" in persona else 400), (persona, body, answer)
            assert says in answer["error"]["message"], (persona, body, answer)
        assert await listed(stage) == []

    play(scene)


def test_what_is_remembered_has_an_end() -> None:
    learning = LearningRegistry()
    for number in range(MOST + 5):
        learning.put(f"p{number}", LearningStatus(title="P", state="learning"))
    names = [one["persona"] for one in learning.listed(())]
    assert len(names) == MOST
    assert "p4" not in names
    assert "p5" in names


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("learning", "Poet is learning, 40 %"),
        ("publishing", "Poet is being checked before it goes live"),
        ("refused", "Poet was refused: babble"),
    ],
)
def test_news_are_a_sentence(state: Any, text: str) -> None:
    assert LearningStatus(title="Poet", state=state, percent=40, reason="babble").text == text
