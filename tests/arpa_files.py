"""What tests of ARPA files share: tables by an estimate of their own, and a reader of their own."""

import functools
import io
import itertools
import random
from collections import Counter

import numpy as np

from charlm.counts.arpa import write_arpa
from charlm.counts.arpa_reader import read_arpa
from charlm.counts.names import arpa_names
from charlm.counts.table import Counts
from charlm.text.reading import open_file
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, CharTokenizer, WordTokenizer

D = 0.5  # what the tests' own estimate takes from each count
ODD = [
    "\t",
    "\n",
    "\r",
    "\v",
    "\f",
    "\0",
    "\x1c",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3000",
    "\ufeff",
    "\ud800",
    "\\",
]
ODD_WORDS = ["the", "a b", "<s>", "</s>", "<UNK>", "\\x41", "é", "\ufeffx", "-1", "\\end\\"]
KINDS = {  # the tokenizer, and the token whose 1-gram is the context at a text's beginning
    "char lines": (CharTokenizer([*"abé 中", *ODD[:1], *ODD[2:]]), EOS),
    "char documents": (CharTokenizer(["a", "b", "<", *ODD]), "\n"),
    "char documents without a newline": (CharTokenizer([*"ab \\x😀"]), None),
    "word lines": (WordTokenizer(ODD_WORDS), EOS),
    "word documents": (WordTokenizer(["\n", "the", "<S>", "\\"]), "\n"),
    "byte lines": (ByteTokenizer(), EOS),
    "byte documents": (ByteTokenizer(), "\n"),
}


def of_kind(kind):
    """Return a tokenizer, and the token of its texts' beginnings."""
    tokenizer, begin = KINDS[kind]
    return tokenizer, tokenizer.newline if begin == "\n" else begin


def texts_of(size, seed=0, count=60):
    """Return random texts of ids, some of which come much more often than others, and many n-grams twice."""
    rng = random.Random(seed)
    used = [UNK, *range(2, size)]
    rng.shuffle(used)
    return [
        [used[int(len(used) * rng.random() ** 3)] for _ in range(rng.randrange(14))]
        for _ in range(count)
    ]


@functools.cache
def table_of_kind(kind, order):
    """Return a tokenizer, the token of its texts' beginnings, and a table of random texts."""
    tokenizer, begin = of_kind(kind)
    return tokenizer, begin, table_of(texts_of(tokenizer.size), order, tokenizer.size, begin)


def table_of(texts, order, size, begin):
    """Return interpolated absolute discounting of all n-grams of texts, by recursion."""
    counts = Counter()
    for text in texts:
        whole = (*[EOS] * (begin == EOS), *text, EOS)
        for end in range(1 + (begin == EOS), len(whole) + 1):
            counts.update(whole[start:end] for start in range(max(0, end - order), end))
    below = {}
    for gram, count in counts.items():
        below.setdefault(gram[:-1], {})[gram[-1]] = count

    def held(context):
        own = below.get(context, {})
        return D * len(own) / sum(own.values()) if own else 1.0

    def p(context, token):
        own = below.get(context, {})
        shorter = p(context[1:], token) if context else 1 / size
        return held(context) * shorter + (
            max(0, own.get(token, 0) - D) / sum(own.values()) if own else 0
        )

    levels = []
    for k in range(1, order + 1):
        grams = (
            sorted(gram for gram in counts if len(gram) == k)
            if k > 1
            else [(token,) for token in range(size)]
        )
        levels.append(grams)
    grams = list(itertools.chain(*levels))
    contexts = [(), *(gram for gram in grams if len(gram) < order)]
    children = [size, *(len(below.get(gram, ())) for gram in contexts[1:])]
    return Counts(
        order, size, begin,
        np.array([gram[-1] for gram in grams], np.uint8 if size <= 256 else np.uint16),
        np.array([p(gram[:-1], gram[-1]) for gram in grams], np.float32),
        np.array(children, np.uint8 if max(children) <= 255 else np.uint16),
        np.array([1.0, *map(held, contexts[1:])], np.float32),
    )  # fmt: skip


def written(counts, tokenizer):
    file = io.BytesIO()
    write_arpa(file, counts, arpa_names(tokenizer))
    return file.getvalue()


def read(data, tokenizer, begin, tmp_path, name="counts.arpa"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_arpa(open_file(str(path)), tokenizer, begin)


class Plain:
    """The tests' own reader: n-grams of names with log10 p and back-off weight, and what is asked of them."""

    def __init__(self, data):
        self.grams = {}
        order = 0
        for line in data.decode().split("\n"):
            if line.endswith("-grams:"):
                order = int(line[1:].split("-")[0])
            elif order and line and not line.startswith("\\end"):
                p, *names = line.split()
                assert len(names) in (order, order + 1)
                weight = float(names.pop()) if len(names) > order else 0.0
                assert tuple(names) not in self.grams
                self.grams[tuple(names)] = float(p), weight
        self.order = order

    def log10(self, context, name):
        """Return log10 p of a name after others."""
        context = tuple(context)[max(0, len(context) - self.order + 1) :] if self.order > 1 else ()
        if (*context, name) in self.grams:
            return self.grams[(*context, name)][0]
        return self.grams.get(context, (0, 0.0))[1] + self.log10(context[1:], name)

    def text(self, names):
        """Return log10 p of each name of a text, and of its end."""
        whole = ["<s>", *names, "</s>"]
        return [self.log10(whole[:k], whole[k]) for k in range(1, len(whole))]


def by_counts(counts, text):
    """Return log10 p of each token of a text, and of its end."""
    inputs = np.array([EOS, *text], np.int32)[:, None]
    nodes = counts.walk(inputs, None, counts.zero_state(1))
    return np.log10(counts.targets(nodes, np.array([*text, EOS], np.int32)[:, None])[:, 0])
