"""Following repositories of the Hub: the real client, a small Hub over HTTP, a whole gateway on a fake engine."""

import pytest

from tests.support.hub.gateway import FOLLOW, SECRET, SLOWLY, HubStage, Plays, play
from tests.support.hub.server import HubServer
from understudy.registry.hub import highest_tag

__all__ = ["play"]


def test_a_push_goes_live_by_the_poll_and_says_where_it_came_from(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        await stage.until_answering(first)
        second = stage.push()
        await stage.until_answering(second)
        status = await stage.until_handled(second)
        told = [(e.actor, e.action, e.revision) for e in stage.history() if e.action != "hub"]
        actor = "hub:ann/poet"
        assert told == [(actor, action, sha) for sha in (first, second) for action in ("push", "publish")]
        revision = stage.gateway.registry.revision("poet", second)
        assert (revision.id, revision.source) == (second, "hub:ann/poet@main")
        assert status["wanted"] == {"commit": second, "name": "main"}
        assert status["last_error"] is None
        assert stage.metric("hub_polls_total", persona="poet", outcome="published") == 2

    play(scene, FOLLOW)


def test_a_webhook_is_enough_and_many_are_one_look(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        payload = stage.hub.payload("models", "ann/poet", "refs/heads/main", None, first)
        await stage.hook(payload)
        await stage.until_answering(first)
        second = stage.push()
        stage.hub.slow(0.5, matching="refs", times=1)
        before = stage.count("/refs")
        answers = [await stage.hook(payload) for _ in range(40)]
        await stage.until_answering(second)
        assert answers == [202] * 40
        assert stage.count("/refs") - before <= 3
        assert stage.metric("webhooks_total", outcome="accepted") == 41

    play(scene, FOLLOW, **SLOWLY)


def test_a_webhook_is_believed_in_nothing_but_the_name(play: Plays, hub: HubServer) -> None:
    """Late, repeated and invented deliveries change nothing: what the Hub has is what is live."""

    async def scene(stage: HubStage) -> None:
        first, second = stage.push(), stage.push()
        forged = hub.payload("models", "ann/poet", "refs/heads/main", second, first)
        forged["repo"]["headSha"] = first
        await stage.until_answering(second)
        await stage.until_handled(second)
        told = len(stage.history())
        for payload in (forged, {**forged, "updatedRefs": [{"ref": "refs/heads/main", "newSha": "f" * 40}]}, forged):
            before = stage.count("/refs")
            assert await stage.hook(payload) == 202
            await stage.until(lambda before=before: asked_since(stage, before))
        assert await stage.answering() == second[:12]
        assert len(stage.history()) == told

    async def asked_since(stage: HubStage, before: int) -> bool:
        return stage.count("/refs") > before

    play(scene, FOLLOW, **SLOWLY)


@pytest.mark.parametrize(
    ("payload", "secret", "status"),
    [
        ({"repo": {"name": "ann/poet", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "ann/somebody-else", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "../../etc/passwd", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "ann/poet", "type": "dataset"}}, SECRET, 202),
        ({"repo": {"name": "ann/poet", "type": "model"}}, "wrong", 401),
        ({"repo": {"name": "ann/poet", "type": "model"}}, "", 401),
        ({"repo": {"name": "ann/poet", "type": "model"}}, None, 401),
        ({"repo": {"name": 3}}, SECRET, 400),
        ({"repo": "ann/poet"}, SECRET, 400),
        ([], SECRET, 400),
        ({"repo": {"name": "ann/poet"}, "comment": "x" * 300_000}, SECRET, 413),
        ({"comment": "x" * 300_000}, "wrong", 401),
    ],
)
def test_the_webhook_takes_nothing_but_the_hubs(play: Plays, payload: object, secret: str | None, status: int) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push()
        assert await stage.hook(payload, secret) == status

    play(scene, FOLLOW, **SLOWLY)


def test_without_a_secret_there_is_no_webhook(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        assert await stage.hook({"repo": {"name": "ann/poet", "type": "model"}}) == 404
        assert await stage.hook({"repo": {"name": "ann/poet", "type": "model"}}, "") == 404

    play(scene, FOLLOW, webhook_secret="", **SLOWLY)


@pytest.mark.parametrize(
    ("tags", "pattern", "highest"),
    [
        (["v1", "v2", "v10", "v9"], "v*", "v10"),
        (["v1.9.0", "v1.10.0", "v1.10.0rc1"], "v*", "v1.10.0"),
        (["email-v2", "email-v10", "joke-v11"], "email-v*", "email-v10"),
        (["v3", "vanilla", "very-old"], "v*", "v3"),
        (["2024-10-01", "2025-01-02"], "20*", "2025-01-02"),
        (["release", "1"], "v*", None),
        ([], "*", None),
        (["v1", "V2"], "v*", "v1"),
    ],
)
def test_the_highest_tag_is_by_version_and_not_by_letter(tags: list[str], pattern: str, highest: str | None) -> None:
    assert highest_tag(tags, pattern) == highest


def test_a_pattern_of_tags_follows_the_highest_and_main_is_left_alone(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push(ref="v9")
        await stage.until_answering(first)
        stage.push(ref="main")
        stage.push(ref="v2")
        tenth = stage.push(ref="v10")
        await stage.until_answering(tenth)
        assert [e.revision for e in stage.history(action="publish")] == [first, tenth]
        assert stage.gateway.registry.revision("poet", tenth).source == "hub:ann/poet@v10"

    play(scene, 'poet: {repo: ann/poet, follow: "v*"}')


def test_a_pin_stays_where_it_is_even_when_the_tag_is_moved_and_across_restarts(play: Plays, hub: HubServer) -> None:
    commits: list[str] = []

    async def scene(stage: HubStage) -> None:
        commits.append(stage.push(ref="v1"))
        await stage.until_answering(commits[0])
        commits.append(stage.push(ref="v1"))
        await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})

    async def later(stage: HubStage) -> None:
        stage._made = 9
        await stage.until_handled(commits[0])
        assert await stage.answering() == commits[0][:12]

    play(scene, "poet: {repo: ann/poet, follow: v1}")
    play(later, "poet: {repo: ann/poet, follow: v1}")


def test_a_canary_begins_with_its_share_and_the_first_revision_goes_straight_live(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        await stage.until_answering(first)
        second = stage.push()
        await stage.until(lambda: on_trial(stage, second))
        assert (await stage.admin("status"))["live"] == {"poet": first[:12]}
        assert [e.detail["share"] for e in stage.history(action="canary")] == [0.25]

    async def on_trial(stage: HubStage, commit: str) -> bool:
        trials = (await stage.admin("status"))["trials"]
        return trials.get("poet", {}).get("revision") == commit[:12]

    play(scene, "poet: {repo: ann/poet, canary: 25%}")


def test_whoever_goes_back_by_hand_is_not_fought_until_there_is_a_new_commit(play: Plays) -> None:
    commits: list[str] = []

    async def scene(stage: HubStage) -> None:
        for _ in range(2):
            commits.append(stage.push())
            await stage.until_answering(commits[-1])
        await stage.admin("rollback", persona="poet", actor="ann")
        await stage.polls()
        assert await stage.answering() == commits[0][:12]

    async def after_a_restart(stage: HubStage) -> None:
        stage._made = 2
        await stage.polls()
        assert await stage.answering() == commits[0][:12]
        await stage.until_answering(stage.push())

    play(scene, FOLLOW)
    play(after_a_restart, FOLLOW)
