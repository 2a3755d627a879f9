"""The shipped data: the agreement corpus says what it should, nothing gives its verb away;
questions, dates, names.
"""

import re
from collections import Counter, defaultdict
from datetime import date, datetime
from itertools import islice
from pathlib import Path

import pytest

import charlm
from data import agreement, dates, iso_dates, number_words, questions

DATA = Path(agreement.__file__).parent
CORPUS = (DATA / "agreement.txt").read_text(encoding="utf-8").splitlines()
PAIRS = list(agreement.held_out())
IS_PLURAL = {
    noun: plural
    for nouns in (agreement.ANIMALS, agreement.PLACES)
    for pair in nouns.items()
    for noun, plural in zip(pair, (False, True), strict=True)
}


def one_of(words):
    return f"(?:{'|'.join(words)})"


def grammar():
    """Return the language as a regular expression, written apart from the generator."""
    adjectives = f"(?:{one_of(agreement.ADJECTIVES)} )*"
    animal = f"the {adjectives}{one_of([*agreement.ANIMALS, *agreement.ANIMALS.values()])}"
    place = f"the {adjectives}{one_of([*agreement.PLACES, *agreement.PLACES.values()])}"
    places = f"(?: {one_of(agreement.PREPOSITIONS)} {place})"
    verb = one_of(agreement.TRANSITIVE)
    clause = f"(?:{one_of(agreement.INTRANSITIVE)}|{verb} {animal}{places}*|{animal}{places}* {verb})"
    between = f"(?: {one_of(agreement.ADVERBS)}|, which {clause},|{places}+)?"
    return re.compile(f"{animal}{between} (?:was|were) {one_of(agreement.STATES)}\\.")


def parse(sentence):
    """Return the numbers of head, distractors and verb (True: plural), and the words between head and verb."""
    words = re.findall("[a-z]+", sentence)
    numbers = [(place, IS_PLURAL[word]) for place, word in enumerate(words) if word in IS_PLURAL]
    (head_place, head), *distractors = numbers
    verb_place = len(words) - 2
    return head, [plural for _, plural in distractors], words[verb_place] == "were", verb_place - head_place - 1


PARSED = [parse(sentence) for sentence in CORPUS]


def share(hits):
    hits = list(hits)
    return sum(hits) / len(hits)


# The corpus


def test_corpus_is_what_the_generator_writes(capsys):
    agreement.main([])
    assert capsys.readouterr().out.encode() == (DATA / "agreement.txt").read_bytes()


def test_corpus_is_as_large_as_promised():
    assert len(CORPUS) == len(set(CORPUS)) == agreement.CORPUS_SENTENCES
    assert (DATA / "agreement.txt").stat().st_size < 500_000


def test_another_seed_gives_another_corpus():
    assert not set(agreement.corpus(seed=1, count=50)) >= set(agreement.corpus(seed=2, count=50))


def test_every_sentence_is_in_the_language():
    language = grammar()
    assert [sentence for sentence in CORPUS if not language.fullmatch(sentence)] == []


def test_every_verb_agrees_with_its_head():
    wrong = [sentence for sentence, (head, _, verb, _) in zip(CORPUS, PARSED, strict=True) if head != verb]
    assert wrong == []


def test_distances_are_spread_evenly():
    counts = [sum(distance == wanted for *_, distance in PARSED) for wanted in range(agreement.LONGEST + 1)]
    assert sum(counts) == len(CORPUS)
    assert min(counts) > 0.7 * len(CORPUS) / len(counts)
    assert max(counts) < 1.3 * len(CORPUS) / len(counts)


@pytest.mark.parametrize(("low", "high"), [(0, 20), (0, 0), (1, 9), (10, 20)], ids=["all", "at once", "near", "far"])
def test_both_verbs_are_equally_frequent(low, high):
    assert share(verb for *_, verb, distance in PARSED if low <= distance <= high) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(3, 20), (3, 9), (10, 14), (15, 20)])
def test_the_nearest_noun_does_not_tell_the_verb(low, high):
    hits = (nouns[-1] == verb for _, nouns, verb, distance in PARSED if nouns and low <= distance <= high)
    assert share(hits) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(3, 20), (3, 9), (10, 14), (15, 20)])
def test_the_majority_of_nouns_does_not_tell_the_verb(low, high):
    within = ((nouns, verb) for _, nouns, verb, distance in PARSED if nouns and low <= distance <= high)
    decided = ((sum(nouns) * 2 > len(nouns)) == verb for nouns, verb in within if sum(nouns) * 2 != len(nouns))
    assert share(decided) == pytest.approx(0.5, abs=0.05)


# Minimal pairs


def test_pairs_differ_in_the_verb_alone():
    for pair in PAIRS:
        right, wrong = pair.right.split(), pair.wrong.split()
        assert {right.pop(-2), wrong.pop(-2)} == {"was", "were"}
        assert right == wrong


def test_pairs_are_right_and_know_their_distance():
    for pair in PAIRS:
        head, _, verb, distance = parse(pair.right)
        assert (head, pair.distance) == (verb, distance)


def test_pairs_are_not_in_the_corpus():
    assert len({pair.right for pair in PAIRS}) == agreement.CHECKED_PAIRS
    assert not set(CORPUS) & {sentence for pair in PAIRS for sentence in (pair.right, pair.wrong)}


def test_pairs_are_written_as_a_table(capsys):
    agreement.main(["--pairs", "3"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows == [[str(pair.distance), pair.right, pair.wrong] for pair in PAIRS[:3]]


def test_negative_numbers_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        agreement.main(["--pairs", "-1"])
    assert "cannot be negative" in capsys.readouterr().err


# The same as classes


def classes(capsys, *arguments):
    """Return what `--classes` writes: (label, words before the verb) of each line."""
    agreement.main(["--classes", *arguments])
    return [tuple(line.split("\t")) for line in capsys.readouterr().out.splitlines()]


def test_classes_are_the_sentences_cut_at_their_verb(capsys):
    cut = [tuple(sentence.rsplit(" ", 2)[1::-1]) for sentence in CORPUS]
    assert classes(capsys, "--count", "3000") == list(dict.fromkeys(cut))[:3000]


def test_classes_held_out_are_as_many_and_others(capsys):
    known, held = classes(capsys, "--count", "500"), classes(capsys, "--count", "500", "--pairs", "200")
    assert len({before for _, before in known} | {before for _, before in held}) == 700
    assert len(held) == 200


def test_classes_are_not_checked(capsys):
    with pytest.raises(SystemExit, match="2"):
        agreement.main(["--classes", "--check", "some/model"])
    assert "takes no --classes" in capsys.readouterr().err


# The check of a model


class Judge:
    """A stand-in for a model: prefers one sentence of each pair, or neither."""

    def __init__(self, right, wrong):
        self.scored = dict.fromkeys((pair.right for pair in PAIRS), right)
        self.scored |= dict.fromkeys((pair.wrong for pair in PAIRS), wrong)

    def scores(self, texts):
        return (self.scored[text] for text in texts)


class NearestNoun:
    """A stand-in that lets the noun before the verb decide."""

    def scores(self, texts):
        for head, nouns, verb, _ in map(parse, texts):
            yield float([head, *nouns][-1] == verb)


def table(capsys, monkeypatch, model):
    """Return what `--check` prints for a model: {band: (pairs, share)}."""
    monkeypatch.setattr(charlm, "load", lambda path: {"some/model": model}[path])
    agreement.main(["--check", "some/model"])
    title, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert title == ["distance", "pairs", "right"]
    return {band: (int(count), share) for band, count, share in rows}


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [(-20.0, -20.5, "100.00%"), (-20.5, -20.0, "0.00%"), (-20.0, -20.0, "0.00%")],
    ids=["prefers right", "prefers wrong", "ties"],
)
def test_check_counts_the_preferred(capsys, monkeypatch, right, wrong, expected):
    result = table(capsys, monkeypatch, Judge(right, wrong))
    assert list(result) == ["0", "1-3", "4-6", "7-9", "10-14", "15-20", "10+"]
    assert {share for _, share in result.values()} == {expected}


def test_check_bands_hold_every_pair(capsys, monkeypatch):
    counts = {band: count for band, (count, _) in table(capsys, monkeypatch, Judge(1.0, 0.0)).items()}
    assert counts["10+"] == counts["10-14"] + counts["15-20"]
    assert sum(counts.values()) - counts["10+"] == len(PAIRS)


def test_check_sees_through_the_nearest_noun(capsys, monkeypatch):
    result = table(capsys, monkeypatch, NearestNoun())
    assert result["0"][1] == "100.00%"
    assert 45 < float(result["10+"][1].rstrip("%")) < 55


def test_check_of_no_pairs_has_no_share(capsys, monkeypatch):
    monkeypatch.setattr(charlm, "load", lambda path: Judge(1.0, 0.0))
    agreement.main(["--check", "some/model", "--pairs", "0"])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["10+", "0", "-"]


def test_check_without_a_model_says_so(tmp_path):
    with pytest.raises(SystemExit, match=r"agreement\.py: no model at"):
        agreement.main(["--check", str(tmp_path / "none")])


# Questions

QUESTIONS = [tuple(line.split("\t")) for line in (DATA / "questions.tsv").read_text(encoding="utf-8").splitlines()]
ASKS = {  # what asks for a class, in words of which one must stand in each of its questions
    "person": "who whom whose which",
    "place": "where which what",
    "time": "when which what how",
    "number": "how what",
    "reason": "why which what",
    "way": "how which what",
    "thing": "what which",
    "yes-no": "did has was whether if",
}


def test_questions_are_what_the_generator_writes(capsys):
    questions.main([])
    assert capsys.readouterr().out.encode() == (DATA / "questions.tsv").read_bytes()


def test_questions_differ_and_are_as_many_as_promised():
    assert len(QUESTIONS) == len({text for _, text in QUESTIONS}) == questions.LINES
    assert (DATA / "questions.tsv").stat().st_size < 150_000


def test_another_seed_asks_otherwise():
    first, second = (set(islice(questions.lines(seed), 100)) for seed in (0, 1))
    assert len(first & second) < 30


def test_no_class_is_rare():
    counts = Counter(label for label, _ in QUESTIONS)
    assert counts.keys() == ASKS.keys()
    assert min(counts.values()) > questions.LINES / len(ASKS) * 0.8


def test_every_question_is_a_sentence():
    assert [text for _, text in QUESTIONS if not re.fullmatch("[A-Z][A-Za-z ,:;]+[?.]", text)] == []


def test_every_question_has_a_word_that_asks_for_its_class():
    missing = [text for label, text in QUESTIONS if not set(ASKS[label].split()) & set(text.lower().split())]
    assert missing == []


def test_the_first_word_does_not_tell_the_class():
    """Half the lines begin with a polite form, another question or a clause."""
    by_word = defaultdict(Counter)
    for label, text in QUESTIONS:
        by_word[text.split()[0]][label] += 1
    assert sum(max(counts.values()) for counts in by_word.values()) < 0.65 * len(QUESTIONS)


def test_a_negative_number_of_questions_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        questions.main(["--count", "-1"])
    assert "cannot be negative" in capsys.readouterr().err


# Dates and times

DATES = [
    [tuple(line.split("\t")) for line in sentence.split("\n")]
    for sentence in (DATA / "dates.tsv")
    .read_text(encoding="utf-8")
    .removesuffix("\n\n")
    .split("\n\n")
]
_MONTH, _DAY, _NTH = (one_of(words) for words in (dates.MONTHS, dates.WEEKDAYS, dates.ORDINALS))
_HOUR, _COUNT = one_of([*dates.HOURS, r"\d+"]), one_of([*dates.HOURS[1:], r"\d+"])
SPANS = {  # what a span of each kind reads like, written apart from the generator
    "DATE": rf"(?:(?:next |last |this |early )?(?:{_DAY}|{_MONTH}|week|month)|tomorrow|yesterday|today|the day after "
            rf"tomorrow|the end of {_MONTH}|(?:{_DAY} (?:, )?)?\d+ {_MONTH}(?: \d{{4}})?|{_MONTH} \d+(?:st|nd|rd|th)|"
            rf"{_MONTH} \d{{4}}|the (?:{_NTH}|\d+(?:st|nd|rd|th))(?: of {_MONTH})?|\d{{4}}|\d+[-.]\d+[-.]\d+|"
            rf"(?:{_COUNT} (?:days|weeks)|a year|an hour) ago)",
    "TIME": rf"(?:{_HOUR}(?: o'clock| am| pm| in the morning| in the evening)?|\d+:\d\d|half past {_HOUR}|"
            rf"{one_of(dates.MINUTES)} (?:to|past) {_HOUR}|a quarter to {_HOUR}|noon|midnight)",
    "DURATION": rf"(?:{_COUNT} (?:hours|minutes|days|weeks)(?: and a half)?|half an hour|an? (?:hour|week|year))",
}  # fmt: skip


def spans_of(sentence):
    """Return (kind, words) of each span; one begins at its B- and nowhere else."""
    found = []
    for word, tag in sentence:
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag != "O":
            assert tag == f"I-{found[-1][0]}"
            found[-1][1].append(word)
    return [(kind, " ".join(words)) for kind, words in found]


def test_dates_are_what_the_generator_writes(capsys):
    dates.main([])
    assert capsys.readouterr().out.encode() == (DATA / "dates.tsv").read_bytes()


def test_dates_differ_and_are_as_many_as_promised():
    assert (
        len(DATES)
        == len({tuple(word for word, _ in sentence) for sentence in DATES})
        == dates.SENTENCES
    )
    assert (DATA / "dates.tsv").stat().st_size < 130_000


def test_every_span_is_what_its_kind_reads_like():
    """The first word of a sentence has a capital letter, whatever it is."""
    found = [
        (kind, text[0].lower() + text[1:], text)
        for sentence in DATES
        for kind, text in spans_of(sentence)
    ]
    wrong = [
        (kind, text) for kind, small, text in found
        if not (re.fullmatch(SPANS[kind], small) or re.fullmatch(SPANS[kind], text))
    ]  # fmt: skip
    assert wrong == []
    counts = Counter(kind for kind, *_ in found)
    assert counts.keys() == SPANS.keys()
    assert min(counts.values()) > 250


def test_spans_of_one_kind_may_stand_side_by_side_or_apart_by_a_word():
    """So that ten to four is one time and two."""
    texts = ["\n".join(f"{word} {tag}" for word, tag in sentence) for sentence in DATES]
    assert any(
        re.search(r"^ten B-TIME\nto I-TIME\n\w+ I-TIME", text, re.MULTILINE) for text in texts
    )
    assert any(re.search(r"^\w+ B-TIME\nto O\n\w+ B-TIME", text, re.MULTILINE) for text in texts)


def test_a_word_does_not_tell_its_tag():
    """The commonest tag of each word in the first 800 sentences finds a third of the spans of the
    rest.
    """
    by_word, right, either = defaultdict(Counter), 0, 0
    for word, tag in (token for sentence in DATES[:800] for token in sentence):
        by_word[word][tag] += 1
    for sentence in DATES[800:]:
        gold, kinds = spans_of(sentence), []
        for word, _ in sentence:
            tag = by_word[word].most_common(1)[0][0] if word in by_word else "O"
            kinds.append(
                (
                    word,
                    f"B{tag[1:]}"
                    if tag[0] == "I" and (not kinds or kinds[-1][1][1:] != tag[1:])
                    else tag,
                )
            )
        said = spans_of(kinds)
        right += sum((Counter(gold) & Counter(said)).values())
        either += len(gold) + len(said)
    assert 2 * right / either < 0.5
    assert min(
        by_word[word].keys() >= {"O"} and len(by_word[word]) > 1
        for word in ("May", "April", "ten", "second")
    )


def test_dates_held_out_are_others(capsys):
    dates.main(["--count", "300", "--held-out", "40"])
    held = capsys.readouterr().out
    dates.main(["--count", "340"])
    assert capsys.readouterr().out.endswith(f"\n\n{held}")
    assert held.count("\n\n") == 40


def test_a_negative_number_of_sentences_is_refused(capsys):
    for wrong in ("--count", "--held-out"):
        with pytest.raises(SystemExit, match="2"):
            dates.main([wrong, "-1"])
        assert "cannot be negative" in capsys.readouterr().err


# The names, and the page about them all


def test_dinosaurs_are_sorted_names():
    text = (DATA / "dinosaurs.txt").read_bytes().decode("ascii")
    names = text.removesuffix("\n").split("\n")
    assert text.endswith("\n")
    assert names == sorted(set(names))
    assert len(names) >= 700
    assert [name for name in names if not re.fullmatch("[A-Z][a-z]+", name)] == []


def test_readme_speaks_of_every_file():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    files = (file.relative_to(DATA) for file in DATA.rglob("*") if file.is_file())
    others = {str(file) for file in files if "__pycache__" not in file.parts} - {"README.md"}
    assert {name for name in others if f"`{name}`" not in readme} == set()


# Numbers and their names, dates and how they are written


@pytest.mark.parametrize("module", [number_words, iso_dates])
def test_pairs_are_what_the_generator_writes_and_those_held_out_are_others(capsys, module):
    file = Path(module.__file__).with_suffix(".tsv")
    module.main([])
    assert capsys.readouterr().out.encode() == file.read_bytes()
    assert file.stat().st_size < 160_000
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len({line.split("\t")[1] for line in lines}) == module.LINES
    module.main(["--count", "300", "--held-out", "40"])
    held_out = capsys.readouterr().out.splitlines()
    module.main(["--count", "340"])
    assert capsys.readouterr().out.splitlines()[300:] == held_out
    module.main(["--seed", "1", "--count", "40"])
    assert capsys.readouterr().out.splitlines() != held_out
    with pytest.raises(SystemExit):
        module.main(["--count", "-1"])


def value_of(name):
    """Return the number that words mean, found apart from the generator."""
    total = group = 0
    for word in re.findall("[a-z]+", name):
        if word == "thousand":
            total, group = 1000 * group, 0
        elif word == "hundred":
            group *= 100
        elif word in number_words.SMALL:
            group += number_words.SMALL.index(word)
        elif word != "and":
            group += 20 + 10 * number_words.TENS.index(word)
    return total + group


def test_names_mean_their_numbers():
    pairs = list(islice(number_words.pairs(seed=5), 2000))
    for digits, name in pairs:
        assert value_of(name) == int(digits.replace(",", ""))
    assert {len(digits.replace(",", "")) for digits, _ in pairs} == set(range(1, 7))
    assert number_words.words(0) == "zero"
    assert number_words.words(700_007) == "seven hundred thousand and seven"
    assert (
        number_words.words(315_420) == "three hundred and fifteen thousand four hundred and twenty"
    )


def day_of(text):
    """Return the day that a text means, found apart from the generator."""
    text = re.sub(r"(\d)(st|nd|rd|th)\b|\b(the|of) |,", r"\1", text.lower())
    parts = re.sub("^(mon|tue|wed|thu|fri|sat|sun)[a-z]* ", "", text)
    forms = {
        r"\d+ [a-z]{4,} \d{4}": "%d %B %Y", r"\d+ [a-z]+ \d{4}": "%d %b %Y",
        r"[a-z]{4,} \d+ \d{4}": "%B %d %Y", r"[a-z]+ \d+ \d{4}": "%b %d %Y",
        r"\d{4} [a-z]{4,} \d+": "%Y %B %d", r"\d{4} [a-z]+ \d+": "%Y %b %d",
        r"\d+ [a-z]{4,} '\d\d": "%d %B '%y", r"\d+ [a-z]+ '\d\d": "%d %b '%y",
        r"[a-z]{4,} \d+ '\d\d": "%B %d '%y", r"[a-z]+ \d+ '\d\d": "%b %d '%y",
        r"\d+\.\d+\.\d{4}": "%d.%m.%Y", r"\d+\.\d+\.\d\d": "%d.%m.%y",
        r"\d{4}-\d+-\d+": "%Y-%m-%d", r"\d+-\d+-\d{4}": "%d-%m-%Y",
        r"\d+-[a-z]+-\d{4}": "%d-%b-%Y", r"\d+-[a-z]+-\d\d": "%d-%b-%y",
        r"\d{4}/\d+/\d+": "%Y/%m/%d", r"\d+/\d+/\d{4}": "%m/%d/%Y",
        r"\d+/\d+/\d\d": "%m/%d/%y", r"\d{8}": "%Y%m%d",
    }  # fmt: skip
    form = next(form for pattern, form in forms.items() if re.fullmatch(pattern, parts))
    found = datetime.strptime(parts, form).date()
    if "%y" in form:
        found = found.replace(year=1950 + (found.year - 1950) % 100)
    assert not text.startswith(
        ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    ) or text.startswith(found.strftime("%A").lower()[:3])
    return found


def test_dates_mean_the_same_in_both_ways():
    pairs = list(islice(iso_dates.pairs(seed=5), 4000))
    for text, iso in pairs:
        assert day_of(text) == date.fromisoformat(iso), text
    shapes = {re.sub("[a-z]+", "a", re.sub(r"\d", "0", text.lower())) for text, _ in pairs}
    assert len(shapes) > 30
