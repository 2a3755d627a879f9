"""What units follow: properties of a text, and correlations chosen on one half and measured on the
other."""

import numpy as np
import pytest

from charlm.following import correlations, followers, properties


def marks(text, name):
    return "".join(str(int(value)) for value in properties(text)[name])


def test_properties_are_those_after_a_character_was_read():
    assert marks("ab\nc\n\nd", "position in the line") == "1201001"
    assert marks('a "b" c', "inside quotes") == "0011000"
    assert marks("«a» „b“", "inside quotes") == "1100110"
    assert marks('"a\n\nb', "inside quotes") == "11100"  # a blank line ends it
    assert marks("(a[b]c)d", "inside brackets") == "11111100"
    assert marks(")a(b\n\nc", "inside brackets") == "0011100"
    assert marks("（中）", "inside brackets") == "110"
    assert marks("aBc Éé", "capitals") == "010010"
    assert marks("ab, cd 1e", "word starts") == "100010010"
    assert marks("क्या है", "word starts") == "1000010"  # marks are part of a word


def test_correlations_are_pearson_s():
    rng = np.random.default_rng(0)
    values, wanted = rng.standard_normal((50, 4)).astype(np.float32), rng.standard_normal(50)
    values[:, 1] = -3 * wanted + 1e3
    values[:, 2] = 0.1
    expected = [np.corrcoef(values[:, k], wanted)[0, 1] for k in (0, 1, 3)]
    found = correlations(values, wanted)
    assert found[[0, 1, 3]] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(found[2])
    assert np.isnan(correlations(values, np.ones(50))).all()


def test_a_unit_is_chosen_by_the_first_half_and_measured_on_the_second():
    wanted = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 1], float)
    values = np.random.default_rng(1).standard_normal((10, 5))
    values[:5, 3] = -wanted[:5]
    values[5:, 2] = wanted[5:]
    best, second, *_ = followers(values, wanted, 5)
    assert (best.unit, best.chosen) == (3, pytest.approx(-1))
    assert best.measured == pytest.approx(np.corrcoef(values[5:, 3], wanted[5:])[0, 1])
    assert abs(second.chosen) < 1
    assert [one.unit for one in followers(values, wanted, 1)] == [3]
    assert followers(values, np.repeat([0.0, 1.0], 5), 3) == []
