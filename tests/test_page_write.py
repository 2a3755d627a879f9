"""Section "write" in a real browser: the figures of what is typed, and what is written."""

import math
import re

import pytest

from charlm.page.document import document
from charlm.page.weights import Inside
from charlm.page.write import section
from tests.test_counts_model import with_counts
from tests.tiny import tiny_labelled, tiny_model

DOCUMENT = {"tokens": "abcdé \n", "sequences": "document", "context": "newline", "spread": 1.5}
NUMBER = r"-?[0-9]+\.[0-9]+"


def opened(model, tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(document("A model", [section(model)]))
    return path, Inside.of(model).model


def type_in(page, text):
    """Type into the prompt, and return the log-probability and bits that are shown of it."""
    page.one("[name=prompt]").clear()
    page.one("[name=prompt]").send_keys(text)
    page.until("document.querySelector('#write .typed').textContent === arguments[0]", text)
    return [float(found) for found in re.findall(NUMBER, page.one("#write .score").text)]


def write(page, **settings):
    """Write with these settings, and return the text and why it ended."""
    for name, value in settings.items():
        page.one(f"[name={name.replace('_', '-')}]").clear()
        page.one(f"[name={name.replace('_', '-')}]").send_keys(str(value))
    page.run("document.querySelector('#write .why').textContent = ''")
    page.one("#write button:not(.stop)").click()
    why = page.until("document.querySelector('#write .why').textContent")
    return page.run("return document.querySelector('#write .written').textContent"), why


@pytest.mark.parametrize("http", [False, True], ids=["file", "http"])
def test_what_is_typed_has_the_figures_of_charlm_score(http, tmp_path, page_of):
    path, inside = opened(with_counts(tiny_model(**DOCUMENT)), tmp_path)
    with page_of(path, http=http) as page:
        for text in ("ab", "abba", "abbé xz", "d", "é\na"):
            nats, bits = type_in(page, text)
            score = inside.score(text)
            assert nats == pytest.approx(score.logprob, abs=1e-4 * len(text))
            assert bits == pytest.approx(-nats / math.log(2) / len(text), abs=1e-3)
        shown = [float(cell.text.rstrip(" %")) for cell in page.all("#write .next td:nth-child(2)")]
        found = list(inside.next_tokens("é\na").items())[: len(shown)]
        assert shown == pytest.approx([100 * p for _, p in found], abs=0.051)
        names = [cell.text for cell in page.all("#write .next tbody th")]
        seen = {"\n": "↵", " ": "␣", "<eos>": "end of text"}
        assert names == [seen.get(name, name) for name, _ in found]


def test_a_seed_writes_the_same_again_and_temperature_0_what_is_most_probable(tmp_path, page_of):
    path, inside = opened(tiny_model(**DOCUMENT), tmp_path)
    with page_of(path) as page:
        type_in(page, "ab")
        first, why = write(page, seed=7, most=40)
        assert (len(first), first[:2]) == (42, "ab") or "end of the text" in why
        assert write(page)[0] == first
        assert write(page, seed=8)[0] != first
        best, why = write(page, temperature=0, most=20)
        assert best == inside.sample(20, "ab", temperature=0)
        assert write(page, temperature=1, top_k=1)[0] == best
        cut, why = write(page, stop=best[5:7])
        assert (cut, "text to stop at" in why) == (best[: best.index(best[5:7], 2)], True)


def test_writing_goes_on_while_the_page_answers_and_stops_when_asked(tmp_path, page_of):
    path, _ = opened(tiny_model(**DOCUMENT), tmp_path)
    with page_of(path) as page:
        page.one("[name=most]").clear()
        page.one("[name=most]").send_keys("5000")
        page.one("#write button:not(.stop)").click()
        page.until("document.querySelector('#write .written').textContent.length > 2")
        page.one("#write .stop").click()
        page.until("document.querySelector('#write .why').textContent === 'Stopped.'")
        assert page.run("return document.getElementById('say').textContent") == "Stopped."
        written = page.run("return document.querySelector('#write .written').textContent")
        assert 2 < len(written) < 4000


def test_labels_are_chosen(tmp_path, page_of):
    model = tiny_labelled("abc")
    path, inside = opened(model, tmp_path)
    with page_of(path) as page:
        for label in model.labels:
            page.one("[name=label]").send_keys(label)
            nats, _ = type_in(page, "abc")
            assert nats == pytest.approx(inside.given(label).score("abc").logprob, abs=4e-4)


def test_without_script_the_figures_stay(tmp_path, page_of):
    path, _ = opened(tiny_model(**DOCUMENT), tmp_path)
    with page_of(path, script=False) as page:
        assert "JavaScript" in page.one("noscript p").text
        assert not page.one("#write form").is_displayed()
        assert "weights as float16" in page.one("#write").text


def test_nobody_is_shut_out(tmp_path, page_of):
    path, _ = opened(with_counts(tiny_labelled("abc ")), tmp_path)
    for settings in ({}, {"dark": True}, {"width": 360}):
        with page_of(path, **settings) as page:
            type_in(page, "abc")
            assert page.run("return document.documentElement.scrollWidth <= innerWidth")
            assert page.axe() == []
