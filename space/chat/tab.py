"""The chat tab: gallery, conversation, and their controls."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from space.backends.listing import Contestant
from space.chat.conversation import MAX_CHARACTERS, MAX_TEMPERATURE, MAX_TOKENS, note
from space.chat.persona_cards import build_gallery, cards, order, title
from space.i18n import say, t
from space.status import GatewayStatus

KEPT_AS = "understudy-conversation"
"""Key of the conversation in the browser's local store, and the secret that encrypts it there. The secret is public: it
only separates Gradio apps of one host, and a secret of this process would be lost with it."""


@dataclass(frozen=True)
class ChatTab:
    """The parts of the tab."""

    persona: gr.HTML
    chatbot: gr.Chatbot
    note: gr.HTML
    box: gr.Textbox
    retry: gr.Button
    clear: gr.Button
    share: gr.Button
    compare: gr.Button
    link: gr.Textbox
    keep: gr.Checkbox
    kept: gr.BrowserState
    temperature: gr.Slider
    max_tokens: gr.Slider

    @property
    def outputs(self) -> list[Any]:
        """What the page must refresh when personas come, go or change."""
        return [self.persona, self.chatbot, self.temperature, self.max_tokens]

    @property
    def settings(self) -> list[Any]:
        """Who answers, and how."""
        return [self.persona, self.temperature, self.max_tokens]


def refresh(status: GatewayStatus, chosen: str | None, language: str, *, first: bool) -> list[Any]:
    """Updates for `ChatTab.outputs`; the choice and the sliders stay as they are unless they must change."""
    names = [one.name for one in order(status)]
    kept = chosen in names and not first
    name = chosen if kept else names[0]
    who = status.find(name)
    sliders = [gr.skip(), gr.skip()] if kept else [who.sampling.temperature, who.sampling.max_tokens]
    return [gr.update(value=name, cards=cards(status, language)), gr.update(examples=examples(who)), *sliders]


def examples(who: Contestant) -> list[dict[str, str]]:
    """The suggested prompts, as a chatbot shows them while it is empty."""
    return [{"text": prompt} for prompt in who.prompts[:4]]


def next_note(who: Contestant, language: str) -> str:
    """The note after a change of persona."""
    return note(say("chat_now", language, who=title(who, language)))


def lay_out() -> ChatTab:
    """Puts the parts on the page."""
    persona = build_gallery()
    with gr.Column(elem_id="chat-main"):
        chatbot = _chatbot()
        answer_note = gr.HTML(note(""), elem_id="note")
        box = gr.Textbox(
            label=t("chat_message"),
            placeholder=t("chat_write"),
            container=False,
            lines=1,
            max_lines=6,
            max_length=MAX_CHARACTERS,
            submit_btn=True,
            elem_id="message",
        )
        with gr.Row(elem_id="chat-buttons"):
            retry, clear, share, compare = (
                gr.Button(t(f"chat_{name}"), size="sm", min_width=96, elem_id=name)
                for name in ("retry", "clear", "share", "compare")
            )
        link = gr.Textbox(
            label=t("chat_link"),
            info=t("chat_link_info"),
            buttons=["copy"],
            interactive=False,
            visible=False,
            elem_id="link",
        )
        keep = gr.Checkbox(False, label=t("chat_keep"), info=t("chat_keep_info"), container=False, elem_id="keep")
        with gr.Accordion(t("chat_advanced"), open=False, elem_id="advanced"):
            temperature = gr.Slider(0, MAX_TEMPERATURE, 0.7, step=0.05, label=t("chat_temperature"))
            max_tokens = gr.Slider(16, MAX_TOKENS, 256, step=1, label=t("chat_longest"))
    kept = gr.BrowserState("", storage_key=KEPT_AS, secret=KEPT_AS)
    return ChatTab(
        persona, chatbot, answer_note, box, retry, clear, share, compare, link, keep, kept, temperature, max_tokens
    )


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chatbot",
        height="52vh",
        min_height=300,
        label=t("chat_label"),
        show_label=False,
        buttons=["copy"],
        layout="bubble",
        editable="user",
        allow_tags=False,
        latex_delimiters=[],
        feedback_options=None,
        placeholder=str(t("chat_empty")),
        group_consecutive_messages=True,
    )
