"""Unknown tokens in training: their share stands beside every figure, and bits per character are withheld."""

import json
import re

import pytest
from click.testing import CliRunner

from charlm import checkpoint
from charlm.cli import main
from charlm.scoring import percent

NAMES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 2
TINY = ["--hidden", "8", "--embedding", "4", "--batch-size", "4", "--seq-len", "8", "--threads", "1", "--steps", "4"]


def told(tmp_path, text, *options, valid=None):
    """Train on a text and return the lines on stderr."""
    corpus = tmp_path / "c.txt"
    corpus.write_text(text, encoding="utf-8")
    if valid is not None:
        (tmp_path / "v.txt").write_text(valid, encoding="utf-8")
        options = (*options, "--valid-file", str(tmp_path / "v.txt"))
    where = ["train", str(corpus), "-m", str(tmp_path / "m"), "--force", *TINY, "--eval-every", "2", *options]
    result = CliRunner().invoke(main, where)
    assert result.exit_code == 0, result.stderr
    return result.stderr.splitlines()


def starting(lines, *beginnings):
    return [line for line in lines if line.startswith(beginnings)]


def rows(lines):
    """Return the rows of the table: time left, share done, %, step, training, validation."""
    return [line for line in lines if re.match(r" +\d+:\d\d +\d+ % ", line)]


def test_where_all_is_known_there_are_bits_and_no_shares(tmp_path):
    lines = told(tmp_path, NAMES, "--test-fraction", "0.2")
    assert not [line for line in lines if "unknown" in line]
    (test,) = starting(lines, "test ")
    assert re.fullmatch(r"test \d\.\d{4} nats \(\d\.\d{3} bits/char\) over \d+ tokens", test)
    assert len(starting(lines, "losses in bits per character;")) == 1
    bits = float(re.search(r"(\d\.\d{3}) bits/char", starting(lines, "best valid")[0])[1])
    assert bits == min(float(row.split()[5]) for row in rows(lines))
    assert len(starting(lines, "best valid")) == 1


def test_shares_stand_beside_validation_best_and_test(tmp_path):
    """Of each part's 100 tokens, EOS included, 20 are unknown."""
    (tmp_path / "t.txt").write_text("abZZ\nabcd\n" * 10)
    lines = told(tmp_path, NAMES, "--test-file", str(tmp_path / "t.txt"), valid="abZZ\nabcd\n" * 10)
    assert "100 valid (20.0 % unknown), 100 test (20.0 % unknown) tokens" in starting(lines, "text:")[0]
    assert len(starting(lines, "losses in nats per token (valid 20.0 % unknown);")) == 1
    (best,) = starting(lines, "best valid")
    nats = re.search(r"valid (\d\.\d{4}) nats \(20\.0 % unknown\)", best)[1]
    assert float(nats) == min(float(row.split()[5]) for row in rows(lines))
    (test,) = starting(lines, "test ")
    assert re.fullmatch(r"test \d\.\d{4} nats \(20\.0 % unknown\) over 100 tokens", test)


def test_unknown_tokens_of_training_are_told_there(tmp_path):
    """Five tokens are kept, of 13: the specials and three letters."""
    lines = told(tmp_path, NAMES, "--vocab-size", "5")
    assert re.search(r"text: [\d,]+ train \(\d\d\.\d % unknown\), ", starting(lines, "text:")[0])
    (unit,) = starting(lines, "losses in ")
    assert re.match(r"losses in nats per token \(train \d\d\.\d % unknown, valid \d", unit)
    assert not [line for line in lines if "bits/" in line]


def test_words_have_their_share_beside_the_perplexity(tmp_path):
    text = NAMES.replace("a", "a ").replace("d", " odd ")
    lines = told(tmp_path, text, "--tokenizer", "word", "--min-count", "1", valid=text.replace("odd", "even"))
    (unit,) = starting(lines, "losses in ")
    assert re.match(r"losses in perplexity \(.*valid \d\d\.\d % unknown\);", unit)
    perplexity = re.search(
        r"\(perplexity ([\d.]+), \d\d\.\d % unknown\)", starting(lines, "best")[0]
    )[1]
    assert perplexity in [row.split()[5] for row in rows(lines)]


def test_bits_are_withheld_where_the_tokenizer_drops_information(tmp_path):
    lines = told(tmp_path, NAMES, "--lowercase")
    assert not [line for line in lines if "bits/" in line or "% unknown" in line]
    assert len(starting(lines, "losses in nats per token;")) == 1


@pytest.mark.parametrize("sequences", ["line", "document"])
def test_a_validation_part_without_a_known_token_is_told_and_the_last_weights_kept(tmp_path, sequences):
    lines = told(tmp_path, NAMES.replace("\n", " ") if sequences == "document" else NAMES, "--patience", "1",
                 "--sequences", sequences, valid="ÄÖÜ" * 9)  # fmt: skip
    (note,) = [line for line in lines if "no token of the validation part is known" in line]
    assert "the last weights are kept" in note
    assert not starting(lines, "best")
    assert rows(lines)
    assert not [row for row in rows(lines) if "*" in row]
    facts = json.loads(checkpoint.load(tmp_path / "m" / "model.safetensors")[1]["charlm.training"])
    entries = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert facts["step"] == 4
    assert entries[-1]["valid_unknown"] == facts["valid_unknown"] == 27


def test_fine_tuning_with_a_kept_vocabulary_tells_the_share_too(tmp_path):
    told(tmp_path, NAMES)
    base = tmp_path / "base"
    (tmp_path / "m").rename(base)
    shape = {"--hidden", "8", "--embedding", "4"}
    assert shape < set(TINY)
    lines = told(tmp_path, NAMES.replace("a", "Z"), "--init-from", str(base), "--keep-vocabulary")
    assert re.search(r"train \(\d\d\.\d % unknown\)", starting(lines, "text:")[0])
    lines = told(tmp_path, NAMES.replace("a", "Z"), "--init-from", str(base))
    assert not [line for line in lines if "unknown" in line]


def test_a_share_is_never_rounded_to_nothing_or_all():
    shares = [percent(*pair) for pair in ((0, 0), (0, 7), (1, 3), (7, 7), (1, 10**6), (10**6 - 1, 10**6))]
    assert shares == ["0 %", "0 %", "33.3 %", "100.0 %", "0.0001 %", "99.9 %"]
