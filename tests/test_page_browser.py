"""The frame of the page in a real browser: what it shows, and what it must not do."""

import pytest

from charlm.page.document import Section, document
from charlm.page.markup import join, tag
from tests.test_page import HOSTILE, shown


def written(path, sections, title="A model"):
    path.write_bytes(document(title, sections))
    return path


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_hostile_texts_are_shown_as_they_are(hostile, tmp_path, page_of):
    sections = [Section("one", hostile, tag("pre", {"id": "words"}, hostile), {"text": hostile})]
    with page_of(written(tmp_path / "page.html", sections, hostile)) as page:
        assert page.run("return document.getElementById('words').textContent") == shown(hostile)
        units = page.run(
            "const { text } = JSON.parse(document.getElementById('data-one').textContent);"
            "return Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));"
        )  # as numbers: no lone surrogate comes through the driver
        assert b"".join(unit.to_bytes(2, "little") for unit in units) == hostile.encode(
            "utf-16-le", "surrogatepass"
        )
        assert len(page.all("script")) == 2
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("http", [False, True], ids=["file", "http"])
def test_the_policy_lets_the_page_s_own_style_and_script_through_and_no_other(
    tmp_path, page_of, http
):
    body = join(
        tag("p", {"class": "unseen"}, "hidden"),
        tag("pre", {"data-copy": True}, "charlm train x.txt"),
    )
    path = written(tmp_path / "page.html", [Section("one", "One", body)])
    with page_of(path, http=http) as page:
        assert page.one("#one p.unseen").size["height"] <= 1
        button = page.one("button")
        button.click()
        said = page.until("document.getElementById('say').textContent")
        assert said in ("Copied", "Selected: copy it")
        assert button.text == said
    content = path.read_bytes().replace(
        b"</main>", b"<script>document.title = 'broken'</script></main>"
    )
    path.write_bytes(content.replace(b"<style>", b"<style>h1 { color: red }"))
    red = "getComputedStyle(document.querySelector('h1')).color === 'rgb(255, 0, 0)'"
    seen = []
    with (
        pytest.raises(AssertionError, match="Content Security Policy"),
        page_of(path, http=http) as page,
    ):
        seen += page.run(f"return [document.title, {red}]")
    assert seen == ["A model", False]


def test_a_request_of_a_page_is_noticed(tmp_path, page_of):
    (tmp_path / "page.html").write_text("<!doctype html><title>x</title><img src=other.png>")
    with (
        pytest.raises(AssertionError, match=r"request: .*other\.png"),
        page_of(tmp_path / "page.html"),
    ):
        pass


def test_without_script_the_text_stays(tmp_path, page_of):
    sections = [Section("one", "One", tag("p", None, "It stands."), {"n": 1})]
    with page_of(written(tmp_path / "page.html", sections), script=False) as page:
        assert page.one("#one p").text == "It stands."


def test_an_empty_frame_shuts_nobody_out(tmp_path, page_of):
    sections = [
        Section(name, name.title(), tag("p", {"class": "note"}, "Words."))
        for name in ("one", "two")
    ]
    path = written(tmp_path / "page.html", sections)
    for dark in (False, True):
        with page_of(path, dark=dark) as page:
            assert page.axe() == []
