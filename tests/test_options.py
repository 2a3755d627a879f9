"""All pairs of options of every command: each option changes the outcome beside any other, or is refused by name.

An option stands in a context in which it acts. For a pair, the outcome must differ from that without the one and from
that without the other, or the command ends with 2 and a message that names one of them. What an outcome does not
show is in a table, with the test that does.
"""

import hashlib
import json
import shutil
import sys

import pytest
from click.testing import CliRunner

from charlm import checkpoint
from charlm.cli import main
from charlm.counts.arpa import write_arpa
from charlm.counts.names import arpa_names
from charlm.text.tokenizers import EOS, UNK
from tests.test_counts_model import with_counts
from tests.test_training import train as train_until
from tests.tiny import tiny_classifier, tiny_converter, tiny_labelled, tiny_model, tiny_tagger

FAMILIES = [f"{a}{b}{a}{c}" for a in "abcd" for b in "efgh" for c in "ij"]
TEXT = "".join(f"{word.title()}, {word} caf\u00e9-{word[::-1]} <{word[0]}>!\n" for word in FAMILIES[:20] * 2)
HELD_OUT = "abba, caf\u00e9!\nHe gab <a>.\n" * 4
NETWORK = {"corpus": "corpus.txt", "--model": "m", "--hidden": "8", "--embedding": "4", "--steps": "4",
           "--threads": "1", "--eval-every": "4"}  # fmt: skip
BASE = NETWORK | {"--counts": "0"}
YES = ""  # the value of a flag

# Each option of train with a value that is not its default, and beside it what it needs to act; None leaves out.
TRAIN = {
    "--config": ("c.toml", {}),
    "--resume": (YES, {"there": "half"}),
    "--force": (YES, {"there": "half"}),
    "--init-from": ("base", {"--embedding": None, "--hidden": None}),
    "--keep-vocabulary": (YES, {"--init-from": "base", "--embedding": None, "--hidden": None}),
    "--quiet": (YES, {}),
    "--tokenizer": ("word", {}),
    "--lowercase": (YES, {}),
    "--no-punctuation": (YES, {"--tokenizer": "word"}),
    "--word-pattern": (r"\S+", {"--tokenizer": "word"}),
    "--vocab-size": ("5", {}),
    "--min-count": ("39", {}),
    "--sequences": ("document", {}),
    "--context": ("stream", {}),
    "--valid-fraction": ("0.4", {}),
    "--test-fraction": ("0.3", {}),
    "--valid-file": ("rare.txt", {}),
    "--test-file": ("other.txt", {}),
    "--split-seed": ("2", {}),
    "--hold-out": ("files", {"corpus": "texts", "--sequences": "document"}),
    "--encoding": ("cp1252", {}),
    "--counts": ("3", {}),
    "--counts-from": ("c.arpa", {"--counts": None}),
    "--cell": ("lstm", {}),
    "--nonlinearity": ("relu", {"--cell": "rnn"}),
    "--layers": ("2", {}),
    "--hidden": ("12", {}),
    "--embedding": ("6", {}),
    "--dropout": ("0.2", {}),
    "--tie": (YES, {"--embedding": "8"}),
    "--layer-norm": (YES, {}),
    "--no-residual": (YES, {"--layers": "3"}),
    "--optimizer": ("sgd", {}),
    "--lr": ("0.05", {}),
    "--schedule": ("constant", {}),
    "--warmup": ("7", {}),
    "--lr-decay": ("0.1", {"--schedule": "step", "--lr-decay-after": "0"}),
    "--lr-decay-after": ("0", {"--schedule": "step"}),
    "--clip": ("0.001", {}),
    "--weight-decay": ("20", {}),
    "--momentum": ("0.1", {"--optimizer": "sgd"}),
    "--batch-size": ("3", {}),
    "--seq-len": ("9", {}),
    "--seed": ("7", {}),
    "--engine": ("torch", {}),
    "--device": ("cuda:7", {}),
    "--precision": ("tf32", {}),
    "--epochs": ("1", {"--steps": None}),
    "--steps": ("8", {}),
    "--patience": ("1", {"--valid-file": "rare.txt", "--eval-every": "1", "--steps": "12"}),
    "--eval-every": ("3", {}),
    "--log-every": ("2", {"--eval-every": "4"}),
    "--head-layers": ("1", {}),
    "--head-hidden": ("5", {"--head-layers": "1"}),
}
OF_CLASSES = {
    "--labels": ("first-word", {}),
    "--label": ("b=other.txt", {}),
    "--pool": ("mean", {}),
    "--ngrams": ("2", {}),
    "--token-dropout": ("0.4", {}),
    "--embedding-scale": ("0.5", {}),
    "--max-length": ("9", {}),
    "--balance": (YES, {}),
    "--bidirectional": (YES, {}),
}

OF_TAGS = {
    "--tags": ("characters", {"corpus": "equal.tsv"}),
    "--token-column": ("2", {}),
    "--column": ("3", {}),
    "--crf": (YES, {}),
    "--char-hidden": ("5", {}),
}

OF_PAIRS = {
    "--source-tokenizer": ("byte", {}),
    "--target-tokenizer": ("byte", {}),
    "--source-pattern": ("..?", {}),
    "--target-pattern": (r"\S+", {}),
    "--no-attention": (YES, {}),
}

# The same for texts with labels: what is not here acts as in a language model's run, or is refused by name.
CLASSIFY_BASE = NETWORK | {"corpus": "labelled.tsv", "--task": "classify", "--ngrams": "0"}  # a large table otherwise
CLASSIFY = TRAIN | OF_CLASSES | OF_TAGS | OF_PAIRS | {
    "--resume": (YES, {"there": "half-classes"}),
    "--valid-fraction": ("0.4", {}),
    "--valid-file": (("rare.tsv", "gold.tsv"), {}),
    "--test-file": (("gold.tsv", "rare.tsv"), {}),
    "--eval-every": ("5", {"--steps": "12"}),
    "--no-bidirectional": (YES, {}),
    "--patience": ("1", {"--valid-file": "rare.tsv", "--eval-every": "1", "--steps": "12"}),
}  # fmt: skip
del CLASSIFY["--bidirectional"]
NEW_IN_CLASSIFY = {*OF_CLASSES, "--no-bidirectional", "--valid-file", "--test-file"}

# The same for sentences with tags.
TAG_BASE = NETWORK | {"corpus": "tagged.tsv", "--task": "tag", "--ngrams": "0"}
TAG = TRAIN | OF_CLASSES | OF_TAGS | OF_PAIRS | {
    "--no-crf": (YES, {}),
    "--no-lowercase": (YES, {}),
    "--resume": (YES, {"there": "half-tags"}),
    "--tokenizer": ("char", {}),
    "--layers": ("3", {}),  # tagged characters have 2
    "--dropout": ("0.25", {}),
    "--valid-fraction": ("0.4", {}),
    "--valid-file": (("tagged-rare.tsv", "tagged-gold.tsv"), {}),
    "--test-file": (("tagged-gold.tsv", "tagged-rare.tsv"), {}),
    "--eval-every": ("5", {"--steps": "12"}),
    "--no-bidirectional": (YES, {}),
    "--patience": ("1", {"--valid-file": "tagged-rare.tsv", "--eval-every": "1", "--steps": "12"}),
}  # fmt: skip
del TAG["--bidirectional"], TAG["--crf"], TAG["--lowercase"]
NEW_IN_TAG = {*OF_TAGS, "--ngrams", "--no-crf", "--no-lowercase"}
# The same for pairs of a source and a target.
CONVERT_BASE = NETWORK | {"corpus": "pairs.tsv", "--task": "convert"}
CONVERT = TRAIN | OF_CLASSES | OF_TAGS | OF_PAIRS | {
    "--resume": (YES, {"there": "half-pairs"}),
    "--valid-fraction": ("0.4", {}),
    "--valid-file": (("pairs-rare.tsv", "pairs-gold.tsv"), {}),
    "--test-file": (("pairs-gold.tsv", "pairs-rare.tsv"), {}),
    "--max-length": ("11", {}),
    "--min-count": ("9", {}),
    "--eval-every": ("5", {"--steps": "12"}),
    "--no-bidirectional": (YES, {}),
    "--patience": ("1", {"--valid-file": "pairs-rare.tsv", "--eval-every": "1", "--steps": "12"}),
}  # fmt: skip
del CONVERT["--bidirectional"]
NEW_IN_CONVERT = {*OF_PAIRS, "--tokenizer", "--lowercase", "--max-length"}
TRAIN |= OF_CLASSES | OF_TAGS | OF_PAIRS | {"--labels": ("tab", {"corpus": "labelled.tsv"})}
TRAIN["--label"] = ("b=other.txt", {"--labels": "file"})
UNSEEN = {
    "--task": "which table an option is in",
    "--output": "where the outcome is written: test_report",
    "--model": "where the outcome is looked for",
    "--minutes": "no two runs by the clock are alike: test_training, by the clock",
    "--threads": "the same figures but for rounding: test_commands, as many threads as were asked for; test_engine",
    "--save-every": "when, not what: test_training, without validation the last weights are the model",
    "--skip-nan": "acts where a gradient is not finite: test_faults",
    "--engine": "of score, the same figures: test_torch_engine",
    "--force": "of score, report and plot, acts where a page is there already: test_surprise, test_report",
    "--raw": "acts on a terminal alone: test_commands, a terminal sees pictures",
}
# Pairs of which one does nothing in these settings, and need not be refused for it.
BOUNDS = [  # where the one holds, the other need not
    {"--vocab-size", "--min-count"}, {"--top-k", "--top-p"}, {"--top-k", "--min-p"}, {"--top-p", "--min-p"},
    {"--length", "--stop"}, {"--length", "--lines"}, {"--stop", "--lines"}, {"--count", "--tries"},
    {"--epochs", "--eval-every"},
]  # fmt: skip
SAID_TWICE = [  # the one makes the other usual: words are tied, lists of texts and several texts are lines
    {"--tokenizer", "--tags"},  # characters that have tags are read as such
    {"--no-lowercase", "--tags"}, {"--no-lowercase", "--tokenizer"}, {"--no-lowercase", "--init-from"},
    {"--no-lowercase", "--keep-vocabulary"},  # words alone are lowered, and not those that a model has
    {"--no-crf", "--tags"}, {"--no-crf", "--column"},  # tags that mark spans alone have transitions
    {"--tokenizer", "--tie"}, {"--no-punctuation", "--tie"}, {"--word-pattern", "--tie"}, {"models", "--lines"},
    {"--lines", "--nbest"}, {"--lines", "--weight"}, {"--lines", "--known"},
    {"--lines", "--no-eos"},  # for the model of documents that --lines stands with
]  # fmt: skip
NO_DATA = [  # of such a vocabulary, or as one text, nothing in the file is known; where all count alike, none is rare
    {"--vocab-size", "--patience"}, {"--tokenizer", "--patience"}, {"--no-punctuation", "--patience"},
    {"--word-pattern", "--patience"}, {"--balance", "--patience"}, {"--tags", "--patience"}, {"--labels", "--patience"},
    {"--label", "--patience"}, {"--label", "--valid-file"},
    {"--target-tokenizer", "--patience"}, {"--target-pattern", "--patience"},
    {"--column", "--patience"}, {"--whole", "--known"}, {"--file", "--known"},
]  # fmt: skip
ONE_FLAG = [{"--lines", "--whole"}, {"--columns", "--plain"}]  # of which click takes the last
SPARED = [*BOUNDS, *SAID_TWICE, *NO_DATA, *ONE_FLAG]
CALLED = {"--config": ("clip", "weight-decay"), "--no-punctuation": ("punctuation",), "--no-residual": ("residual",),
          "--no-attention": ("attention",),
          "--no-crf": ("crf",), "--no-lowercase": ("lowercase",), "--no-bidirectional": ("bidirectional",),
          "--valid-file": ("valid-file", "corpus"), "--test-file": ("test-file", "corpus"),
          "models": ("model", "-m"), "--count": ("count", "-n"),
          "--epochs": ("epochs", "steps"), "--no-echo": ("echo",), "--no-eos": ("eos",)}  # fmt: skip

SAMPLE_BASE = {"models": "document", "--seed": "1", "--length": "80"}
SAMPLE = {
    "--no-counts": (YES, {}),
    "--length": ("9", {}),
    "--prompt": ("ab", {}),
    "--label": ("yes", {"models": "labelled", "--count": "5"}),
    "--source": ("ab", {"models": "letters"}),
    "--count": ("3", {}),
    "--stop": ("b", {}),
    "--lines": ("2", {}),
    "--beam": ("6", {"--seed": None, "--length": "12"}),
    "--temperature": ("0.5", {}),
    "--top-k": ("3", {}),
    "--top-p": ("0.6", {}),
    "--min-p": ("0.3", {}),
    "--repetition-penalty": ("1.3", {"--count": "5"}),
    "--unk": ("keep", {"--count": "5"}),
    "--seed": ("3", {}),
    "--starts-with": ("cb", {}),
    "--contains": ("bcd", {"--count": "5", "--tries": "100"}),
    "--pattern": ("(?s).*cab.*", {"--count": "5", "--tries": "100"}),
    "--tries": ("12", {"--contains": "ab", "--count": "30"}),
    "--json": (YES, {}),
    "--no-echo": (YES, {"--prompt": "ab"}),
    "--number": (YES, {}),
    "--separator": ("%", {"--count": "30"}),
    "--novelty": ("corpus.txt", {}),
}

SCORE_BASE = {"models": "line", "texts": "aba"}
FILE = {"texts": None, "--file": "lines.txt"}
WHOLE = {"texts": None, "--corpus": "lines.txt"}
LISTS = {"texts": None, "--file": "lists.txt"}
SCORE = {
    "models": ("line other", {}),
    "--mix": ("0.3,0.7", {"models": "line twin"}),
    "--no-counts": (YES, {}),
    "--device": ("cpu", {}),
    "--file": ("lists.txt", {"texts": None}),
    "--lines": (YES, FILE | {"models": "document"}),
    "--whole": (YES, FILE),
    "--shard": ("2/2", FILE),
    "--encoding": ("cp1252", FILE),
    "--corpus": ("lines.txt", {"texts": None}),
    "--dynamic": ("0.5", WHOLE),
    "--cache": ("9", WHOLE),
    "--count-cache": ("2", WHOLE),
    "--nbest": (YES, LISTS),
    "--weight": ("3", LISTS | {"--nbest": YES}),
    "--known": (YES, FILE | {"models": "line other"}),
    "--no-eos": (YES, {}),
    "--per-token": (YES, {}),
    "--format": ("kenlm", {}),
    "--label": ("yes", {"models": "classes"}),
    "--source": ("ab", {"models": "letters"}),
    "--json": (YES, {}),
    "--tsv": (YES, {}),
    "--html": ("-", {}),
    "--color": (YES, {}),
}

PREDICT_BASE = {"models": "classes", "texts": "aba"}
PREDICT = {
    "--file": ("lists.txt", {"texts": None}),
    "--columns": (YES, FILE | {"models": "tagger"}),
    "--plain": (YES, {"texts": None, "--file": "lists.txt", "models": "tagger"}),
    "--shard": ("2/2", FILE),
    "--encoding": ("cp1252", FILE),
    "--top": ("2", {}),
    "--threshold": ("0.999", {}),
    "--prior": ("uniform", {"models": "labelled-lines"}),
    "--beam": ("3", {"models": "letters"}),
    "--unknown": ("copy", {"models": "letters", "texts": "a?b aba"}),
    "--align": (YES, {"models": "letters"}),
    "--json": (YES, {}),
    "--tsv": (YES, {}),
}

TEST_BASE = {"models": "classes", "corpus": "gold.tsv"}
TEST = {
    "models": ("classes others", {}),
    "--labels": ("first-word", {}),
    "--encoding": ("cp1252", {}),
    "--prior": ("uniform", {"models": "labelled-lines"}),
    "--beam": ("3", {"models": "letters", "corpus": "pairs.tsv"}),
    "--chrf": (YES, {"models": "letters", "corpus": "pairs.tsv"}),
    "--json": (YES, {}),
}

EXPLAIN_BASE = {"models": "line", "texts": "abcab"}
EXPLAIN = {
    "--token": ("2", {}),
    "--label": ("yes", {"models": "labelled-lines"}),
    "--top": ("1", {}),
    "--json": (YES, {}),
}

REPORT_BASE = {"models": "line", "--output": "-"}
REPORT = {
    "models": ("line other", {}),
    "--text": ("lines.txt", {}),
    "--no-text": (YES, {}),
    "--encoding": ("cp1252", {"--text": "lines.txt"}),
    "--weights": ("int8", {}),
    "--no-model": (YES, {}),
}
PLOT_BASE = {"models": "half", "--output": "-"}
PLOT = {"models": ("half base", {})}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with texts, models, a run stopped half-way, and a TOML file."""
    path = tmp_path_factory.mktemp("room")
    (path / "corpus.txt").write_text(TEXT, encoding="utf-8")
    (path / "other.txt").write_text(HELD_OUT, encoding="utf-8")
    (path / "texts").mkdir()
    for number in range(4):
        (path / "texts" / f"{number}.txt").write_text(TEXT[number::4], encoding="utf-8")
    (path / "rare.txt").write_text("<<<>>>\n" * 9, encoding="utf-8")
    (path / "old.txt").write_text(TEXT[: len(TEXT) // 2].replace("!", "") + "abcdefgh\n", encoding="utf-8")
    (path / "lines.txt").write_text("abcba\nb\u00e4b\ncab\nbb\nabcc\n\u00e4\n" * 3, encoding="utf-8")
    (path / "lists.txt").write_text("1\t-3\tabba\u00e4\n1\t-2.5\tcc\n2\t-1\tb\n2\t-1.5\tbca\n", encoding="utf-8")
    (path / "gold.tsv").write_text("yes\tabb\u00e4b\nno way\tcab\nmaybe\tabcc\n" * 4, encoding="utf-8")
    (path / "pairs.tsv").write_text("a\u00e4b\tab\ncab\tba\nabcc\tdb\ncab\tbb\n", encoding="utf-8")
    (path / "labelled.tsv").write_text("".join(map(labelled, TEXT.splitlines(keepends=True))), encoding="utf-8")
    (path / "rare.tsv").write_text(f"c\t{TEXT[:TEXT.index(chr(10))]}\nc\t>\n" * 3, encoding="utf-8")
    (path / "c.toml").write_text("clip = 0.002\nweight-decay = 10\n")
    (path / "tagged.tsv").write_text(
        "".join(tagged(line) for line in TEXT.splitlines()), encoding="utf-8"
    )
    (path / "equal.tsv").write_text("".join(map(as_long, TEXT.splitlines())), encoding="utf-8")
    (path / "tagged-rare.tsv").write_text(wrong(TEXT.splitlines()[0]), encoding="utf-8")
    (path / "tagged-gold.tsv").write_text(
        tagged("abba, cafe!") + tagged("He gab <a>."), encoding="utf-8"
    )
    (path / "pairs.tsv").write_text("".join(map(paired, range(40))), encoding="utf-8")
    (path / "pairs-rare.tsv").write_text(f"<A\t{'<' * 9}\n>a\t{'<' * 12}\n" * 3, encoding="utf-8")
    (path / "pairs-gold.tsv").write_text("abba, c\tbcd b\nAab\tb c\n", encoding="utf-8")
    shape = {"hidden": 8, "embedding": 4, "steps": 4, "threads": 1, "counts": 0}
    train_until(path / "base", {"corpus": (str(path / "old.txt"),), **shape})
    train_until(path / "half", {"corpus": (str(path / "corpus.txt"),), **shape}, stop_at=2)
    with open(path / "c.arpa", "wb") as file:
        counted = train_until(path / "counted", {"corpus": (str(path / "corpus.txt"),), **shape, "counts": 2}).model
        write_arpa(file, counted.counts, arpa_names(counted.tokenizer))
    del shape["counts"]
    classes = {"corpus": (str(path / "labelled.tsv"),), "task": "classify", "ngrams": 0, **shape}
    train_until(path / "half-classes", classes, stop_at=2)
    tags = {"corpus": (str(path / "tagged.tsv"),), "task": "tag", **shape}
    train_until(path / "half-tags", tags, stop_at=2)
    pairs = {"corpus": (str(path / "pairs.tsv"),), "task": "convert", **shape}
    train_until(path / "half-pairs", pairs, stop_at=2)
    document = tiny_model("abcd\n", sequences="document", spread=0.5)
    document.engine.params["head.bias"][EOS] = -3
    document.engine.params["head.bias"][[UNK, document.tokenizer.newline]] = 1
    models = {"document": document, "line": tiny_model("abc\u00e4"), "twin": tiny_model("abc\u00e4", seed=1),
              "other": tiny_model("abc", seed=2)}  # fmt: skip
    models |= {name: with_counts(models[name], 3) for name in ("document", "line", "twin")}
    models["classes"], models["others"] = (tiny_classifier("abc\u00e4", seed=k, spread=1) for k in range(2))
    models["tagger"] = tiny_tagger("abc\u00e4")
    kind = tiny_labelled("abcd\n", sequences="paragraph", spread=0.5)
    kind.engine.params["head.bias"][EOS] = -3
    kind.engine.params["head.bias"][[UNK, kind.tokenizer.newline]] = 1
    models["labelled-lines"] = tiny_labelled("abc\u00e4", spread=0.3, counts=(10**6, 1, 1))
    models["labelled"] = with_counts(kind, 3)
    letters = models["letters"] = tiny_converter("abc\u00e4", "abcd", spread=1, seed=3)
    letters.trained.params["head.bias"][EOS] = -3
    letters.trained.params["head.bias"][UNK] = 1
    for name, model in models.items():
        model.save(path / name)
    return path


def labelled(line):
    """Return a line with a label, its first letter, which is of two words where that is an A."""
    return f"{line[0].lower()}{' kind' if line[0] == 'A' else ''}\t{line}"


def tagged(line):
    """Return a line as columns: a word, the word turned round, whether it has a capital, and a span
    of it or none.
    """
    rows = [
        f"{word}\t{word[::-1]}\t{'C' if word != word.lower() else 'O'}\t{'B-x' if word[0] in 'aAcC<' else 'O'}\n"
        for word in line.split()
    ]
    return "".join(rows) + "\n"


def wrong(line):
    """Return columns with the letters turned round."""
    return tagged(line).replace("B-x", "?").replace("O\n", "B-x\n").replace("?", "O")


def as_long(line):
    """Return a line as columns in which each tag is as long as its word."""
    return (
        "".join(f"{word}\t{word.replace('a', 'e').replace('b', 'p')}\n" for word in line.split())
        + "\n"
    )


def paired(number):
    """Return one of forty lines of a source and a target of other lengths."""
    line = TEXT.splitlines()[number]
    return f"{line[::-1][: 7 + number % 7]}\t{line[3 : 9 + number % 4]}{'<' * (number == 1)}\n"


class Command:
    """A command with the settings that its options are tried in; outcomes are remembered.

    Of each pair, one option is among `one_of`.
    """

    def __init__(self, name, base, options, one_of=None):
        self.name, self.base, self.options, self.one_of = name, base, options, one_of or set(options)
        self._outcomes = {}

    def settled(self, *options):
        """Return the settings in which options stand together: their own values win, then what each needs."""
        settings = dict(self.base)
        for option in options:
            settings |= self.options[option][1]
        settings |= {option: self.options[option][0] for option in options}
        return {name: value for name, value in settings.items() if value is not None}

    def without(self, settings, option):
        """Return settings with an option as it is by default, and what it took the place of."""
        rest = {name: value for name, value in settings.items() if name != option}
        instead = {name: self.base[name] for name, value in self.options[option][1].items() if value is None}
        rest |= {name: value for name, value in instead.items() if option in ("--epochs", "--beam")}
        return rest | ({option: self.base[option]} if option in self.base else {})

    def outcome(self, room, settings):
        key = tuple(sorted(settings.items()))
        if key not in self._outcomes:
            self._outcomes[key] = (trained if self.name == "train" else printed)(room, self.name, settings)
        return self._outcomes[key]

    def complaint(self, room, *options):
        """Return what is wrong with options that stand together; None where each is obeyed or one is refused."""
        settings = self.settled(*options)
        code, told = self.outcome(room, settings)
        if code == 2:
            needed = [name for option in options for name in self.options[option][1]]
            return None if named(told, *options, *needed) else f"{options}: refused without a name: {told}"
        idle = [option for option in options if self.outcome(room, self.without(settings, option)) == (code, told)]
        return f"{options}: {', '.join(idle)} does nothing" if idle else None

    def complaints(self, room, option):
        """Return what is wrong with an option alone, and beside each of those that come later."""
        later = list(self.options)[list(self.options).index(option) + 1 :]
        pairs = [other for other in later if {option, other} & self.one_of]
        others = [other for other in pairs if {option, other} not in SPARED]
        found = [self.complaint(room, option), *(self.complaint(room, option, other) for other in others)]
        return "\n".join(filter(None, found))


COMMANDS = {
    "train": Command("train", BASE, TRAIN),
    "train --task classify": Command("train", CLASSIFY_BASE, CLASSIFY, NEW_IN_CLASSIFY),
    "train --task tag": Command("train", TAG_BASE, TAG, NEW_IN_TAG),
    "train --task convert": Command("train", CONVERT_BASE, CONVERT, NEW_IN_CONVERT),
    "sample": Command("sample", SAMPLE_BASE, SAMPLE),
    "score": Command("score", SCORE_BASE, SCORE),
    "predict": Command("predict", PREDICT_BASE, PREDICT),
    "test": Command("test", TEST_BASE, TEST),
    "explain": Command("explain", EXPLAIN_BASE, EXPLAIN),
    "report": Command("report", REPORT_BASE, REPORT),
    "plot": Command("plot", PLOT_BASE, PLOT),
}
ALL_OF_CLASSIFY, ALL_OF_TAG, ALL_OF_CONVERT = (
    Command("train", CLASSIFY_BASE, CLASSIFY),
    Command("train", TAG_BASE, TAG),
    Command("train", CONVERT_BASE, CONVERT),
)


def run(room, name, settings):
    result = CliRunner().invoke(main, [name, *arguments(room, settings)])
    assert result.exception is None or isinstance(result.exception, SystemExit), (settings, result.exception)
    return result


def printed(room, name, settings):
    """Return exit code and all that was printed."""
    result = run(room, name, settings)
    return result.exit_code, f"{result.stdout}\0{result.stderr}"


def trained(room, name, settings):
    """Return exit code and message, and what of a run does not depend on the clock, as a digest."""
    where = room / "m"
    shutil.rmtree(where, ignore_errors=True)
    if "there" in settings:
        shutil.copytree(room / settings["there"], where)
    result = run(room, name, settings)
    if result.exit_code:
        return result.exit_code, result.stderr
    tensors, metadata = checkpoint.load(where / "model.safetensors")
    facts = json.loads(metadata["charlm.training"])
    log = [json.loads(line) for line in (where / "log.jsonl").read_text().splitlines()]
    for entry in log:
        del entry["seconds"], entry["tokens_per_second"]
    seen = [log, metadata["charlm.model"], metadata["charlm.vocabulary"], bool(result.stderr)]
    seen += [
        metadata.get("charlm.classes"),
        metadata.get("charlm.tags"),
        metadata.get("charlm.conversion"),
        facts.get("test_nats"),
        facts["digests"],
    ]
    digest = hashlib.sha256(json.dumps(seen).encode())
    for key, value in sorted(tensors.items()):
        digest.update(key.encode() + value.tobytes())
    return 0, digest.hexdigest()


def arguments(room, settings):
    """Return settings as words of a command line; what is in the room is named by its path."""
    words = [word for name in settings.get("models", "").split() for word in ("-m", str(room / name))]
    for name, value in settings.items():
        for each in (value if isinstance(value, tuple) else [value]) if name.startswith("--") else []:
            label, sign, path = each.partition("=")
            each = f"{label}={room / path}" if sign and path and (room / path).exists() else each
            each = str(room / each) if (each != YES and (room / each).exists()) or each == "m" else each
            words += [name] if each == YES else [f"{name}={each}"]
    words += [str(room / settings["corpus"])] if "corpus" in settings else []
    return [*words, *settings.get("texts", "").split()]


def named(message, *options):
    """Say whether a message names one of the options."""
    return any(word in message for option in options for word in CALLED.get(option, (option.removeprefix("--"),)))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_option_is_in_a_table(command):
    arguments = ("corpus", "texts", "gold", "text")
    parameters = [option for option in main.commands[command.name].params if option.name not in arguments]
    for option in parameters:
        names = {*option.opts, *option.secondary_opts, option.name}
        assert names & (command.options.keys() | UNSEEN.keys()), option.name


@pytest.mark.parametrize(("command", "option"), [
    pytest.param(command, option, id=f"{name} {option}")
    for name, command in COMMANDS.items() for option in command.options
] + [
    pytest.param(ALL_OF_CLASSIFY, option, marks=pytest.mark.full, id=f"all pairs {option}") for option in CLASSIFY
] + [
    pytest.param(ALL_OF_TAG, option, marks=pytest.mark.full, id=f"all pairs of tags {option}") for option in TAG
] + [
    pytest.param(ALL_OF_CONVERT, option, marks=pytest.mark.full, id=f"all pairs of pairs {option}")
    for option in CONVERT
])  # fmt: skip
def test_an_option_is_obeyed_or_refused_beside_any_other(room, command, option, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)  # two thousand runs that nobody will miss
    monkeypatch.setitem(sys.modules, "torch", None)  # what it needs is refused by name where it is not installed
    monkeypatch.delitem(sys.modules, "charlm.engines.torch", raising=False)  # which other tests may have imported
    assert not command.complaints(room, option)


def test_info_has_one_option_and_obeys_it(room):
    assert printed(room, "info", {"models": "line"}) != printed(room, "info", {"models": "line", "--json": YES})
