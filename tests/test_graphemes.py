"""Grapheme clusters: by Intl.Segmenter of Node, script by script, and hostile ones in linear
time."""

import json
import random
import shutil
import subprocess
from itertools import pairwise

import pytest

from charlm.text.graphemes import ends

# Letters of a script with what clings to them, and a text of ours in it.
SCRIPTS = {
    "Latin": ("abcdeé", "\u0301\u0323\u200d", "e\u0301te\u0301, naïve, q\u0323\u0307uick"),
    "Greek": ("αβγω", "\u0301\u0345", "ἀγαθὸς φίλος"),
    "Hebrew": ("אבגש", "\u05b0\u05b8\u05bc\u05c1", "שָׁלוֹם לְכֻלָּם"),
    "Arabic": ("ابتسلمو", "\u064e\u064f\u0650\u0651\u0652\u0670\u200d", "السَّلامُ عَلَيْكُم يا صَديقي"),
    "Devanagari": ("कषतरगन", "\u094d\u093e\u093f\u0940\u0902\u093c\u200d\u200c", "क्षत्रिय राष्ट्र की हिन्दी"),
    "Bengali": ("কষতরগন", "\u09cd\u09be\u09bf\u09c7\u0981\u09bc\u200d\u200c", "ক্ষুধা নিয়ে কথা স্ত্রী আন্দোলন"),
    "Gujarati": ("કષતર", "\u0acd\u0abe\u0abf\u0a82", "ક્ષમા કરો"),
    "Tamil": ("கதமந", "\u0bcd\u0bbe\u0bbf\u0bc6", "தமிழ் மொழி கொடு"),
    "Telugu": ("కతరమ", "\u0c4d\u0c3e\u0c3f\u0c46", "తెలుగు క్షేమం"),
    "Malayalam": ("കതമര", "\u0d4d\u0d3e\u0d3f\u0d46", "മലയാളം ക്ഷമ"),
    "Sinhala": ("කතරය", "\u0dca\u0dcf\u0dd2\u200d", "ශ්‍රී ලංකා"),
    "Thai": ("กขนม", "\u0e31\u0e34\u0e48\u0e33", "น้ำใจคนไทย"),
    "Khmer": ("កខតម", "\u17d2\u17b6\u17c1", "ខ្ញុំស្រឡាញ់"),
    "Myanmar": ("ကခတမ", "\u1039\u103a\u1031\u103b", "မြန်မာ စကား"),
    "Hangul": ("ᄒᄀ한가", "\u1161\u11ab\u1160", "한글과 \u1112\u1161\u11ab\u1100\u1173\u11af"),
    "Chinese": ("春眠不觉晓", "\ufe00", "床前明月光。"),
    "emoji": ("👩👧🚀❤", "\u200d\ufe0f🏽", "👩‍👩‍👧 👍🏽 ❤️‍🔥 🇧🇩🇫🇷🇯 1️⃣"),
    "lines": ("a b", "\r\n\t\x00\u0301\u0600", "one\r\ntwo\n\rthree\u2028"),
}  # fmt: skip
SEGMENTER = """
const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
const clusters = (text) => [...segmenter.segment(text)].map((each) => each.segment);
process.stdout.write(JSON.stringify(texts.map(clusters)));
"""


def texts_of(script, count=300):
    letters, marks, text = SCRIPTS[script]
    rng = random.Random(script)
    pool = letters + 2 * marks
    return [text, *("".join(rng.choices(pool, k=rng.randint(1, 9))) for _ in range(count))]


@pytest.fixture(scope="module")
def segmented():
    """What Node makes of the texts of each script."""
    if shutil.which("node") is None:
        pytest.skip("there is no node, whose Intl.Segmenter is the oracle")
    given = json.dumps([text for script in SCRIPTS for text in texts_of(script)])
    done = subprocess.run(
        ["node", "-e", SEGMENTER], input=given, capture_output=True, text=True, check=True
    )
    found = iter(json.loads(done.stdout))
    return {script: [next(found) for _ in texts_of(script)] for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS)
def test_clusters_are_those_of_the_browser(script, segmented):
    for text, clusters in zip(texts_of(script), segmented[script], strict=True):
        found = [text[a:b] for a, b in pairwise([0, *ends(text).tolist()])]
        assert found == clusters, ascii(text)


def test_without_an_oracle_the_known_ones_are_whole():
    """A conjunct of Bengali, a family, two flags, Hangul in parts, an end of line of two
    characters."""
    text = "স্ত্রী" + "👩‍👩‍👧" + "🇧🇩🇫🇷" + "\u1112\u1161\u11ab" + "\r\n" + "e\u0301"
    assert ends(text).tolist() == [6, 11, 13, 15, 18, 20, 22]
    assert ends("").tolist() == []


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("e" + "\u0301" * 200_000, 1),
        ("क" + "\u094d" * 200_000, 1),
        ("क" + "\u094d\u0301" * 100_000 + "क", 1),
        ("\u0600" * 200_000 + "\n", 2),
        ("\u1100" * 200_000, 1),
        ("🚀" + "\u0301" * 200_000 + "🚀", 2),
        ("👩‍" * 66_000, 1),
        ("\ud800" * 200_000, 200_000),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_the_longest_are_read_once(text, clusters):
    """What read them twice would take minutes."""
    assert len(ends(text)) == clusters
