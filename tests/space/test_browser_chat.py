"""Chat in a real browser."""

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Site, Visitor
from tests.support.fake_gateway import EMAIL, STAND_UP, Answer

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]


def test_an_answer_appears_while_it_is_written(site: Site, visitor: Visitor):
    held = site.fake.say("stand-up", Answer("One thing. Another thing. The end.", hold_after=4))
    visitor.choose("Stand-up comedian")
    visitor.say("Tell me something")
    visitor.see("#chatbot", "One thing. Another thing.")
    assert "The end." not in visitor.last_answer()
    expect(visitor.page.locator("#message .stop-button")).to_be_visible()
    held.release.set()
    visitor.see("#chatbot", "The end.")
    visitor.see("#chatbot .bot", f"stand-up@{STAND_UP}")
    expect(visitor.page.locator("#message .submit-button")).to_be_visible()
    expect(visitor.page.locator("#message textarea")).to_have_value("")
    visitor.say("And then?")
    visitor.see("#chatbot", "You said: And then?")
    turns = [turn["content"] for turn in site.fake.requests[-1]["messages"]]
    assert turns == ["Tell me something", "One thing. Another thing. The end.", "And then?"]


def test_stop_withdraws_the_request_and_keeps_the_words(site: Site, visitor: Visitor):
    site.fake.say("email-copy", Answer("Dear reader, this is long", hold_after=2))
    visitor.say("Write")
    visitor.see("#chatbot", "Dear reader,")
    visitor.page.locator("#message .stop-button").click()
    visitor.see("#note", "Stopped.")
    expect(visitor.page.locator("#message .submit-button")).to_be_visible()
    for _ in range(200):
        if site.fake.withdrawn:
            break
        visitor.page.wait_for_timeout(50)
    assert site.fake.withdrawn == ["email-copy"]
    assert visitor.last_answer().split("—")[0].strip() == "Dear reader,"
    visitor.say("Go on")
    visitor.see("#chatbot", "You said: Go on")


def test_retry_asks_again_and_clear_starts_over(site: Site, visitor: Visitor):
    site.fake.say("email-copy", "The first try.")
    site.fake.say("email-copy", "The second try.")
    visitor.say("Write")
    visitor.see("#note", "Answered by")
    visitor.see("#chatbot", "The first try.")
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "The second try.")
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("The first try.")
    assert [asked["messages"] for asked in site.fake.requests] == [[{"role": "user", "content": "Write"}]] * 2
    visitor.page.locator("#clear").click()
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("The second try.")
    visitor.see("#chatbot", "Say hello")


def test_an_error_is_said_under_the_chat_and_retry_heals_it(site: Site, visitor: Visitor):
    site.fake.say("email-copy", Answer("Out of paper.", status=500))
    visitor.say("Write")
    visitor.see("#note .trouble", "Out of paper.")
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "You said: Write")
    visitor.see("#note", "Answered by")


def test_a_suggestion_is_sent_with_one_click(site: Site, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    visitor.page.locator("#chatbot").get_by_text("What is wrong with airports?").click()
    visitor.see("#note", "Answered by Stand-up comedian")
    visitor.see("#chatbot", "You said: What is wrong with airports?")


def test_another_persona_goes_on_with_the_conversation_and_it_stays_visible_who_said_what(site: Site, visitor: Visitor):
    visitor.say("For the writer")
    visitor.see("#note", "Answered by Email copywriter")
    visitor.choose("Base model")
    visitor.see("#chatbot", "You said: For the writer")
    visitor.say("For the base")
    visitor.see("#note", "Answered by Base model")
    asked = site.fake.requests[-1]
    assert asked["model"] == "base"
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert "—" not in asked["messages"][1]["content"], "the line that says who answered is not sent"
    bylines = visitor.page.locator("#chatbot .bot em")
    expect(bylines).to_have_count(2)
    assert [line.inner_text() for line in bylines.all()] == [
        f"— Email copywriter · email-copy@{EMAIL}",
        "— Base model · base",
    ]


def test_advanced_settings_are_sent(site: Site, visitor: Visitor):
    visitor.page.locator("#advanced button").first.click()
    temperature = visitor.page.get_by_label("number input for Temperature")
    expect(temperature).to_have_value("0.6", timeout=20_000)
    temperature.fill("0.1")
    temperature.press("Tab")
    expect(visitor.page.get_by_label("range slider for Temperature")).to_have_value("0.1")
    visitor.page.wait_for_timeout(500)  # Gradio hands a typed number on a moment after the field has lost the focus
    visitor.say("Write")
    visitor.see("#note", "Answered by")
    assert (site.fake.requests[0]["temperature"], site.fake.requests[0]["max_tokens"]) == (0.1, 200)


def test_an_answer_cannot_make_the_browser_fetch_or_run_anything(site: Site, visitor: Visitor):
    trap = (
        "![x](http://127.0.0.1:9/a.png) <img src='http://127.0.0.1:9/b.png'> <script>window.caught=1</script> **bold**"
    )
    site.fake.say("email-copy", trap)
    visitor.say("Write")
    visitor.see("#chatbot .bot strong", "bold")
    assert visitor.page.evaluate("window.caught") is None
    assert all("Content Security Policy" in complaint for complaint in visitor.complaints)


def test_an_edited_question_is_asked_again_from_there(site: Site, visitor: Visitor):
    visitor.say("First")
    visitor.see("#chatbot", "You said: First")
    visitor.see("#note", "Answered by")
    visitor.say("Second")
    visitor.see("#chatbot", "You said: Second")
    expect(visitor.page.locator("#message .submit-button")).to_be_visible()
    visitor.page.locator("#chatbot").get_by_label("Edit").first.click()
    visitor.page.locator("#chatbot textarea").fill("Better")
    visitor.page.locator("#chatbot").get_by_label("Submit").click()
    visitor.see("#chatbot", "You said: Better")
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("Second")
    assert site.fake.requests[-1]["messages"] == [{"role": "user", "content": "Better"}]


def test_nothing_is_kept_in_the_browser_without_the_tick(site: Site, visitor: Visitor):
    visitor.say("Between us")
    visitor.see("#note", "Answered by")
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    visitor.page.reload()
    visitor.see("#personas", "Email copywriter")
    expect(visitor.page.get_by_label("Keep this conversation")).not_to_be_checked()
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("Between us")


def test_a_kept_conversation_outlives_a_reload_and_clear_deletes_it(site: Site, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    visitor.page.get_by_label("Keep this conversation").check()
    visitor.say("Remember me")
    visitor.see("#note", "Answered by")
    visitor.page.wait_for_function("localStorage.getItem('understudy-conversation')?.length > 200")
    visitor.page.reload()
    visitor.see("#chatbot", "You said: Remember me")
    visitor.see("#chatbot", f"stand-up@{STAND_UP}")
    expect(visitor.page.get_by_label("Keep this conversation")).to_be_checked()
    expect(visitor.page.locator("#personas input[value='stand-up']")).to_be_checked()
    visitor.page.locator("#clear").click()
    visitor.page.wait_for_function("!localStorage.length")
    visitor.page.reload()
    visitor.see("#chatbot", "Say hello")
    expect(visitor.page.get_by_label("Keep this conversation")).not_to_be_checked()


def test_a_shared_link_opens_with_the_persona_and_the_question_and_no_answer(site: Site, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    visitor.say("Why & how?")
    visitor.see("#note", "Answered by")
    visitor.page.locator("#share").click()
    link = visitor.page.locator("#link textarea, #link input").first
    expect(link).to_have_value(f"{site.url}/?persona=stand-up&prompt=Why+%26+how%3F")
    asked = len(site.fake.requests)
    visitor.page.goto(link.input_value())
    expect(visitor.page.locator("#message textarea")).to_have_value("Why & how?")
    expect(visitor.page.locator("#personas input[value='stand-up']")).to_be_checked()
    visitor.see("#chatbot", "Say hello")
    assert len(site.fake.requests) == asked, "nothing is asked before the visitor does"


def test_compare_with_base_takes_the_question_to_the_arena(site: Site, visitor: Visitor):
    visitor.page.locator("#compare").click()
    visitor.see("#note", "Ask something first")
    visitor.choose("Stand-up comedian")
    visitor.say("Why airports?")
    visitor.see("#note", "Answered by")
    visitor.page.locator("#compare").click()
    expect(visitor.page.get_by_role("tab", name="Arena")).to_have_attribute("aria-selected", "true")
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=20_000)
    row = site.battle()
    assert (row.prompt, {row.left, row.right}) == ("Why airports?", {"base", "stand-up"})


def test_the_whole_chat_works_from_the_keyboard(site: Site, visitor: Visitor):
    keyboard = visitor.page.keyboard
    visitor.page.get_by_role("radio", name="Email copywriter").focus()
    keyboard.press("ArrowRight")
    expect(visitor.page.get_by_role("radio", name="Stand-up comedian")).to_be_checked()
    visitor.see("#note", "Stand-up comedian answers next")
    expect(visitor.page.get_by_role("radio", name="Stand-up comedian")).to_be_focused()
    for _ in range(8):
        keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.matches('#message textarea')"):
            break
    keyboard.type("By hand")
    keyboard.press("Enter")
    visitor.see("#note", "Answered by Stand-up comedian")
    for name in ("Retry", "Clear", "Share link", "Compare with base"):
        while not visitor.page.evaluate("document.activeElement.matches('#chat-buttons *')"):
            keyboard.press("Tab")
        expect(visitor.page.locator("#chat-buttons").get_by_role("button", name=name)).to_be_focused()
        keyboard.press("Tab")


def test_two_visitors_at_once_have_two_conversations(browser: Browser, site: Site, visitor: Visitor):
    held = site.fake.say("email-copy", Answer("For the first one only.", hold_after=2))
    other = Visitor(browser, site.url)
    other.see("#personas", "Email copywriter")
    visitor.say("I am the first")
    visitor.see("#chatbot", "For the")
    other.choose("Stand-up comedian")
    other.say("I am the second")
    other.see("#note", "Answered by Stand-up comedian")
    held.release.set()
    visitor.see("#chatbot", "For the first one only.")
    expect(visitor.page.locator("#personas input[value='email-copy']")).to_be_checked()
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("second")
    expect(other.page.locator("#chatbot")).not_to_contain_text("first")
    assert [len(asked["messages"]) for asked in site.fake.requests] == [1, 1]
    other.leave()
