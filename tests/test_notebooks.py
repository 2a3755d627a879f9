"""What notebooks show: plain tables and underlined texts, which no site that shows notebooks has to
clean."""

import re

import pytest

from charlm.notebooks import as_text
from charlm.scoring import Score
from tests.test_counts_model import with_counts
from tests.test_page import HOSTILE, Reader
from tests.tiny import tiny_model

PLAIN = {"table", "caption", "tbody", "tr", "th", "td", "pre", "u", "b", "p", "small"}
MARKS = re.compile(r"<u>(?:<b>)?(.*?)(?:</b>)?</u>", re.DOTALL)
STEPS = [0.5, 1, 2, 4, 8]


def plain(html):
    """Return the text of HTML that has no attribute and no element but those that all sites let
    through."""
    reader = Reader(html)
    assert {name for name, _ in reader.tags} <= PLAIN
    assert not any(attributes for _, attributes in reader.tags)
    return "".join(reader.texts.values())


def test_what_costs_much_is_underlined_and_the_most_is_bold():
    text = "abcde\u0301f"
    bits = [3.9, 4, 8, 0, 7, 7, 0, 9]
    html = as_text(text, [*text, "<eos>"], bits, True, STEPS)
    assert html.startswith(
        "<pre>a<u>b</u><u><b>c</b></u>d<u><b>e\u0301</b></u>f<u><b>¶</b></u></pre>"
    )
    assert "4 bits and more" in plain(html)


def test_words_stand_in_their_text_and_bytes_by_themselves():
    html = as_text("it is, so", ["it", "is", ",", "so"], [1, 9, 9, 1], False, [1, 2, 4, 8, 16])
    assert html.startswith("<pre>it <u>is</u><u>,</u> so</pre>")
    html = as_text("é", ["\\xc3", "\\xa9"], [9, 1], False, STEPS)
    assert html.startswith("<pre><u><b>\\xc3 </b></u>\\xa9 </pre>")


def test_a_long_text_is_cut():
    html = as_text("a" * 2500, ["a"] * 2500, [9] * 2500, False, STEPS)
    assert len(MARKS.findall(html)) == 2000
    assert "… and 500 more" in html


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_hostile_texts_stay_texts(hostile):
    model = tiny_model(sorted(set(hostile)), sequences="document")
    model.facts["corpus"] = [hostile]
    assert "Language model of documents" in plain(model._repr_html_())
    shown = plain(model.score(hostile, per_token=True)._repr_html_())
    assert "log-probability" in shown


def test_a_model_says_what_it_is():
    model = with_counts(tiny_model())
    model.facts |= {"valid_nats": 1.25, "corpus": ["a.txt", "b.txt"]}
    shown = plain(model._repr_html_())
    for part in ("chars, 4", "1 × 6 gru", f"{model.counts_weight:.4f}", "a.txt, b.txt", "1.2500"):
        assert part in shown


def test_a_score_shows_its_figures():
    score = tiny_model().score("abba")
    shown = plain(score._repr_html_())
    assert "<pre>" not in score._repr_html_()
    assert f"{score.logprob:.4f} nats" in shown
    assert f"{score.bits_per_char:.4f}" in shown
    assert "perplexity" not in plain(Score("", 0.0, 0, 0)._repr_html_())
