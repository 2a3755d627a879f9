"""One model in many threads and processes: the figures it gives alone, and BLAS afterwards as it was."""

import multiprocessing
import os
import pickle
import select
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import threads as sharing
from charlm.engines.numpy import NumpyEngine
from charlm.engines.threads import SingleThreadedBlas, Threads
from charlm.model import mix
from charlm.nn import kernel
from charlm.nn.model import LanguageModel
from charlm.sampling import SamplingConfig
from charlm.text.batches import Batch
from tests.tiny import tiny_model

COMPILED = ["base", "avx2", "avx512"][: ["numpy", "base", "avx2", "avx512"].index(kernel.target)]
TEXTS = [f"{'ab' * (k % 7)}{'ba' * (k % 5)}a" for k in range(24)]
PATIENCE = 120  # seconds until something that hangs has failed


@pytest.fixture(params=["numpy", *COMPILED])
def target(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(kernel, "_library", None)
    monkeypatch.setattr(kernel, "target", request.param)
    return request.param


@pytest.fixture
def restless():
    """Let threads change places as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work, arguments):
    """Call `work` with each argument, on a thread for each, all begun together; results in order."""
    begin = threading.Barrier(len(arguments))

    def begun(argument):
        begin.wait(PATIENCE)
        return work(argument)

    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(begun, arguments))


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """Let BLAS have two threads, which is more than charlm leaves it; whoever wants may change that."""
    with threadpool_limits(2, user_api="blas"):
        for library in BLAS_LIBRARIES:
            sharing._disown(library)
        if 2 not in blas_threads():
            pytest.skip("this NumPy's BLAS is none whose threads can be set")
        yield blas_threads()


BLAS_LIBRARIES = sharing.ThreadpoolController().select(user_api="blas").lib_controllers


# Threads


@pytest.mark.parametrize("call", ["log_probs", "ranked", "logits", "read"])
def test_calls_that_meet_halfway_do_not_meet(target, call, monkeypatch, chunk_of):
    """Each has its hidden values before any of them goes on to the softmax."""
    config = ModelConfig(6, layers=2, hidden=5, embedding=3)
    engine, chunks = NumpyEngine(config), [chunk_of(config, 4, 3, seed) for seed in range(4)]
    calls = {
        "log_probs": lambda chunk: engine.log_probs(chunk, engine.zero_state(3)),
        "ranked": lambda chunk: engine.log_probs(chunk, engine.zero_state(3), 2),
        "logits": lambda chunk: engine.logits(chunk.inputs, engine.zero_state(3)),
        "read": lambda chunk: engine.read(chunk, engine.zero_state(3)),
    }
    alone = [pickle.dumps(calls[call](chunk)) for chunk in chunks]
    meeting, original = threading.Barrier(len(chunks)), LanguageModel._hidden

    def hidden(*arguments):
        found = original(*arguments)
        meeting.wait(PATIENCE)
        return found

    monkeypatch.setattr(LanguageModel, "_hidden", hidden)
    assert [pickle.dumps(found) for found in at_once(calls[call], chunks)] == alone


def test_hidden_values_stay_when_the_next_call_comes(target, monkeypatch, chunk_of):
    """Another thread may read between the end of a call's shares and their being put together."""
    config = ModelConfig(6, hidden=5, embedding=3)
    engine, (batch, other) = NumpyEngine(config, 2), (chunk_of(config, 4, 3, seed) for seed in range(2))
    expected, run = pickle.dumps(engine.read(batch, engine.zero_state(3))), engine._threads.run

    def run_and_read(*arguments):
        found = run(*arguments)
        monkeypatch.setattr(engine._threads, "run", run)
        engine.read(other, engine.zero_state(3))
        return found

    monkeypatch.setattr(engine._threads, "run", run_and_read)
    assert pickle.dumps(engine.read(batch, engine.zero_state(3))) == expected


def uses(model, text):
    """Return what a model says of a text in all the ways there are."""
    state = model.begin_state(text)
    adapting = model.cached(5, lr=0.1)
    ids = model.prompt_ids(text)[:, None]
    return pickle.dumps([
        model.score(text, per_token=True), [float(score) for score in model.scores(TEXTS[:9])],
        model.sample(9, text, seed=len(text)), list(model.samples(3, SamplingConfig(9), text, seed=1)),
        model.next_tokens(text), model.base_score(state, "b")[0], model.beam(2, 5, text), model.surprisal(text),
        adapting.evaluate(chunk(ids), adapting.zero_state(1))[0], model.perplexity(text),
    ])  # fmt: skip


def chunk(ids):
    return Batch(ids, ids, np.zeros(ids.shape, np.bool_), np.ones(ids.shape, np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_says_in_many_threads_what_it_says_alone(target, threads, restless, two_blas_threads):
    """To the bit, also where the very first calls come at once, and with several models side by side."""
    models = [tiny_model(cell=cell, layers=2, threads=threads, layer_norm=True) for cell in ("gru", "lstm")]
    twins = [pickle.loads(pickle.dumps(model)) for model in models]
    if threads == 2:  # how columns are shared out is for NumPy's loops part of the rounding
        twins = [tiny_model(cell=cell, layers=2, threads=2, layer_norm=True) for cell in ("gru", "lstm")]
    work = [(which, text) for text in TEXTS[:4] for which in (0, 1)]
    alone = [uses(twins[which], text) for which, text in work]
    assert at_once(lambda one: uses(models[one[0]], one[1]), work) == alone
    assert blas_threads() == two_blas_threads


def test_a_mixture_says_in_many_threads_what_it_says_alone(target, restless):
    mixture = mix([tiny_model(cell="gru", threads=2), tiny_model(cell="lstm")], [0.3, 0.7])
    alone = [float(score) for score in mixture.scores(TEXTS)]
    assert at_once(lambda _: [float(score) for score in mixture.scores(TEXTS)], list(range(4))) == [alone] * 4


def test_what_a_call_that_failed_has_used_is_not_used_again(monkeypatch, chunk_of):
    """An interruption may come in the midst of a share while another thread is still at its own."""
    config = ModelConfig(6, hidden=5, embedding=3)
    engine, other_goes_on, ended = NumpyEngine(config, 2), threading.Event(), []
    original = LanguageModel._hidden

    def hidden(*arguments):
        if threading.current_thread() is threading.main_thread():
            other_goes_on.set()
            raise KeyboardInterrupt
        other_goes_on.wait(PATIENCE)
        found = original(*arguments)
        ended.append(True)
        return found

    state, batch = engine.zero_state(4), chunk_of(config, 4, 4)
    expected = pickle.dumps(engine.log_probs(batch, state))
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "_hidden", hidden)
        with pytest.raises(KeyboardInterrupt):
            engine.log_probs(batch, state)
    assert ended == [True]
    assert pickle.dumps(engine.log_probs(batch, state)) == expected


# BLAS


def test_blas_is_as_it_was_whoever_leaves_last(two_blas_threads):
    blas, entered, may_leave, seen = SingleThreadedBlas(), threading.Event(), threading.Event(), []

    def first():
        blas.during(lambda: (entered.set(), may_leave.wait(PATIENCE)))

    def second():
        blas.during(lambda: (may_leave.set(), thread.join(PATIENCE), seen.extend(blas_threads())))

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(PATIENCE)
    other = threading.Thread(target=second)
    other.start()
    other.join(PATIENCE)
    assert set(seen) == {1}
    assert blas_threads() == two_blas_threads


def test_blas_is_as_it_was_after_an_error_and_within_itself(two_blas_threads):
    blas = SingleThreadedBlas()

    def fail():
        assert blas.during(lambda: set(blas_threads())) == {1}
        assert set(blas_threads()) == {1}
        raise LookupError("as it happens")

    with pytest.raises(LookupError, match="as it happens"):
        blas.during(fail)
    assert blas_threads() == two_blas_threads


def test_a_limit_of_the_users_own_stays(two_blas_threads):
    blas = SingleThreadedBlas()
    with threadpool_limits(1, user_api="blas"):
        assert blas.during(lambda: set(blas_threads())) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_blas_threads


class OpenMPLibrary:
    """A BLAS on OpenMP, where each thread has a number of its own."""

    internal_api, threading_layer = "openblas", "openmp"

    def __init__(self):
        self._own = threading.local()

    @property
    def num_threads(self):
        return getattr(self._own, "number", 4)

    def set_num_threads(self, number):
        self._own.number = number


def test_each_thread_has_its_own_number_with_openmp():
    """Whoever enters sets its own, and puts back its own, in whichever order they leave."""
    blas, library = SingleThreadedBlas(), OpenMPLibrary()
    blas._libraries = [library]
    inside = threading.Barrier(3)

    def work(_):
        def within():
            inside.wait(PATIENCE)
            return library.num_threads

        return blas.during(within), library.num_threads

    assert at_once(work, [0, 1, 2]) == [(1, 4)] * 3


def test_the_threads_of_an_engine_set_theirs_with_openmp(monkeypatch):
    library = OpenMPLibrary()
    monkeypatch.setattr(sharing, "BLAS", SingleThreadedBlas())
    sharing.BLAS._libraries = [library]
    threads = Threads(3)
    assert threads.run(lambda _: library.num_threads, 3) == [1, 1, 1]
    assert list(threads._pool().map(lambda _: library.num_threads, range(9))) == [4] * 9


# Processes

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def in_child(work):
    """Return what `work` returns in a forked child; fails where it hangs or raises."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, where there are threads
        child = os.fork()
    if not child:
        try:
            os.write(writing, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], PATIENCE)
    if not ready:
        os.kill(child, 9)
    found = os.read(reading, 1 << 16)
    os.close(reading)
    os.waitpid(child, 0)
    assert ready, "the child hangs"
    assert found, "the child failed"
    return pickle.loads(found)


def scored(model):
    return [float(score) for score in model.scores(TEXTS)]


@forks
def test_a_forked_child_scores_and_so_does_its_own(target):
    model = tiny_model(threads=2)
    expected = scored(model)
    assert in_child(lambda: scored(model)) == expected
    assert in_child(lambda: in_child(lambda: scored(model))) == expected
    assert in_child(lambda: [scored(model), in_child(lambda: scored(model))]) == [expected] * 2
    assert scored(model) == expected


@forks
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_forked_child_trains(target, optimizer, chunk_of):
    config = ModelConfig(6, hidden=5, embedding=3, dropout=0.3)
    engine, twin = (NumpyEngine(config, 2, TrainConfig(optimizer=optimizer)) for _ in range(2))
    batches = [chunk_of(config, 9, 5, seed) for seed in range(3)]

    def train(engine, batches, state):
        for batch in batches:
            _, _, state = engine.update(batch, state, 0.01)
        return state

    train(twin, batches, twin.zero_state(5))
    state = train(engine, batches[:1], engine.zero_state(5))
    tensors = in_child(lambda: (train(engine, batches[1:], state), engine.tensors())[1])
    for name, value in twin.tensors().items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


@forks
def test_a_child_forked_in_the_midst_of_another_threads_call(target, monkeypatch, two_blas_threads):
    """The other thread is halfway through: its buffers are in use, BLAS is limited, the pool has work."""
    model = tiny_model(threads=2, layers=2)
    expected = scored(model)
    inside, may_go_on, original = threading.Event(), threading.Event(), LanguageModel._hidden

    def hidden(*arguments):
        found = original(*arguments)
        inside.set()
        may_go_on.wait(PATIENCE)
        return found

    monkeypatch.setattr(LanguageModel, "_hidden", hidden)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(scored, model)
        inside.wait(PATIENCE)

        def work():
            may_go_on.set()
            return blas_threads(), scored(model), blas_threads()

        try:
            found = in_child(work)
        finally:
            may_go_on.set()
        assert other.result(PATIENCE) == expected
    assert found == (two_blas_threads, expected, two_blas_threads)
    assert blas_threads() == two_blas_threads


@forks
def test_children_forked_at_any_moment(target, restless):
    """While two threads score without a pause, children are forked wherever these just are."""
    model, ended = tiny_model(threads=2), threading.Event()
    expected = scored(model)

    def score_on():
        while not ended.is_set():
            assert scored(model) == expected

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(score_on) for _ in range(2)]
        try:
            assert [in_child(lambda: scored(model)) for _ in range(10)] == [expected] * 10
        finally:
            ended.set()
        for other in others:
            other.result(PATIENCE)


POOLS = """
import multiprocessing as mp, sys
from tests.tiny import tiny_model
if __name__ == "__main__":
    model = tiny_model(threads=2)
    list(model.scores(["ab"] * 50))
    expected = float(model.score("abba"))
    for way in sys.argv[1:]:
        with mp.get_context(way).Pool(2) as pool:
            found = pool.map_async(model.score, ["abba"] * 4).get(timeout=100)
            assert [float(score) for score in found] == [expected] * 4, way
            print(way)
"""


def test_pools_of_processes_of_every_kind(tmp_path):
    """A model that goes to them as it is pickled; one that a child has from its parent is tried above."""
    (tmp_path / "pools.py").write_text(POOLS)
    ways = multiprocessing.get_all_start_methods()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = os.environ | {"PYTHONPATH": root}
    command = [sys.executable, str(tmp_path / "pools.py"), *ways]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert (done.stdout.split(), done.stderr) == (ways, "")


def test_a_copy_says_what_the_model_says():
    model = tiny_model(cell="lstm", layers=2)
    copy = pickle.loads(pickle.dumps(model))
    assert scored(copy) == scored(model)
    assert copy.sample(20, seed=3) == model.sample(20, seed=3)
