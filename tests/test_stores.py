"""Features that lie in a store: the same fits, each pass one read, little memory, clear errors."""

import tracemalloc

import dask.array
import h5py
import jax
import numpy as np
import pytest
import zarr

import spikax as nmo
from compilations import counted
from spikax import stores
from spikax.glm import GLM, ClassifierGLM, PopulationGLM
from spikax.stores import stored

T, P, N = 3000, 5, 4
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(T, P)).astype(np.float32)
X[:, 0] = 3 * X[:, 0] + 50  # what single precision must not lose
X[7] = X[2900] = np.nan
ETA = 0.4 * np.nan_to_num(X - [50, 0, 0, 0, 0]) @ _RNG.normal(size=(P, N)) - 1
Y = _RNG.poisson(np.exp(np.clip(ETA, -5, 3))).astype(float)
MISSES = np.where(_RNG.uniform(size=Y.shape) < 0.05, np.nan, Y)
LIMIT = 6 * 8 * P * 400  # blocks of 400 rows


class Rows:
    """An array of which one knows how many rows were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.n_read = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        found = self.array[rows]
        self.n_read += len(found)
        return found


CASES = {
    "Poisson": (PopulationGLM, {}, Y, {}),
    "one neuron, Ridge": (GLM, {"regularizer": "Ridge", "regularizer_strength": 0.1}, Y[:, 0], {}),
    "Lasso": (PopulationGLM, {"regularizer": "Lasso", "regularizer_strength": 0.02}, Y, {}),
    "Newton, offset": (PopulationGLM, {"solver_name": "Newton"}, Y, {"offset": np.full(T, 0.5)}),
    "a scale, weights": (
        PopulationGLM,
        {"observation_model": "NegativeBinomial"},
        Y,
        {"sample_weight": _RNG.uniform(0.5, 2, size=T)},
    ),
    "Gaussian, Ridge": (
        PopulationGLM,
        {"observation_model": "Gaussian", "regularizer": "Ridge", "regularizer_strength": 0.1},
        ETA + _RNG.normal(size=ETA.shape),
        {},
    ),
    "classes": (ClassifierGLM, {"n_classes": 3}, np.minimum(Y[:, 0], 2).astype(int), {}),
    "mask, each neuron misses others": (
        PopulationGLM,
        {"feature_mask": (_RNG.uniform(size=(P, N)) < 0.7).astype(int)},
        MISSES,
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_store_is_fitted_like_an_array(case):
    kind, arguments, y, of_samples = CASES[case]
    at_hand = kind(**arguments).fit(X, y, **of_samples)
    rows = Rows(X)
    source = stored(rows, LIMIT)
    found = kind(**arguments).fit(source, y, **of_samples)
    assert source.blocks[0] == 8
    for name in ("coef_", "intercept_", "scale_", "dof_resid_"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(at_hand, name), rtol=1e-4, atol=2e-4, err_msg=name
        )
    one, other = found.solver_state_.stats, at_hand.solver_state_.stats
    np.testing.assert_array_equal(one.status, other.status)
    # Every pass reads the rows once, and so do the survey and what is found of the result.
    assert rows.n_read % T == 0 or case.startswith("mask")
    assert rows.n_read / T <= 2 * found.solver_state_.n_passes + 12
    offset = {"offset": of_samples["offset"]} if "offset" in of_samples else {}
    np.testing.assert_allclose(
        found.predict(source, **offset), at_hand.predict(X, **offset), 1e-3, 1e-5
    )
    assert found.score(source, y, **offset) == pytest.approx(at_hand.score(X, y, **offset), 1e-5)


def test_neurons_that_need_hessians_of_their_own_share_a_pass():
    """Sharply tuned neurons: what they share is no good preconditioner."""
    rng = np.random.default_rng(1)
    x = np.abs(rng.normal(size=(4000, 12)).astype(np.float32)) ** 3
    y = rng.poisson(np.exp(np.clip(x @ rng.normal(size=(12, 6)) - 3, -9, 3)))
    at_hand = PopulationGLM().fit(x, y)
    rows = Rows(x)
    found = PopulationGLM().fit(stored(rows, 6 * 8 * 12 * 1000), y)
    np.testing.assert_array_equal(
        found.solver_state_.stats.status, at_hand.solver_state_.stats.status
    )
    values = [m.solver_state_.stats.function_val for m in (found, at_hand)]
    np.testing.assert_allclose(*values, rtol=1e-5)
    assert rows.n_read / 4000 < 120


@pytest.mark.parametrize("kind", ["memory map", "zarr", "HDF5", "dask"])
def test_stores_are_read_by_slices(kind, tmp_path, monkeypatch):
    path = tmp_path / "features"
    if kind == "memory map":
        store = np.memmap(path, np.float32, "w+", shape=X.shape)
        store[:] = X
    elif kind == "zarr":
        store = zarr.create_array(path, shape=X.shape, chunks=(125, P), dtype="float32")
        store[:] = X
    elif kind == "HDF5":
        store = h5py.File(path, "w").create_dataset("X", data=X, chunks=(125, P))
    else:
        store = dask.array.from_array(X, chunks=(125, P))
    at_hand = PopulationGLM().fit(X, Y)
    # Small ones are loaded, and large ones are not.
    np.testing.assert_array_equal(PopulationGLM().fit(store, Y).coef_, at_hand.coef_)
    monkeypatch.setattr(stores, "free_memory", lambda: 2 * LIMIT)
    with tracked(monkeypatch) as reads:
        model = PopulationGLM().fit(store, Y)
    assert max(reads) < T
    if kind != "memory map":
        assert set(reads) == {125}  # whole chunks
    np.testing.assert_allclose(model.coef_, at_hand.coef_, atol=1e-5)
    np.testing.assert_allclose(model.predict(store), at_hand.predict(X), rtol=1e-4)


def tracked(monkeypatch):
    """Collect how many rows are read at once."""

    class Tracked:
        def __enter__(self):
            reads, read = [], stores.StoredFeatures.read

            def note(source, start, stop):
                reads.append(stop - start)
                return read(source, start, stop)

            monkeypatch.setattr(stores.StoredFeatures, "read", note)
            return reads

        def __exit__(self, *_):
            pass

    return Tracked()


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float64, bool])
def test_storage_is_widened_block_by_block(dtype):
    x = (_RNG.normal(size=(2000, 3)) * 3).astype(dtype)
    y = _RNG.poisson(np.exp(0.1 * x.astype(float)[:, :2]))
    found = PopulationGLM().fit(stored(x, 6 * 8 * 3 * 500), y)
    np.testing.assert_allclose(found.coef_, PopulationGLM().fit(x, y).coef_, atol=2e-5)


def test_memory_does_not_grow_with_the_samples():
    def peak(n):
        class Made:
            """Rows that are made when they are read."""

            shape, dtype = (n, 20), np.dtype(np.float32)

            def __getitem__(self, rows):
                at = np.arange(rows.start, rows.stop)[:, None]
                return np.sin(at * (1 + np.arange(20))).astype(np.float32)

        y = np.random.default_rng(0).poisson(1.0, size=n).astype(np.float32)
        tracemalloc.start()
        GLM().fit(stored(Made(), 2**21), y)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20_000)
    some, more = peak(40_000), peak(120_000)
    # A feature matrix of 9.6 MB more; what grows is y and what is known of each sample.
    assert more - some < 0.5 * 80_000 * 20 * 4
    assert more < 120_000 * 20 * 4


@pytest.mark.parametrize("family", ["Poisson", "NegativeBinomial"])
def test_a_fit_that_was_interrupted_goes_on(family, tmp_path):
    path = tmp_path / "checkpoint.npz"

    class Stops(Rows):
        """The disk is lost in a pass, and comes back."""

        until = 9 * T

        def __getitem__(self, rows):
            if self.n_read >= self.until:
                raise OSError("lost")
            return super().__getitem__(rows)

    rows = Stops(X)
    model = PopulationGLM(family)
    with pytest.raises(OSError, match="lost"):
        model.fit(stored(rows, LIMIT, checkpoint=path), Y)
    assert path.exists()
    # Another problem does not go on from there, and leaves it alone.
    ridge = PopulationGLM(family, regularizer="Ridge")
    for other, y in ((model, Y[:, :2]), (ridge, Y), (model, Y[::-1].copy())):
        with pytest.raises(ValueError, match="is of another problem"):
            other.fit(stored(X, LIMIT, checkpoint=path), y)
    again = Rows(X)
    found = model.fit(stored(again, LIMIT, checkpoint=path), Y)
    assert not path.exists()
    whole = Rows(X)
    expected = PopulationGLM(family).fit(stored(whole, LIMIT), Y)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=5e-4)
    assert again.n_read < whole.n_read
    with pytest.raises(ValueError, match="there is no folder"):
        stored(X, checkpoint=tmp_path / "nowhere" / "file")


def test_passes_are_shown_and_counted(capsys):
    GLM().fit(stored(X, LIMIT, verbose=True), Y[:, 0])
    shown = capsys.readouterr().err
    assert "pass 1:" in shown
    assert "pass 9:" in shown
    GLM().fit(stored(X, LIMIT), Y[:, 0])
    assert not capsys.readouterr().err


def test_a_second_fit_compiles_nothing():
    model = PopulationGLM()
    model.fit(stored(X, LIMIT), Y)
    with counted() as programs:
        model.fit(stored(2 * X, LIMIT), Y[::-1].copy())
    assert len(programs) <= 1


def test_what_is_wrong_in_a_store_is_named():
    wrong = X.copy()
    wrong[1234, 3] = np.inf
    with pytest.raises(ValueError, match=r"infinite in row 1234, column 3 \(block 3\)"):
        PopulationGLM().fit(stored(wrong, LIMIT), Y)
    with pytest.raises(ValueError, match="X has 3000, y has 2999"):
        PopulationGLM().fit(stored(X, LIMIT), Y[1:])

    class Short(Rows):
        def __getitem__(self, rows):
            return super().__getitem__(rows)[:100]

    with pytest.raises(
        OSError, match=r"rows 0 to 399 \(block 0\) were read with shape \(100, 5\)"
    ):
        PopulationGLM().fit(stored(Short(X), LIMIT), Y)

    class Broken(Rows):
        def __getitem__(self, rows):
            if rows.start >= 800:
                raise OSError("the disk is gone")
            return super().__getitem__(rows)

    with pytest.raises(OSError, match="Rows 800 to 1199 of X could not be read: the disk is gone"):
        PopulationGLM().fit(stored(Broken(X), LIMIT), Y)


def test_what_is_no_store_is_refused():
    with pytest.raises(TypeError, match="must be a store"):
        stored([[1.0]])
    with pytest.raises(
        ValueError, match=r"must have shape \(n_samples, n_features\), got \(3000,\)"
    ):
        stored(X[:, 0])
    with pytest.raises(TypeError, match="must hold real numbers"):
        stored(np.array([["a"]]))
    with pytest.raises(ValueError, match="memory_limit must be a number of bytes"):
        stored(X, 0)
    with pytest.raises(ValueError, match="memory_limit is 100 bytes, but 64 rows"):
        PopulationGLM().fit(stored(X, 100), Y)


@pytest.mark.parametrize(
    "ask",
    [
        lambda source: PopulationGLM(solver_name="LBFGS").fit(source, Y),
        lambda source: PopulationGLM(solver_name="SVRG").fit(source, Y),
        lambda source: nmo.model_selection.regularization_path(
            PopulationGLM(regularizer="Ridge"), source, Y
        ),
        lambda source: nmo.inference.infer(PopulationGLM().fit(X, Y), source, Y),
        lambda source: nmo.glm_hmm.PopulationGLMHMM(2, "Poisson").fit(source, Y),
    ],
    ids=["jaxopt", "SVRG", "path", "inference", "states"],
)
def test_what_needs_features_in_memory_says_so(ask):
    with pytest.raises(TypeError, match="X is read block by block, which this"):
        ask(stored(X, LIMIT))


def test_a_store_that_ends_in_mid_fit_is_told():
    class Shrinks(Rows):
        def __getitem__(self, rows):
            found = super().__getitem__(rows)
            return found[:10] if self.n_read > 3 * T else found

    with pytest.raises(OSError, match=r"were read with shape \(10, 5\): the store ends early"):
        PopulationGLM().fit(stored(Shrinks(X), LIMIT), Y)


def test_samples_of_a_store_are_summed_from_python():
    problem = PopulationGLM().assemble(stored(X, LIMIT), Y)
    at_hand = PopulationGLM().assemble(X, Y)
    theta = jax.numpy.full((P + 1, N), 0.1)
    for one, other in zip(
        nmo.core.value_and_grad(problem.objective, problem.samples, theta),
        nmo.core.value_and_grad(at_hand.objective, at_hand.samples, theta),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)
    total = [each.samples.map(_total).T[: len(X)] for each in (problem, at_hand)]
    np.testing.assert_allclose(*total, atol=1e-4)


def _total(X, y, weights, offset):
    return X.sum(axis=0, keepdims=True) + weights * y.sum(axis=0, keepdims=True)
