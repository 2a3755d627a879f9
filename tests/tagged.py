"""Tagged sentences drawn at random, for tests of what reads them."""

import numpy as np

from charlm.text.tagged_part import TaggedText

WORDS, CHARACTERS, TAGS = 7, 6, 3  # sizes of vocabularies; ids 0 and 1 are EOS and UNK


def spelling(word, rng):
    """Return the characters of a word: always the same of a known one, any of an unknown one."""
    own = np.random.default_rng([word, 9]) if word > 1 else rng
    return own.integers(1, CHARACTERS, own.integers(1, 5)).tolist()


def sentence(length, rng, known=0.8):
    words = rng.integers(1, WORDS, length)
    spelt = [spelling(int(word), rng) for word in words]
    tags = np.where(rng.random(length) < known, rng.integers(TAGS, size=length), -1)
    return TaggedText(
        words.astype(np.int32),
        np.array([c for word in spelt for c in word], np.int32),
        np.array([len(word) for word in spelt], np.int64),
        tags.astype(np.int32),
    )


def drawn_sentences(lengths, seed=0, known=0.8):
    rng = np.random.default_rng(seed)
    return [sentence(length, rng, known) for length in lengths]


def tokens_of(text):
    """Return (word, its characters) of each token."""
    ends = np.cumsum(text.lengths)
    return [
        (word, text.characters[end - size : end].tolist())
        for word, end, size in zip(
            text.words.tolist(), ends.tolist(), text.lengths.tolist(), strict=True
        )
    ]
