"""The judges' page in a real browser: headless Chromium through Playwright, over a real server."""

from pathlib import Path

import pytest

from roboscape.human_evaluation.answers import AnswerFile
from roboscape.human_evaluation.trials import read_trials
from tests.chromium import WITHIN_S, browser, until
from tests.human_evaluation.test_judge import TOKEN, folder, serving

__all__ = ["browser", "folder"]

SCRIPTS = Path(__file__).parents[1] / "play"
VIDEOS_PLAY = "[...document.querySelectorAll('video')].every((one) => one.currentTime > 0)"


@pytest.fixture
def page(browser, folder):
    with serving(folder) as server:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(1000 * WITHIN_S)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/{TOKEN}/")
        until(page, "document.documentElement.dataset.ready")
        yield page
        context.close()
        assert not problems


def choose(page, **values):
    for name, value in values.items():
        page.check(f"input[name={name}][value='{value}']")


def test_a_person_watches_answers_and_comes_to_the_end(page, folder):
    until(page, VIDEOS_PLAY)
    assert page.inner_text("#progress").startswith("0 of 2")
    before = len(AnswerFile(folder).read())
    choose(page, left_success="yes", right_success="no", left_plausibility=4, recorded="right")
    # A question is left open, so the browser keeps the form.
    page.click("button.primary")
    assert page.inner_text("#progress").startswith("0 of 2")
    choose(page, right_plausibility=2)
    page.click("button.primary")
    until(page, "document.getElementById('progress').textContent.startsWith('1 of 2')")
    choose(page, left_success="no", right_success="unclear", recorded="unclear")
    choose(page, left_plausibility=1, right_plausibility=5)
    page.click("button.primary")
    until(page, "document.getElementById('message').textContent.includes('last pair')")
    first, second = AnswerFile(folder).read()[before:]
    assert {first.trial, second.trial} == {one.id for one in read_trials(folder).trials}
    assert (first.left_success, first.recorded, first.right_plausibility) == ("yes", "right", 2)
    assert (second.right_success, second.recorded) == ("unclear", "unclear")
    page.reload()
    until(page, "document.documentElement.dataset.ready")
    assert page.inner_text("#progress").startswith("2 of 2")


def test_an_answer_that_the_server_does_not_get_is_not_lost(page, folder):
    page.route("**/answers", lambda route: route.abort())
    choose(page, left_success="yes", right_success="no", recorded="right")
    choose(page, left_plausibility=4, right_plausibility=2)
    page.click("button.primary")
    until(page, "document.getElementById('message').textContent.includes('not kept')")
    assert page.is_checked("input[name=recorded][value=right]")
    assert page.inner_text("#progress").startswith("0 of 2")


@pytest.mark.parametrize("width", [390, 1920])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_sticks_out_and_everything_has_a_name_and_contrast(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate((SCRIPTS / "unnamed.js").read_text()) == []
    assert page.evaluate((SCRIPTS / "contrast.js").read_text()) == []
