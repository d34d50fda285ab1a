"""What people who have the page open are told in passing: a new revision, a new persona."""

from space.chat.persona_cards import title
from space.i18n import ENGLISH, say
from space.status import GatewayStatus

TOASTS = '<div class="toasts" role="status" aria-live="polite">${value}</div>'
"""The place where they appear; screen readers read out what comes into it."""


def headlines(seen: GatewayStatus | None, new: GatewayStatus, language: str = ENGLISH) -> str:
    """HTML for each persona that changed its revision or came; "" when there is nothing new, or nothing was seen yet.

    Each is an element of a name of its own, so that the page puts a new one in the place of an old one, which has
    faded, rather than new words into it.
    """
    if seen is None or not (seen.personas or seen.ready):
        return ""
    before = {one.name: one.revision for one in seen.personas}
    told = []
    for one in new.personas:
        if before.get(one.name) != one.revision:
            key = "toast_live" if one.name in before else "toast_new"
            text = say(key, language, who=title(one, language), revision=one.revision)
            tag = f"toast-{one.revision if one.revision.isalnum() else 'news'}"
            told.append(f'<{tag} class="toast">{text}</{tag}>')
    return "".join(told)
