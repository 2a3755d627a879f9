"""The plan: always settings that work, growing with text and time, following what the user gave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import ModelConfig, TrainConfig
from charlm.plan import (
    _FLOPS,
    _about,
    classifier_defaults,
    converter_defaults,
    defaults,
    flops_per_token,
)

sizes = st.integers(1, 10**9)
MODEL = ("cell", "layers", "hidden", "embedding", "tie", "layer_norm", "residual", "dropout")
TRAINING = ("optimizer", "schedule", "weight_decay", "lr", "batch_size", "seq_len", "steps", "patience")


def settings_for(*arguments):
    """Return what was planned, without the reason."""
    return defaults(*arguments)[0]


@given(sizes, st.integers(2, 10**6), st.one_of(st.none(), st.floats(0.01, 10**4)), st.sampled_from(["char", "word"]))
def test_every_plan_is_a_valid_one(tokens, vocabulary, minutes, tokenizer):
    chosen = {"tokenizer": tokenizer} | ({"minutes": minutes} if minutes else {})
    plan = settings_for(tokens, vocabulary, chosen)
    ModelConfig(vocabulary, **{name: plan[name] for name in MODEL})
    config = TrainConfig(**{name: plan[name] for name in TRAINING}, minutes=minutes)
    assert (config.steps is None) == (minutes is not None)


@given(sizes, sizes, st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_more_time_never_asks_for_a_smaller_network_nor_more_text_for_more_dropout(one, other, minutes, others):
    less, more = sorted((one, other))
    rounding = 0.03  # of the width, which moves how often a text is read
    assert settings_for(less, 65, {})["dropout"] >= settings_for(more, 65, {})["dropout"] - rounding
    short, long = (settings_for(one, 65, {"minutes": time}) for time in sorted((minutes, others)))
    assert flops_per_token(short, 65) <= flops_per_token(long, 65)


@pytest.mark.parametrize("layers", [1, 2])
@given(st.integers(1, 10**7), sizes)
def test_more_text_never_asks_for_a_narrower_network_of_as_many_layers(layers, less, added):
    narrow, wide = (settings_for(tokens, 65, {"layers": layers}) for tokens in (less, less + added))
    assert narrow["hidden"] <= wide["hidden"]


def test_two_layers_are_for_texts_of_characters_that_are_read_often():
    """As measured: two were better on 350 kB of code and in 15 minutes of a megabyte, one in 2.5 minutes of it."""
    assert settings_for(315_000, 98, {"minutes": 1.5})["layers"] == 2
    assert settings_for(10**6, 67, {"minutes": 15})["layers"] == 2
    assert settings_for(10**6, 67, {"minutes": 2.5})["layers"] == 1
    assert settings_for(14_000, 54, {})["layers"] == 1
    assert settings_for(10**6, 10_000, {"tokenizer": "word", "minutes": 90})["layers"] == 1


def test_layers_are_normalised_where_the_text_is_of_characters_and_not_small():
    """As measured: a megabyte, a novel and code were learnt sooner, 14,000 letters of names by heart."""
    assert settings_for(10**6, 67, {"minutes": 2.5})["layer_norm"]
    assert settings_for(250_000, 70, {})["layer_norm"]
    assert not settings_for(14_000, 54, {})["layer_norm"]
    assert not settings_for(10**6, 10_000, {"tokenizer": "word"})["layer_norm"]


def test_layers_are_not_normalised_where_that_has_no_fused_loops():
    """As measured on a GPU: PyTorch goes a step at a time then, nine times as slowly."""
    assert not settings_for(10**6, 67, {"minutes": 2.5, "engine": "torch"})["layer_norm"]
    assert settings_for(10**6, 67, {"minutes": 2.5, "engine": "numpy"})["layer_norm"]


def test_the_users_layers_set_the_width():
    one, two = (settings_for(10**6, 67, {"minutes": 15, "layers": layers}) for layers in (1, 2))
    assert (one["layers"], two["layers"]) == (1, 2)
    assert two["hidden"] == settings_for(10**6, 67, {"minutes": 15})["hidden"] < one["hidden"]


@given(st.integers(2_000, 10**9), st.integers(2, 10_000))
def test_a_run_without_minutes_takes_a_known_amount_of_work(tokens, vocabulary):
    plan = settings_for(tokens, vocabulary, {})
    work = plan["steps"] * plan["batch_size"] * plan["seq_len"]
    work *= flops_per_token(plan, vocabulary)
    rows = plan["batch_size"] * plan["seq_len"]
    least = 301 * rows * flops_per_token(plan, vocabulary)
    assert work <= max(least, 240 * _FLOPS * 1.01)


@given(st.integers(2_000, 10**8), st.floats(0.1, 1000), st.floats(1e9, 1e12), st.floats(1e9, 1e12))
def test_with_minutes_a_faster_machine_plans_for_more_and_says_so(tokens, minutes, one, other):
    slow, fast = sorted((one, other))
    given_minutes = {"minutes": minutes}
    less, more = (settings_for(tokens, 65, given_minutes, lambda rate=rate: rate) for rate in (slow, fast))
    _, reason = defaults(tokens, 65, given_minutes, lambda: fast)
    assert flops_per_token(less, 65) <= flops_per_token(more, 65)
    assert f"{minutes:g} minutes at {fast / 1e9:.0f} GFLOP/s" in reason


def test_without_minutes_no_machine_is_measured():
    def measure():
        raise AssertionError

    assert defaults(10**6, 65, {}, measure)[0] == settings_for(10**6, 65, {})


def test_a_small_text_is_not_learnt_by_heart():
    plan = settings_for(14_000, 54, {})
    assert plan["steps"] * plan["batch_size"] * plan["seq_len"] < 90 * 14_000
    assert plan["dropout"] > 0.4
    assert settings_for(14_000, 54, {"minutes": 5})["patience"] is not None
    assert settings_for(10**6, 65, {"minutes": 5})["patience"] is None


@pytest.mark.parametrize(
    ("chosen", "tie"),
    [({}, True), ({"hidden": 100}, True), ({"hidden": 100, "embedding": 50}, False), ({"embedding": 48}, False)],
)
def test_words_tie_their_weights_where_the_sizes_allow(chosen, tie):
    plan = settings_for(10**6, 10_000, {"tokenizer": "word"} | chosen)
    assert plan["tie"] == tie
    assert plan["hidden"] == chosen.get("hidden", plan["hidden"])
    assert (plan["embedding"] == plan["hidden"]) == tie


def test_weight_decay_goes_with_muon_alone():
    assert settings_for(10**6, 65, {})["weight_decay"] == 0.1
    for other in ("adam", "sgd", "rmsprop"):
        plan = settings_for(10**6, 65, {"optimizer": other})
        assert (plan["optimizer"], plan["weight_decay"]) == (other, 0.0)


# --- classifiers -----------------------------------------------------------------------------------------------------


def test_a_classifier_is_planned_by_its_texts():
    few, reason = classifier_defaults(80_000, 2000, 60, {})
    many, _ = classifier_defaults(120_000, 14_000, 80, {})
    long, _ = classifier_defaults(300_000, 3700, 110, {})
    words, _ = classifier_defaults(120_000, 13_000, 9000, {"tokenizer": "word"})
    assert (few["hidden"], few["batch_size"], few["dropout"]) == (64, 32, 0.3)
    assert (many["hidden"], many["batch_size"], many["dropout"]) == (128, 64, 0.5)
    assert (many["pool"], long["pool"]) == ("last", "max")
    assert (many["ngrams"], words["ngrams"]) == (4, 2)
    assert (many["token_dropout"], words["token_dropout"]) == (0.0, 0.1)
    assert (many["embedding_scale"], words["embedding_scale"]) == (1.0, 0.2)
    assert (many["epochs"], words["epochs"]) == (20, 10)
    assert few["bidirectional"]
    assert "20.0 times" in reason


def test_a_classifier_of_very_much_text_reads_it_less_often():
    large, _ = classifier_defaults(40_000_000, 500_000, 100, {})
    assert 1 <= large["epochs"] < 5


def test_the_time_that_a_classifier_has_is_the_users():
    given = {"minutes": 5.0}
    settings, reason = classifier_defaults(120_000, 14_000, 80, given, lambda: 50e9)
    assert settings["epochs"] is None
    assert settings["patience"] is not None  # five minutes are more than so few texts need
    assert "5 minutes" in reason
    short, _ = classifier_defaults(40_000_000, 500_000, 100, given, lambda: 50e9)
    assert short["patience"] is None


@pytest.mark.parametrize(("vocabulary", "chosen", "order"), [
    (60, {}, 8), (1000, {}, 8), (5000, {}, 4), (60, {"tokenizer": "word"}, 5), (20_000, {"tokenizer": "word"}, 5),
    (60, {"counts_from": "c.arpa"}, 0), (60, {"layers": 0}, 8),
])  # fmt: skip
def test_n_grams_are_as_long_as_served_best(vocabulary, chosen, order):
    assert settings_for(10**5, vocabulary, chosen)["counts"] == order


def test_a_converter_is_planned_by_its_pairs():
    """More of them are read less often and in larger batches, at a higher rate; a fast machine
    does not matter unless there is a time."""
    sizes = (500, 3000, 12_000, 120_000)
    plans = [converter_defaults(n, 10 * n, 9 * n, {})[0] for n in sizes]
    assert [plan["batch_size"] for plan in plans] == [32, 64, 128, 256]
    assert [plan["lr"] for plan in plans] == [0.004, 0.006, 0.008, 0.008]
    assert [plan["epochs"] for plan in plans][:3] == [30, 30, 30] > [plans[3]["epochs"]]
    assert all(plan["patience"] is None and plan["bidirectional"] for plan in plans)
    wide, _ = converter_defaults(120_000, 10**6, 10**6, {"hidden": 384})
    narrow, _ = converter_defaults(120_000, 10**6, 10**6, {"hidden": 192})
    assert wide["epochs"] == pytest.approx(narrow["epochs"] / 4, abs=0.1)


@pytest.mark.parametrize(("minutes", "patience"), [(0.2, None), (60, 8)])
def test_the_time_that_a_converter_has_is_the_users(minutes, patience):
    plan, why = converter_defaults(2000, 20_000, 20_000, {"minutes": minutes}, lambda: 50e9)
    assert (plan["epochs"], plan["patience"]) == (None, patience)
    assert f"plan: {minutes:g} minutes allow reading each pair" in why


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "2 seconds"), (89.4, "89 seconds"), (91, "2 minutes"), (240, "4 minutes")],
)
def test_a_time_is_told_as_people_say_it(seconds, said):
    assert _about(seconds) == f"about {said}"
