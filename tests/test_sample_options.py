"""`sample`: each option is obeyed, or refused by name; bytes come through; a stream has no end."""

import itertools
import json
import subprocess
import sys

import pytest

from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.language import Language
from charlm.loading import load
from charlm.model import Model
from charlm.sampling import SamplingConfig
from charlm.text.tokenizers import EOS, ByteTokenizer
from tests.test_commands import assert_refused, started
from tests.test_commands import charlm as run
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """Models of lines, of a document, and of a document of bytes, nearly all of whose bytes are no UTF-8."""
    path = tmp_path_factory.mktemp("models")
    tiny_model("abc", spread=1.0).save(path / "line.safetensors")
    document = tiny_model("abcn\n\\", sequences="document", spread=0.3)
    document.engine.params["head.bias"][EOS] = -1
    document.save(path / "document.safetensors")
    tokenizer, config = ByteTokenizer(), ModelConfig(258, hidden=4, embedding=2)
    Model(NumpyEngine(config), config, Language(tokenizer, "document", "sequence"), {}).save(path / "bytes.safetensors")
    return path


def sampled(where, kind, *options, **more):
    return run("sample", "-m", where / f"{kind}.safetensors", *options, **more)


# --- pairs ----------------------------------------------------------------------------------------------------------

REFUSED = [
    ("line", ["--beam", 2, "--temperature", 0.5], "--temperature"),
    ("line", ["--beam", 2, "--top-k", 2], "--top-k"),
    ("line", ["--beam", 2, "--top-p", 0.5], "--top-p"),
    ("line", ["--beam", 2, "--min-p", 0.5], "--min-p"),
    ("line", ["--beam", 2, "--repetition-penalty", 2], "--repetition-penalty"),
    ("line", ["--beam", 2, "--seed", 1], "--seed"),
    ("line", ["--beam", 2, "-n", 2], "-n"),
    ("line", ["--beam", 2, "--contains", "a"], "--contains"),
    ("line", ["--beam", 2, "--pattern", "a"], "--pattern"),
    ("line", ["--beam", 2, "--tries", 5], "--tries"),
    ("line", ["--length", 0, "-n", 2], "-n"),
    ("line", ["--length", 0, "--json"], "--json"),
    ("line", ["--length", 0, "--beam", 2], "--beam"),
    ("line", ["--length", 0, "--contains", "a"], "--contains"),
    ("line", ["--length", 0, "--pattern", "a"], "--pattern"),
    ("line", ["--length", 0, "--novelty"], "--novelty"),
    ("line", ["--json", "-n", 2, "--separator", "x"], "--separator"),
    ("line", ["--json", "--raw"], "--raw"),
    ("line", ["--separator", "x"], "--separator"),
    ("line", ["--beam", 1, "--separator", "x"], "--separator"),
    ("line", ["--tries", 5], "--tries"),
    ("line", ["--no-echo"], "--no-echo"),
    ("line", ["--lines", 2], "--lines"),
    ("line", ["--contains", "a", "--temperature", 0], "temperature 0"),
    ("line", ["--contains", ""], "--contains must not be empty"),
    ("line", ["--starts-with", ""], "--starts-with must not be empty"),
    ("line", ["--novelty", ""], "--novelty"),
    ("line", ["--stop", ""], "stop must not be empty"),
    ("line", ["--prompt", "-", "--novelty", "-"], "--novelty -"),
    ("line", ["--prompt", "@"], "@@"),
    ("bytes", ["--unk", "keep"], "--unk"),
    ("line", ["--starts-with", "Ж"], "'Ж'"),
    ("line", ["--stop", "aЖ"], "'Ж'"),
    ("line", ["--contains", "Ж"], "'Ж'"),
    ("line", ["--contains", "a\n"], "single lines"),
    ("line", ["--pattern", "a+Ж.*"], "'Ж'"),
    ("line", ["--stop", "\n"], "single lines"),
    ("line", ["--contains", "abab", "--length", 3], "--length"),
    ("bytes", ["--pattern", "[ab]{9,}", "--length", 3, "--prompt", "abaab"], "it asks for 9 characters"),
]


@pytest.mark.parametrize(("kind", "options", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_obeyed_is_refused_by_name(where, kind, options, named):
    assert_refused(sampled(where, kind, *options), 2, named)


def test_what_is_as_long_as_a_text_can_be_is_drawn(where):
    found = sampled(where, "line", "--contains", "aab", "--length", 2, "--prompt", "a", "--seed", 1)
    assert found.stdout == "aab\n"
    options = ["--length", 2, "--prompt", "a", "--starts-with", "a", "--seed", 1]
    assert sampled(where, "line", "--pattern", "aab.", *options).stdout[:3] == "aab"


def test_a_setting_of_the_environment_gives_way_to_the_command_line(where):
    """It may be meant for other commands: what it cannot do here it does not forbid."""
    env = {"CHARLM_SAMPLE_SEED": "1", "CHARLM_SAMPLE_TEMPERATURE": "1.0"}
    assert sampled(where, "line", "--beam", 2, env=env).exit_code == 0
    seeded = sampled(where, "line", "-n", 3, "--seed", 1).stdout
    assert sampled(where, "line", "-n", 3, env=env).stdout == seeded


def test_a_beam_obeys_where_texts_end_and_how_they_begin(where):
    """Against all texts of up to four tokens, each ended as the options say; a document is never empty."""
    model = load(where / "document.safetensors")
    ways = {}
    for n in range(1, 5):
        for some in itertools.product("abcn\n\\", repeat=n):
            text = "".join(some)
            ends = "a\n" in text or n == 4
            if "a\n" in text[:-1]:
                continue
            ways[text] = ("stop" if "a\n" in text else "length") if ends else "eos"
    scores = {text: model.score(text, eos=why == "eos").logprob for text, why in ways.items()}
    best = sorted((-nats, text) for text, nats in scores.items())[:6]
    options = ["--beam", 1600, "--length", 4, "--stop", "a\n", "--json"]
    found = [json.loads(line) for line in sampled(where, "document", *options).stdout.splitlines()[:6]]
    assert [one["text"] for one in found] == [text.split("a\n")[0] for _, text in best]
    assert [one["logprob"] for one in found] == pytest.approx([-nats for nats, _ in best], rel=1e-5)
    assert [one["ended"] for one in found] == [ways[text] for _, text in best]
    for one in model.beam(4, length=12, lines=1):
        assert "\n" not in one.text
    for one in model.beam(4, length=6, starts_with="cb"):
        assert one.text.startswith("cb")


def test_json_obeys_the_other_options(where):
    plain = [json.loads(line) for line in sampled(where, "line", "-n", 3, "--seed", 1, "--json").stdout.splitlines()]
    numbered = sampled(where, "line", "-n", 3, "--seed", 1, "--json", "--number", "--prompt", "a", "--no-echo").stdout
    assert [json.loads(line)["number"] for line in numbered.splitlines()] == [1, 2, 3]
    prompted = sampled(where, "line", "-n", 3, "--seed", 1, "--prompt", "a").stdout.splitlines()
    assert [f"a{json.loads(line)['text']}" for line in numbered.splitlines()] == prompted
    assert "number" not in plain[0]


# --- without end ----------------------------------------------------------------------------------------------------


def test_a_stream_goes_on_after_eos_as_many_texts_do(where):
    many = sampled(where, "line", "-n", 30, "--seed", 3, "--length", 1000, "--number").stdout
    options = ["--length", 0, "--seed", 3, "--number"]
    with started("sample", "-m", where / "line.safetensors", *options) as process:
        assert process.stdout.read(len(many)).decode() == many
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_stream_of_documents_ends_with_its_lines_or_its_stop(where):
    for seed in range(5):
        text = sampled(where, "document", "--length", 0, "--lines", 40, "--separator", "", "--seed", seed).stdout
        assert text.count("\n") == 40
        parts = sampled(where, "document", "--length", 0, "--lines", 40, "--seed", seed).stdout
        assert parts.replace("-" * 20 + "\n", "") == text
        whole = sampled(where, "document", "-n", 40, "--length", 1000, "--separator", "", "--seed", seed).stdout
        assert whole.startswith(text)
        stopped = sampled(where, "document", "--length", 0, "--stop", "ab", "--separator", "", "--seed", seed).stdout
        assert stopped == whole.split("ab")[0] + "\n"
    assert parts.count("-" * 20) > 1
    model = load(where / "document.safetensors").writer()
    for seed in range(30):  # EOS ends the third line of some
        texts = ["".join(pieces) for pieces in model.series(SamplingConfig(0, lines=3), seed)]
        assert "\n".join(texts).count("\n") == 2


def test_each_text_of_a_stream_begins_with_its_prompt(where):
    options = ["--length", 0, "--lines", 20, "--prompt", "ba", "--seed", 1, "--separator", "%"]
    texts = sampled(where, "document", *options).stdout.split("\n%")
    assert len(texts) > 2
    assert all(text.startswith("ba") for text in texts)
    bare = sampled(where, "document", *options, "--no-echo").stdout.split("\n%")
    assert [f"ba{text}" for text in bare] == texts


# --- bytes ----------------------------------------------------------------------------------------------------------


def in_bytes(sample, prompt=b""):
    return prompt + bytes(k - 2 for k in sample["ids"] if k > 1)


@pytest.mark.parametrize("prompt", ["", "caf\udce9", "\udcc3", "é"])
def test_a_pipe_gets_the_bytes_themselves(where, prompt):
    """Streamed and whole; what a prompt breaks off inside a character is not written twice."""
    options = ["--length", 120, "--seed", 2, "--prompt", prompt]
    line = sampled(where, "bytes", *options, "--json").stdout
    sample = json.loads(line)
    wanted = in_bytes(sample, prompt.encode("utf-8", "surrogateescape"))
    assert len(wanted) > 20
    assert sampled(where, "bytes", *options).stdout_bytes == wanted + b"\n"
    assert sampled(where, "bytes", *options, "--number").stdout_bytes == b"1\t" + wanted + b"\n"
    assert sample["text"].encode("utf-8", "surrogateescape") == wanted
    line.encode("utf-8")
    bare = json.loads(sampled(where, "bytes", *options, "--json", "--no-echo").stdout)
    assert bare["text"].encode("utf-8", "surrogateescape") == in_bytes(sample)


@pytest.mark.parametrize("data", [b"caf\xe9", b"\xff\xfe\x00", b"a\r\nb"])
def test_a_prompt_of_bytes_comes_from_anywhere(where, tmp_path, data):
    (tmp_path / "prompt").write_bytes(data)
    options = ["--length", 20, "--seed", 2]
    for result in (
        sampled(where, "bytes", *options, "--prompt", f"@{tmp_path}/prompt"),
        sampled(where, "bytes", *options, "--prompt", "-", stdin=data),
    ):
        assert result.exit_code == 0
        assert result.stdout_bytes.startswith(data)
    command = [sys.executable, "-m", "charlm", "sample", "-m", where / "bytes.safetensors", "--length", "5", "--prompt"]
    if b"\0" not in data:
        assert subprocess.run([*command, data], capture_output=True, check=True).stdout.startswith(data)


def test_python_gets_text_to_show_and_samples_keep_the_bytes(where):
    model = load(where / "bytes.safetensors")
    (sample,) = model.samples(1, SamplingConfig(60), seed=4)
    data = bytes(k - 2 for k in sample.ids if k > 1)
    assert sample.text.encode("utf-8", "surrogateescape") == data
    assert model.sample(60, seed=4) == "".join(model.stream(60, seed=4)) == data.decode("utf-8", "replace")
    ended = sample.ended == "eos"
    assert model.score(sample.text, eos=ended).logprob == pytest.approx(sample.logprob, rel=1e-5)


# --- what looks like something else ---------------------------------------------------------------------------------


def test_a_text_may_begin_with_a_hyphen_or_an_at_sign(where):
    assert sampled(where, "bytes", "--prompt", "-5", "--length", 3).stdout_bytes.startswith(b"-5")
    assert sampled(where, "bytes", "--prompt", "@@anna", "--length", 3).stdout_bytes.startswith(b"@anna")
    assert sampled(where, "bytes", "--prompt", "@@@anna", "--length", 3).stdout_bytes.startswith(b"@@anna")
    assert_refused(sampled(where, "bytes", "--prompt", "@anna hello"), 66, "write @@anna hello")
    assert "@@" in run("sample", "--help").stdout


@pytest.mark.parametrize("name", ["stop", "contains", "starts-with", "prompt"])
def test_a_backslash_where_a_newline_may_be_meant_is_told(where, name):
    """Refused with the hint where the model has no backslash; taken as it stands, and said, where it has."""
    if name != "prompt":
        assert_refused(sampled(where, "line", f"--{name}", r"a\n"), 2, r"$'\n'")
    result = sampled(where, "document", f"--{name}", r"\n", "--seed", 1)
    assert r"$'\n'" in result.stderr
    fine = sampled(where, "document", f"--{name}", "\n", "--length", 100)
    assert (fine.exit_code, fine.stderr) == (0, "")


def test_a_backslash_in_the_separator_is_told(where):
    result = sampled(where, "line", "-n", 2, "--seed", 1, "--separator", r"\n***\n")
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert r"$'\n'" in result.stderr
    assert "\n\\n***\\n" in result.stdout
    assert sampled(where, "document", "--prompt", r"\nab", "--seed", 1).stderr.count("$'") == 0
