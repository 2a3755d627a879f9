"""`charlm explain`: what bears on a token, and how far back a model looks."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from charlm.cli import main
from charlm.errors import UsageError
from charlm.explanation import explain
from charlm.inspection import memory_of, spread
from tests.test_counts_model import with_counts
from tests.tiny import tiny_classifier, tiny_labelled, tiny_model

TEXT = "abcabacbab"


@pytest.fixture(scope="module")
def model():
    """Return a model whose vector of b is zero, and of whose run training cut gradients after 7
    steps."""
    made = tiny_model("abc", layers=2, spread=1)
    weights = made.engine.tensors()
    weights["embed.weight"][made.tokenizer.encode("b")] = 0
    made.engine.load(weights)
    made.facts["settings"] = {"seq_len": 7}
    return made


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    found = tmp_path_factory.mktemp("explain") / "model"
    model.save(found)
    return str(found)


def run(*arguments):
    result = CliRunner().invoke(main, ["explain", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("place", [1, 4, len(TEXT), -1, -3])
def test_each_token_before_it_has_its_figures(model, place):
    found = explain(model, TEXT, place)
    scored = model.score(TEXT, eos=False, per_token=True).per_token[
        place - 1 if place > 0 else place
    ]
    assert found.logprob == pytest.approx(scored.logprob, rel=1e-5)
    assert (found.place, found.token) == (
        place if place > 0 else len(TEXT) + 1 + place,
        scored.token,
    )
    assert [one.back for one in found.earlier] == list(range(1, found.place + 1))
    assert [one.place + one.back for one in found.earlier] == [found.place] * found.place
    tokens = ["<beginning>", *TEXT]
    assert [one.token for one in found.earlier] == [tokens[one.place] for one in found.earlier]
    # a vector of zeros, as b and the beginning have, is worth nothing
    assert [one.worth == 0 for one in found.earlier] == [
        one.token in ("b", "<beginning>") for one in found.earlier
    ]
    assert [one.gradient is None for one in found.earlier] == [
        one.place == 0 for one in found.earlier
    ]


def test_memory_is_that_of_all_tokens(model):
    every = [explain(model, TEXT, place).earlier for place in range(1, len(TEXT) + 1)]
    found = explain(model, TEXT).memory
    for k in range(len(TEXT) - 1):
        slopes = [earlier[k].gradient for earlier in every if k < len(earlier) - 1]
        assert found.tokens[k] == len(slopes)
        np.testing.assert_allclose(
            found.quartiles[:, k], np.quantile(slopes, (0.25, 0.5, 0.75)), rtol=1e-4
        )


def test_memory_ends_where_few_tokens_go_so_far_back():
    slope = np.arange(12.0).reshape(4, 3)
    slope[2:, 1], slope[1:, 2] = np.nan, np.nan
    found = memory_of(slope, fewest=2)
    assert found.tokens.tolist() == [4, 2]
    assert found.quartiles[1].tolist() == [4.5, 2.5]
    assert memory_of(slope[:1], fewest=2).quartiles.shape == (3, 0)


def test_tokens_are_spread_over_the_text():
    assert spread(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]
    assert spread(np.arange(100), 4).tolist() == [12, 37, 62, 87]


def test_as_json(path, model):
    found = json.loads(run("-m", path, "--json", "--token", "-2", TEXT).stdout)
    expected = explain(model, TEXT, -2)
    assert (found["text"], found["token"], found["place"], found["tokens"]) == (TEXT, "a", 9, 10)
    assert (found["logprob"], found["seq_len"]) == (pytest.approx(expected.logprob), 7)
    assert [one["worth"] for one in found["earlier"]] == pytest.approx(
        [one.worth for one in expected.earlier]
    )
    assert [row["back"] for row in found["memory"]] == list(range(1, 10))
    assert [row["gradient"] for row in found["memory"]][:8] == pytest.approx(
        [one.gradient for one in expected.earlier][:8]
    )
    assert found["memory"][8]["gradient"] is None  # the state before it is the beginning's
    assert found["memory"][0]["median"] == pytest.approx(expected.memory.quartiles[1, 0])


def test_for_people(path, model):
    result = run("-m", path, "--top", 2, TEXT)
    first, _, head, *rows = result.stdout.splitlines()
    found = explain(model, TEXT)
    assert first == f'token 10 of 10: "b"  {found.logprob:.4f} nats  {found.bits:.3f} bits'
    assert head.split() == ["steps", "back", "nats", "token"]
    strongest = sorted(found.earlier, key=lambda one: -abs(one.worth))[:2]
    assert [row.split() for row in rows[:2]] == [
        [str(one.back), f"{one.worth:+.4f}", f'"{one.token}"'] for one in strongest
    ]
    assert rows[2] == ""
    assert rows[-1] == "training cut the gradients after 7 steps"
    assert result.stderr == ""


def test_counts_have_no_part_in_it(tmp_path, model):
    with_counts(model, 3).save(tmp_path / "both")
    alone, both = (run("-m", tmp_path / "both", TEXT) for _ in range(2))
    assert alone.stdout == both.stdout
    assert "network alone" in both.stderr
    assert json.loads(run("-m", tmp_path / "both", "--json", TEXT).stdout)[
        "logprob"
    ] == pytest.approx(explain(model, TEXT).logprob)


def test_of_labelled_texts_the_label_is_the_beginning(tmp_path):
    tiny_labelled().save(tmp_path / "labelled")
    yes, no = (
        json.loads(run("-m", tmp_path / "labelled", "--json", "--label", label, "abab").stdout)
        for label in ("yes", "no")
    )
    assert yes["earlier"][-1]["token"] == "<beginning>"
    assert yes["earlier"][-1]["worth"] != no["earlier"][-1]["worth"]
    assert run("-m", tmp_path / "labelled", "abab").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--token", "0", TEXT], "token must be from 1 to 10, or from -10 to -1, not 0"),
        (["--token", "11", TEXT], "token must be from 1 to 10"),
        (["--token", "-11", TEXT], "token must be from 1 to 10"),
        ([""], "the text has no tokens"),
        (["-"], "not standard input"),
        (["--top", "0", TEXT], "top must be at least 1"),
        (["--json", "--top", "3", TEXT], "leave --top out"),
        (["--label", "yes", TEXT], "leave --label out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(path, arguments, told):
    result = run("-m", path, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_dash_after_dashes_is_a_text(path):
    assert run("-m", path, "--", "-").stdout.startswith('token 1 of 1: "-"')


def test_what_has_no_network_or_no_tokens_to_come_is_refused(tmp_path, model):
    tiny_classifier().save(tmp_path / "classes")
    result = run("-m", tmp_path / "classes", "ab")
    assert result.exit_code == 2
    assert "no language model" in result.stderr
    with pytest.raises(UsageError, match="no tokens"):
        explain(model, "")
