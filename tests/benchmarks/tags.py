"""python-crfsuite on tagged sentences, and the rule of commonest forms on restored accents.

    python tests/benchmarks/tags.py train.conll test.conll
    python tests/benchmarks/tags.py all.conll --folds 5 [--write DIRECTORY]
    python tests/benchmarks/tags.py train.tsv test.tsv [--answers restored.txt]

Files are read as charlm reads them: columns, or lines `source TAB target`.

Of **columns**: a linear chain of features, the usual ones of such taggers: the word, lowercased,
its prefixes and suffixes of up to three characters, its shape, whether it is capitalised, in
capitals or digits, the same but for the prefixes of two words on either side, and each two words
that are neighbours. It is scored by charlm's own figures. With `--folds K` sentence s is in the
part sha256(its words, a space between) modulo K, each part is tagged by what the others taught, and
the spans of all are counted together; `--write` writes the parts as fold0.train.conll,
fold0.test.conll and so on, for charlm to be trained on the same. Choose `--c1`, `--c2` and
`--iterations` on a validation part given as the test, and touch the test part once. Needs
python-crfsuite.

Of **lines**: each word, a run of letters and digits, is written in the form that it most often had
in the training lines, among equal ones the first by code point; words that were never there stay
bare. The figure is charlm's: the share of what stands between white space that is not right to the
last character; beside it that of a file of answers, the lines that `charlm predict` restored.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from charlm.bio import scheme_of, tag_pairs, to_iob2
from charlm.tag_metrics import TagFigures, tag_tally
from charlm.text.character_tags import applied
from charlm.text.columns import Sentence
from charlm.text.reading import TextFile
from charlm.text.tag_forms import CHARACTERS, find_form

Tagged = tuple[list[str], list[str]]  # the words and the tags of a sentence
AFFIX, WINDOW = 3, 2
_WORD = re.compile(r"\w+")


def read(paths: Sequence[Path]) -> tuple[str, list[list[Sentence]]]:
    """Return what is tagged, and the sentences of each file."""
    files = [TextFile(str(path)) for path in paths]
    form, _ = find_form(files, "utf-8")
    return form.unit, [list(form.sentences(file, "utf-8")) for file in files]


def in_iob2(sentences: Sequence[Sentence]) -> list[Tagged]:
    """Return words and tags, spans in IOB2."""
    scheme = scheme_of(Counter(pair for each in sentences for pair in tag_pairs(each.tags)))
    return [(list(each.tokens), to_iob2(each.tags, scheme)) for each in sentences]


def shape(word: str) -> str:
    """Return a word's shape: X, x and d for capitals, small letters and digits, runs cut to two."""
    kinds = (
        "X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in word
    )
    found = ""
    for kind in kinds:
        if not found.endswith(2 * kind):
            found += kind
    return found


def own_features(word: str) -> list[str]:
    """Return what is said of a word and of its neighbours."""
    kinds = f"{word.istitle():d}{word.isupper():d}{word.isdigit():d}"
    return [f"word={word}", f"lower={word.lower()}", f"shape={shape(word)}", f"kinds={kinds}"]


def affixes(word: str) -> list[str]:
    """Return the beginnings and the ends of a word, lowercased."""
    low = word.lower()
    return [f"{name}{n}={part}" for n in range(1, AFFIX + 1)
            for name, part in (("begins", low[:n]), ("ends", low[-n:])) if n <= len(low)]  # fmt: skip


def features(words: Sequence[str]) -> list[list[str]]:
    """Return the features of each word of a sentence."""
    own, low = [own_features(word) for word in words], [word.lower() for word in words]
    low = ["<s>", *low, "</s>"]
    found = []
    for place, word in enumerate(words):
        these = ["bias", *own[place], *affixes(word)]
        for step in range(-WINDOW, WINDOW + 1):
            if step and 0 <= place + step < len(words):
                these += [f"{step}:{name}" for name in own[place + step]]
            elif step:
                these.append(f"{step}:none")
        these += [f"{step}:two={low[place + step]} {low[place + step + 1]}" for step in (0, 1)]
        found.append(these)
    return found


class Chain:
    """python-crfsuite, trained on sentences; `seconds` is what that took."""

    def __init__(self, train: Sequence[Tagged], options: argparse.Namespace, path: Path) -> None:
        import pycrfsuite

        begun = time.perf_counter()
        trainer = pycrfsuite.Trainer(verbose=False)
        for words, tags in train:
            trainer.append(features(words), tags)
        trainer.set_params({
            "c1": options.c1, "c2": options.c2, "max_iterations": options.iterations,
            "feature.possible_transitions": True,
        })  # fmt: skip
        trainer.train(str(path))
        self.seconds = time.perf_counter() - begun
        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(path))

    def tag(self, words: Sequence[str]) -> list[str]:
        """Return the tags of a sentence."""
        return self.tag_features(features(words))

    def tag_features(self, found: list[list[str]]) -> list[str]:
        """Return the tags of a sentence whose features are known."""
        return list(self._tagger.tag(found))


def figures(
    said: Sequence[Sequence[str]], gold: Sequence[Tagged], train: Sequence[Tagged]
) -> TagFigures:
    """Return charlm's figures of the tags that were said of sentences."""
    names = tuple(sorted({tag for _, tags in train for tag in tags}))
    unseen = tuple(sorted({tag for _, tags in gold for tag in tags} - set(names)))
    number = {tag: i for i, tag in enumerate((*names, *unseen))}
    known = {word for words, _ in train for word in words}
    tokens = [word for words, _ in gold for word in words]
    right = np.array([number[tag] for _, tags in gold for tag in tags], np.int32)
    theirs = np.array([number[tag] for tags in said for tag in tags], np.int32)
    starts = np.cumsum([0, *(len(words) for words, _ in gold)])
    unknown = np.array([word not in known for word in tokens])
    nats = np.zeros(len(tokens))
    counts = Counter(tag for _, tags in train for tag in tags)
    common = names.index(counts.most_common(1)[0][0])
    return TagFigures(tag_tally(theirs, right, nats, starts, names, unknown, unseen), names, common)


def shown(found: TagFigures) -> str:
    """Return the figures in a line."""
    spans = "" if found.span_f1 is None else f"span F1 {100 * found.span_f1:.2f} %, "
    unknown = found.unknown_accuracy
    rest = "" if unknown is None else f", of unknown words {100 * unknown:.2f} %"
    return f"{spans}accuracy {100 * (found.accuracy or 0):.2f} %{rest}"


def fold_of(words: Sequence[str], folds: int) -> int:
    """Return the part of a sentence: the digest of its words, a space between, modulo `folds`."""
    return int(hashlib.sha256(" ".join(words).encode()).hexdigest(), 16) % folds


def write_fold(directory: Path, name: str, sentences: Sequence[Tagged]) -> None:
    """Write sentences as columns."""
    lines = ("\n".join(map("\t".join, zip(*each, strict=True))) for each in sentences)
    path = directory / f"{name}.conll"
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def parts_of(
    given: Sequence[list[Tagged]], folds: int
) -> Iterator[tuple[list[Tagged], list[Tagged]]]:
    """Yield what to train on and what to tag: the two files, or each part of one and the rest."""
    if not folds:
        yield given[0], given[1]
    for fold in range(folds):
        inside = [fold_of(words, folds) == fold for words, _ in given[0]]
        pairs = list(zip(given[0], inside, strict=True))
        yield [each for each, own in pairs if not own], [each for each, own in pairs if own]


def of_columns(given: Sequence[list[Tagged]], options: argparse.Namespace) -> None:
    """Train and score on columns, and print the figures."""
    every_said: list[list[str]] = []
    every_gold: list[Tagged] = []
    scores, name = [], f"python-crfsuite (c1 {options.c1:g}, c2 {options.c2:g})"
    for fold, (train, test) in enumerate(parts_of(given, options.folds)):
        if options.write:
            options.write.mkdir(parents=True, exist_ok=True)
            write_fold(options.write, f"fold{fold}.train", train)
            write_fold(options.write, f"fold{fold}.test", test)
        chain = Chain(train, options, options.model)
        begun = time.perf_counter()
        said = [chain.tag(words) for words, _ in test]
        rate = sum(map(len, said)) / (time.perf_counter() - begun)
        found = figures(said, test, train)
        scores.append(found.span_f1 if found.span_f1 is not None else found.accuracy)
        print(f"{name}, {len(train):,} and {len(test):,} sentences: {shown(found)}; trained in "
              f"{chain.seconds:.0f} s, tags {rate:,.0f} tokens/s", flush=True)  # fmt: skip
        every_said += said
        every_gold += test
    if options.folds:
        together = figures(every_said, every_gold, given[0])
        print(
            f"mean of {len(scores)} parts {100 * float(np.mean(scores)):.2f} %; together {shown(together)}"
        )


def commonest_forms(train: Sequence[Sentence]) -> dict[str, str]:
    """Return the form that each bare word most often has."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in train:
        source, target = "".join(each.tokens), applied(each.tokens, each.tags)
        for word in _WORD.finditer(source):
            forms[word.group()][target[slice(*word.span())]] += 1
    return {
        word: min(found, key=lambda form: (-found[form], form)) for word, found in forms.items()
    }


def of_lines(train: Sequence[Sentence], test: Sequence[Sentence], answers: Path | None) -> None:
    """Score the rule, bare words and a file of answers, and print the shares of wrong words."""
    forms = commonest_forms(train)
    bare = ["".join(each.tokens) for each in test]
    gold = [applied(each.tokens, each.tags).split() for each in test]
    restored = [
        _WORD.sub(lambda word: forms.get(word.group(), word.group()), line) for line in bare
    ]
    said = {"left bare": bare, "commonest form": restored}
    if answers:
        said[str(answers)] = answers.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    words, runs = sum(map(len, gold)), [word for line in bare for word in _WORD.findall(line)]
    unseen = sum(word not in forms for word in runs)
    print(f"{len(gold):,} lines, {words:,} words, {unseen / len(runs):.2%} unseen in training")
    for name, theirs in said.items():
        wrong = sum(a != b for line, own in zip(theirs, gold, strict=True)
                    for a, b in zip(line.split(), own, strict=True))  # fmt: skip
        print(f"{wrong / words:7.2%} of the words are wrong ({wrong:,}): {name}")


def main() -> None:
    """Run what was asked for, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help="train and test, or one for --folds")
    parser.add_argument("--folds", type=int, default=0, help="of one file, by sentence")
    parser.add_argument("--write", type=Path, help="where to write the parts of --folds")
    parser.add_argument("--answers", type=Path, help="lines that were restored, to be scored too")
    parser.add_argument("--c1", type=float, default=0.1)
    parser.add_argument("--c2", type=float, default=0.1)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--model", type=Path, default=Path("/tmp/tags.crfsuite"))
    options = parser.parse_args()
    if len(options.files) != (1 if options.folds else 2):
        parser.error("give a file to train on and one to test on, or a single one with --folds")
    unit, files = read(options.files)
    if unit == CHARACTERS:
        of_lines(files[0], files[1], options.answers)
    else:
        of_columns([in_iob2(sentences) for sentences in files], options)


if __name__ == "__main__":
    main()
