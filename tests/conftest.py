"""What several test files share: hypothesis without a clock, and random chunks, weights and states."""

import os
import signal
import warnings

import numpy as np
import pytest
from hypothesis import settings

from charlm.config import NO_TOKEN

with warnings.catch_warnings(action="ignore"):  # of compiled loops that are out of date: pytest_configure says it
    from charlm.nn import kernel
from charlm.nn.model import shapes
from charlm.nn.params import Params
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch
from tests.browser import browser, in_node, page_of

__all__ = ["browser", "in_node", "page_of"]

settings.register_profile("charlm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("charlm")

# A shell starts background jobs with SIGINT ignored, nohup does that of SIGHUP, and processes inherit it:
# the tests send them, so they need them.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


_IN_A_BROWSER = set()


def pytest_runtest_logreport(report):
    """Remember which tests have looked at a page."""
    if report.when == "call" and "page_of" in report.keywords and not report.skipped:
        _IN_A_BROWSER.add(report.nodeid)


def pytest_terminal_summary(terminalreporter):
    """Say how many tests ran in a browser, or that none did."""
    reports = terminalreporter.stats.get(
        "skipped", []
    )  # of whole files, too, which have no keywords
    skipped = [report for report in reports if "page_of" in getattr(report, "keywords", ())]
    if _IN_A_BROWSER or skipped:
        count = f"{len(_IN_A_BROWSER)} tests ran in a browser"
        terminalreporter.write_line(f"{count}, {len(skipped)} were skipped" if skipped else count)


def pytest_collection_modifyitems(items):
    """Let a report know of its test whether it takes a browser."""
    for item in items:
        if "page_of" in item.fixturenames:
            item.add_marker(pytest.mark.page_of)


def pytest_configure():
    """Refuse to test compiled loops that are not those of this source, or that cannot be opened."""
    if kernel.missing and "installed again" in kernel.missing:
        raise pytest.UsageError(f"{kernel.missing}: pip install -e .")


@pytest.fixture(scope="session")
def chunk_of():
    """Return a function that makes a chunk with resets inside it, each fed the zero vector, and targets left out."""

    def make(config, steps, columns, seed=0):
        rng = np.random.default_rng(seed)
        shape = steps, columns
        inputs, ids = (rng.integers(config.vocab_size, size=shape, dtype=np.int32) for _ in range(2))
        reset = rng.random(shape) < 0.2
        reset[0, 0], reset[steps // 2, columns // 2] = True, True
        weight = (rng.random(shape) < 0.8).astype(np.float32)
        weight[-1] = 1
        return Batch(np.where(reset, np.int32(NO_TOKEN), inputs), ids, reset, weight)

    return make


@pytest.fixture(scope="session")
def params_of():
    """Return a function that draws all parameters, biases too, so that none is zero and few relus are dead."""

    def make(config, dtype=np.float64, seed=0):
        params = Params(shapes(config), dtype)
        params.flat[:] = 0.5 * np.random.default_rng(seed).standard_normal(params.flat.size)
        if config.nonlinearity == "relu":
            for k in range(config.layers):
                params[f"rnn.bias_ih_l{k}"][...] += 1
        return params

    return make


@pytest.fixture(scope="session")
def state_of():
    """Return a function that draws a state in the middle of a text: each part [layers, B, H]."""

    def make(config, columns, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        return tuple(rng.uniform(-0.9, 0.9, part.shape).astype(dtype) for part in zero_state(config, columns))

    return make
