"""Bad input: each gets one clear error, before anything is compiled."""

from collections.abc import Callable

import jax
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import scipy.sparse

from compilations import counted
from spikax import observation_models, regularizer, solvers
from spikax.diagnostics import cross_validated_scores
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.inference import infer, summary
from spikax.model_selection import PopulationGLMCV
from spikax.regularizer import GroupLasso

T, P, N = 20, 3, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(T, P))
Y = RNG.poisson(1.0, size=(T, N)).astype(float)
y = Y[:, 0]
NAMED = pd.DataFrame(Y, columns=["a", "b"])
TREE = {"speed": X[:, :1], "head": X[:, 1:]}
TIMES = np.arange(T) * 0.01
EARLY, LATE = (nap.TsdFrame(t=TIMES + shift, d=Y) for shift in (0, 5))
FRAME = nap.TsdFrame(t=TIMES, d=X)


def but(array, index, value):
    """Copy an array with one entry changed."""
    changed = np.array(array, dtype=object if isinstance(value, str) else float)
    changed[index] = value
    return changed


def population(*args, **kwargs) -> Callable:
    """Make a call that fits a new population of neurons to the data."""
    return lambda: PopulationGLM(*args, **kwargs).fit(X, Y)


def ridge(strength, features=X) -> Callable:
    """Make a call that fits with a strength."""
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=strength)
    return lambda: model.fit(features, Y)


def penalty(regularizer, strength=0.1, features=X) -> Callable:
    """Make a call that fits with a penalty."""
    model = PopulationGLM(regularizer=regularizer, regularizer_strength=strength)
    return lambda: model.fit(features, Y)


# What is called, the error, and the words that its message must contain, in this order.
BEFORE_FIT = {
    # Shapes
    "X of one dimension": (
        lambda: GLM().fit(X[:, 0], y),
        ValueError,
        "X (n_samples, n_features) (20,) X.reshape(-1, 1)",
    ),
    "X of three": (
        lambda: GLM().fit(X[:, :, None], y),
        ValueError,
        "X (n_samples, n_features) (20, 3, 1) trials join X.reshape(-1, X.shape[-1]) y likewise "
        "trial by trial first time first axis X.reshape(len(X), -1)",
    ),
    "a time series of three": (
        lambda: GLM().fit(nap.TsdTensor(t=TIMES, d=X[:, :, None]), y),
        ValueError,
        "X (n_samples, n_features) (20, 3, 1) numpy.reshape(X, (len(X), -1)) features of a sample",
    ),
    "a series": (
        lambda: GLM().fit(pd.Series(y), y),
        ValueError,
        "X (n_samples, n_features) (20,) numpy.reshape(X, (-1, 1))",
    ),
    "a list of time series": (
        lambda: GLM().fit([FRAME[:, 0], FRAME[:, 1]], y),
        ValueError,
        "X[0] (n_samples, n_features) (20,) numpy.reshape(X[0], (-1, 1))",
    ),
    # Trials
    "lists of trials": (
        lambda: GLM().fit([X] * 4, [y] * 4),
        ValueError,
        "X holds 4 arrays of 20 samples y (4, 20) trials join numpy.concatenate trial by trial",
    ),
    "lists of as many trials as bins": (
        lambda: PopulationGLM().fit([X] * T, [y] * T),
        ValueError,
        "X holds 20 arrays of 20 samples y (20, 20) trials join numpy.concatenate",
    ),
    "lists of trials of a population": (
        lambda: PopulationGLM().fit([X] * 4, [Y] * 4),
        ValueError,
        "X holds 4 arrays of 20 samples y (4, 20, 2) trials join numpy.concatenate",
    ),
    "a list of trials and observations in a row": (
        lambda: GLM().fit([X] * 4, np.tile(y, 4)),
        ValueError,
        "X holds 4 arrays of 20 samples y (80,) trials join numpy.concatenate",
    ),
    "a dict of trials": (
        lambda: GLM().fit({"first": X, "second": X}, np.stack([y, y])),
        ValueError,
        "X holds 2 arrays of 20 samples y (2, 20) trials join numpy.concatenate",
    ),
    "trials of different lengths": (
        lambda: GLM().fit([X, X[:5]], [y, y[:5]]),
        ValueError,
        "X[1] has 5 samples X[0] has 20 trials join numpy.concatenate",
    ),
    "trials of y alone": (
        lambda: GLM().fit(X, y.reshape(4, 5)),
        ValueError,
        "y must have shape (n_samples,) got (4, 5) trials join as those of X",
    ),
    # Containers
    "keys of two types": (
        lambda: GLM().fit({"a": X, 1: X}, y),
        TypeError,
        "X keys no order 'a' (str), 1 (int) one type",
    ),
    "nested keys of two types": (
        lambda: GLM().fit([X, {"a": X, None: X}], y),
        TypeError,
        "X keys no order 'a' (str), None (NoneType) one type",
    ),
    "a container that is none": (
        lambda: GLM().fit({"a": frozenset([1.0])}, y),
        TypeError,
        "X['a'] must hold numbers frozenset",
    ),
    # Events and epochs
    "events for counts": (
        lambda: GLM().fit(X, nap.Ts(TIMES)),
        TypeError,
        "y is a Ts times of events .count(bin_size) .value_from(series)",
    ),
    "epochs among features": (
        lambda: GLM().fit([X, nap.IntervalSet(0, 1)], y),
        TypeError,
        "X[1] is an IntervalSet times of epochs .restrict(epochs) .in_interval(epochs)",
    ),
    "X a number": (lambda: GLM().fit(3.0, y), ValueError, "X (n_samples, n_features) got ()"),
    "X None": (lambda: GLM().fit(None, y), ValueError, "X is None pass an array"),
    "a leaf of X None": (
        lambda: GLM().fit({"a": X, "b": None}, y),
        ValueError,
        "X['b'] is None pass an array",
    ),
    "X without features": (
        lambda: GLM().fit(X[:, :0], y),
        ValueError,
        "0 feature(s) (20, 0) minimum of 1",
    ),
    "X without samples": (
        lambda: GLM().fit(X[:0], y[:0]),
        ValueError,
        "0 sample(s) (0, 3) minimum of 1",
    ),
    "an empty dict": (lambda: GLM().fit({}, y), ValueError, "X is an empty container pass"),
    "y shorter than X": (
        lambda: GLM().fit(X, y[:-1]),
        ValueError,
        "inconsistent numbers of samples X has 20 y has 19",
    ),
    "features of unequal lengths": (
        lambda: PopulationGLM().fit({"a": X, "b": X[:-2]}, Y),
        ValueError,
        "X['b'] has 18 samples X['a'] has 20 same number",
    ),
    "several neurons for a GLM": (
        lambda: GLM().fit(X, Y),
        ValueError,
        "y must have shape (n_samples,) got (20, 2) PopulationGLM",
    ),
    "one neuron for a PopulationGLM": (
        lambda: PopulationGLM().fit(X, y),
        ValueError,
        "y must have shape (n_samples, n_neurons) got (20,) GLM y.reshape(-1, 1)",
    ),
    "y of three dimensions": (
        lambda: PopulationGLM().fit(X, Y[..., None]),
        ValueError,
        "y must have shape (n_samples, n_neurons) got (20, 2, 1)",
    ),
    "no neurons": (
        lambda: PopulationGLM().fit(X, Y[:, :0]),
        ValueError,
        "y has no neurons (20, 0)",
    ),
    "y None": (lambda: GLM().fit(X, None), ValueError, "requires y to be passed"),
    "ragged X": (
        lambda: GLM().fit([[1.0, 2.0], [3.0]], y[:2]),
        ValueError,
        "X is ragged different lengths",
    ),
    "ragged y": (
        lambda: PopulationGLM().fit(X[:2], [[1, 2], [3]]),
        ValueError,
        "y is ragged different lengths",
    ),
    # Values
    "X all NaN": (
        lambda: GLM().fit(np.full_like(X, np.nan), y),
        ValueError,
        "No sample is left of 20 NaN in X, y or offset",
    ),
    "y all NaN": (
        lambda: GLM().fit(X, np.full(T, np.nan)),
        ValueError,
        "No sample is left of 20 NaN in X, y or offset",
    ),
    "inf in X": (
        lambda: GLM().fit(but(X, (4, 1), np.inf), y),
        ValueError,
        "column 1 of X is inf in row 4 NaN to have the row ignored",
    ),
    "inf in a leaf of X": (
        lambda: GLM().fit({"a": X, "b": but(X, (4, 1), -np.inf)}, y),
        ValueError,
        "column 1 of X['b'] is -inf in row 4 NaN",
    ),
    "inf in y": (
        lambda: PopulationGLM().fit(X, but(Y, (7, 1), np.inf)),
        ValueError,
        "column 1 of y is inf in row 7 NaN",
    ),
    "inf in the y of a GLM": (
        lambda: GLM().fit(X, but(y, 7, np.inf)),
        ValueError,
        "y is inf in row 7 NaN",
    ),
    "negative counts": (
        lambda: PopulationGLM().fit(X, but(Y, (3, 1), -2)),
        ValueError,
        "y holds -2 in row 3 of neuron 1 Poisson non-negative observation_model",
    ),
    "Gamma of zero": (
        lambda: PopulationGLM("Gamma").fit(X, but(Y + 1.0, (3, 1), 0)),
        ValueError,
        "y holds 0 in row 3 of neuron 1 Gamma positive numbers observation_model",
    ),
    "Bernoulli between 0 and 1": (
        lambda: GLM("Bernoulli").fit(X, but(y > 0, 3, 0.5)),
        ValueError,
        "y holds 0.5 in row 3 Bernoulli 0 or 1 observation_model",
    ),
    "Bernoulli above 1": (
        lambda: PopulationGLM("Bernoulli").fit(X, but(Y > 0, (3, 0), 2)),
        ValueError,
        "y holds 2 in row 3 of neuron 0 Bernoulli 0 or 1",
    ),
    # Types
    "text in X": (
        lambda: GLM().fit(but(X, (2, 1), "fast"), y),
        ValueError,
        "X must hold numbers 'fast' Encode",
    ),
    "text in y": (lambda: GLM().fit(X, ["go"] * T), ValueError, "y must hold numbers 'go' Encode"),
    "dates in X": (
        lambda: GLM().fit(pd.DataFrame({"a": pd.date_range("2020", periods=T)}), y),
        TypeError,
        "X holds dates numbers",
    ),
    "complex X": (
        lambda: GLM().fit(X + 1j, y),
        ValueError,
        "Complex X complex128 real and imaginary",
    ),
    "complex y": (lambda: GLM().fit(X, y + 0j), ValueError, "Complex y complex128"),
    "sparse X": (
        lambda: GLM().fit(scipy.sparse.csr_matrix(X), y),
        TypeError,
        "X is a sparse matrix X.toarray()",
    ),
    "sparse y": (
        lambda: PopulationGLM().fit(X, scipy.sparse.csr_array(Y)),
        TypeError,
        "y is a sparse matrix y.toarray()",
    ),
    # Names
    "an unknown observation model": (
        population("poison"),
        ValueError,
        "observation_model 'poison' 'Poisson' Bernoulli",
    ),
    "a class of observation models": (
        population(observation_models.PoissonObservations),
        TypeError,
        "observation_model Poisson Call it",
    ),
    "an unknown link": (
        population(inverse_link_function="exq"),
        ValueError,
        "inverse_link_function 'exq' 'exp' softplus",
    ),
    "a NumPy link": (
        population(inverse_link_function=np.exp),
        ValueError,
        "inverse_link_function 'exp' JAX jax.numpy",
    ),
    "a number for a link": (
        population(inverse_link_function=3),
        TypeError,
        "inverse_link_function must be a name or a JAX callable got 3",
    ),
    "a link that sums": (
        population(inverse_link_function=lambda x: x.sum()),
        ValueError,
        "inverse_link_function element by element",
    ),
    "an unknown regularizer": (
        population(regularizer="Rigde"),
        ValueError,
        "regularizer 'Rigde' 'Ridge' Lasso",
    ),
    "a class of regularizers": (
        population(regularizer=regularizer.Ridge),
        TypeError,
        "regularizer Ridge Call it",
    ),
    "an unknown solver": (
        population(solver_name="LBGFS"),
        ValueError,
        "solver_name 'LBGFS' 'LBFGS' BFGS",
    ),
    "an unknown backend": (
        population(solver_name="LBFGS[jaxop]"),
        ValueError,
        "solver_name 'LBFGS[jaxopt]'",
    ),
    "a class of solvers": (
        population(solver_name=solvers.Newton),
        TypeError,
        "solver_name must be a name Newton solver_kwargs",
    ),
    "an unknown argument of a solver": (
        population(solver_kwargs={"toll": 1e-3}),
        ValueError,
        "WhitenedLBFGS solver_kwargs 'toll' 'tol' maxiter",
    ),
    "a negative tol": (
        population(solver_kwargs={"tol": -1}),
        ValueError,
        "solver_kwargs['tol'] positive number got -1",
    ),
    "a fraction of an iteration": (
        population(solver_kwargs={"maxiter": 2.5}),
        ValueError,
        "solver_kwargs['maxiter'] positive whole number got 2.5",
    ),
    "solver_kwargs no dict": (population(solver_kwargs=3), TypeError, "solver_kwargs dict got 3"),
    "a smooth solver for Lasso": (
        population(regularizer="Lasso", solver_name="LBFGS"),
        ValueError,
        "solver_name='LBFGS' Lasso ProximalQuasiNewton",
    ),
    "fit_intercept no bool": (
        population(fit_intercept="yes"),
        TypeError,
        "fit_intercept True or False 'yes'",
    ),
    # Masks
    "a dict to mask an array": (
        population(feature_mask={"a": np.ones(N)}),
        TypeError,
        "feature_mask is a dict X is an array pass an array",
    ),
    "an array to mask a dict": (
        lambda: PopulationGLM(feature_mask=np.ones((P, N))).fit(TREE, Y),
        TypeError,
        "feature_mask structure of X X['head'] X['speed'] got an array",
    ),
    "a mask with another entry": (
        lambda: PopulationGLM(feature_mask={"speed": np.ones(N), "hd": np.ones(N)}).fit(TREE, Y),
        TypeError,
        "feature_mask structure of X X['head'] got 'hd'",
    ),
    "a mask transposed": (
        population(feature_mask=np.ones((N, P))),
        ValueError,
        "feature_mask (3, 2) got (2, 3)",
    ),
    "an entry of a mask too long": (
        lambda: PopulationGLM(feature_mask={"speed": np.ones(N), "head": np.ones(5)}).fit(TREE, Y),
        ValueError,
        "feature_mask X['head'] (2, 2) or (2,) got (5,)",
    ),
    "a mask of halves": (
        population(feature_mask=np.full((P, N), 0.5)),
        ValueError,
        "feature_mask only 0 and 1 got 0.5",
    ),
    "a mask of NaN": (
        population(feature_mask=np.full((P, N), np.nan)),
        ValueError,
        "feature_mask only 0 and 1 got nan",
    ),
    # Strengths
    "a negative strength": (ridge(-1), ValueError, "regularizer_strength non-negative got -1"),
    "a strength of NaN": (ridge(np.nan), ValueError, "regularizer_strength finite got nan"),
    "a strength without a penalty": (
        population(regularizer_strength=-1),
        ValueError,
        "regularizer_strength non-negative got -1",
    ),
    "a strength for five": (
        ridge(np.ones(5)),
        ValueError,
        "regularizer_strength scalar one per neuron (2,) (3, 2) got (5,)",
    ),
    "a dict of strengths for an array": (
        ridge({"a": 1.0}),
        TypeError,
        "regularizer_strength is a dict X is an array",
    ),
    "strengths with another entry": (
        ridge({"speed": 1.0, "hd": 1.0}, TREE),
        TypeError,
        "regularizer_strength structure of X X['head'] got 'hd'",
    ),
    "a negative entry of strengths": (
        ridge({"speed": 1.0, "head": -1.0}, TREE),
        ValueError,
        "regularizer_strength['head'] non-negative got -1",
    ),
    "text for a strength": (ridge("big"), ValueError, "regularizer_strength must hold numbers"),
    # Elastic nets and groups
    "an elastic net of three": (
        penalty("ElasticNet", (0.1, 0.5, 0.2)),
        ValueError,
        "regularizer_strength ElasticNet pair (strength, ratio) got 3 items",
    ),
    "a ratio of zero": (
        penalty("ElasticNet", (0.1, 0.0)),
        ValueError,
        "regularizer_strength[1] ratio in (0, 1] got 0 Ridge",
    ),
    "a ratio above one": (
        penalty("ElasticNet", (0.1, [0.5, 1.5])),
        ValueError,
        "regularizer_strength[1] ratio in (0, 1] got 1.5",
    ),
    "a negative strength of an elastic net": (
        penalty("ElasticNet", (-0.1, 0.5)),
        ValueError,
        "regularizer_strength[0] non-negative got -0.1",
    ),
    "groups that overlap": (
        penalty(GroupLasso([[1, 1, 0], [0, 1, 1]])),
        ValueError,
        "mask of GroupLasso feature 1 groups 0 and 1 must not overlap",
    ),
    "an empty group": (
        penalty(GroupLasso([[1, 1, 1], [0, 0, 0]])),
        ValueError,
        "mask of GroupLasso no coefficient in group 1 leave",
    ),
    "a mask of groups with halves": (
        penalty(GroupLasso([[0.5, 1, 1]])),
        ValueError,
        "mask of GroupLasso only 0 and 1 got 0.5",
    ),
    "groups of too many features": (
        penalty(GroupLasso(np.ones((1, 4)))),
        ValueError,
        "mask of GroupLasso (n_groups, 3) or (n_groups, 3, 2) got (1, 4)",
    ),
    "a group over two neurons": (
        penalty(GroupLasso(np.ones((1, P, N)))),
        ValueError,
        "mask of GroupLasso neurons 0 and 1 in group 0 (n_groups, n_features)",
    ),
    "an array of groups for a dict": (
        penalty(GroupLasso(np.ones((1, P))), features=TREE),
        TypeError,
        "mask of GroupLasso structure of X X['head'] X['speed'] got an array",
    ),
    "strengths for other groups": (
        penalty(GroupLasso([[1, 1, 0], [0, 0, 1]]), [0.1, 0.2, 0.3]),
        ValueError,
        "regularizer_strength GroupLasso each of the 2 groups got shape (3,)",
    ),
    "two strengths in a group": (
        penalty("GroupLasso", np.arange(6.0).reshape(P, N)),
        ValueError,
        "regularizer_strength GroupLasso same for all coefficients of a group",
    ),
    # Time axes
    "X and y at other times": (
        lambda: PopulationGLM().fit(FRAME, LATE),
        ValueError,
        "X and y different time axes 0.19 s 5 to 5.19 s Restrict",
    ),
    "features at other times": (
        lambda: PopulationGLM().fit({"a": FRAME, "b": LATE}, Y),
        ValueError,
        "X['b'] different time axes Restrict",
    ),
    "weights at other times": (
        lambda: PopulationGLM().fit(FRAME, Y, sample_weight=nap.Tsd(t=TIMES + 5, d=y)),
        ValueError,
        "X and sample_weight different time axes Restrict",
    ),
    "an offset at other times": (
        lambda: PopulationGLM().fit({"a": X, "b": FRAME}, EARLY, offset=LATE),
        ValueError,
        "X and offset different time axes Restrict",
    ),
    "an offset at other times than y": (
        lambda: PopulationGLM().partial_fit(X, EARLY, offset=LATE),
        ValueError,
        "y and offset different time axes Restrict",
    ),
    "an offset at other times than weights": (
        lambda: PopulationGLMCV().fit(X, Y, sample_weight=EARLY[:, 0], offset=LATE),
        ValueError,
        "sample_weight and offset different time axes Restrict",
    ),
    "weights of labels at other times": (
        lambda: ClassifierGLM().fit(FRAME, y > 0, sample_weight=LATE[:, 0]),
        ValueError,
        "X and sample_weight different time axes Restrict",
    ),
    "an offset of a cross-validation at other times": (
        lambda: cross_validated_scores(PopulationGLM(), FRAME, Y, offset=LATE),
        ValueError,
        "X and offset different time axes Restrict",
    ),
    # Start, weights, offsets
    "init_params no pair": (
        lambda: GLM().fit(X, y, init_params=3),
        ValueError,
        "init_params must be a pair (coef, intercept) got 3",
    ),
    "a start of the wrong shape": (
        lambda: PopulationGLM().fit(X, Y, init_params=(np.zeros((N, P)), np.zeros(N))),
        ValueError,
        "coef of init_params (3, 2) got (2, 3)",
    ),
    "a starting intercept of the wrong shape": (
        lambda: PopulationGLM().fit(X, Y, init_params=(np.zeros((P, N)), 0.0)),
        ValueError,
        "intercept of init_params (2,) got ()",
    ),
    "a start of the wrong structure": (
        lambda: PopulationGLM().fit(TREE, Y, init_params=(np.zeros((P, N)), np.zeros(N))),
        TypeError,
        "coef of init_params structure of X X['head'] got an array",
    ),
    "a start of NaN": (
        lambda: PopulationGLM().fit(X, Y, init_params=(np.full((P, N), np.nan), np.zeros(N))),
        ValueError,
        "init_params finite numbers",
    ),
    "parameters of the wrong shape": (
        lambda: GLM().compute_loss((np.zeros(2), np.zeros(1)), X, y),
        ValueError,
        "coef of params (3,) got (2,)",
    ),
    "a negative weight": (
        lambda: GLM().fit(X, y, sample_weight=but(np.ones(T), 2, -1)),
        ValueError,
        "sample_weight is -1 in row 2 non-negative zero to ignore",
    ),
    "a weight of NaN": (
        lambda: GLM().fit(X, y, sample_weight=but(np.ones(T), 2, np.nan)),
        ValueError,
        "sample_weight is nan in row 2 finite",
    ),
    "weights of too many neurons": (
        lambda: PopulationGLM().fit(X, Y, sample_weight=np.ones((T, N + 1))),
        ValueError,
        "sample_weight (20,) or (20, 2) one weight per sample and neuron got (20, 3)",
    ),
    "weights of several neurons for one": (
        lambda: GLM().fit(X, y, sample_weight=np.ones((T, N))),
        ValueError,
        "sample_weight (20,), one weight per sample got (20, 2)",
    ),
    "a negative weight of a neuron": (
        lambda: PopulationGLM().fit(X, NAMED, sample_weight=but(np.ones((T, N)), (2, 1), -1)),
        ValueError,
        "sample_weight is -1 in row 2 of neuron b non-negative",
    ),
    "a weight of a neuron that is NaN": (
        lambda: PopulationGLM().fit(X, Y, sample_weight=but(np.ones((T, N)), (2, 1), np.nan)),
        ValueError,
        "sample_weight is nan in row 2 of neuron 1 finite",
    ),
    "weights of a neuron that are zero": (
        lambda: PopulationGLM().fit(X, NAMED, sample_weight=np.tile([1.0, 0.0], (T, 1))),
        ValueError,
        "sample_weight is zero in all samples of neuron b Leave the neuron out",
    ),
    "a normaliser of zero": (
        lambda: PopulationGLM().assemble(X, Y, normaliser=0),
        ValueError,
        "normaliser must be positive 2 neurons got 0",
    ),
    "a normaliser for too many neurons": (
        lambda: PopulationGLM().assemble(X, Y, normaliser=np.ones(N + 1)),
        ValueError,
        "normaliser one for each of the 2 neurons",
    ),
    "weights of zero": (
        lambda: GLM().fit(X, y, sample_weight=np.zeros(T)),
        ValueError,
        "No sample is left of 20 sample_weight of zero",
    ),
    "too short an offset": (
        lambda: PopulationGLM().fit(X, Y, offset=np.ones(T - 1)),
        ValueError,
        "offset (20,) or (20, 2) got (19,)",
    ),
    "an offset of infinity": (
        lambda: GLM().fit(X, y, offset=but(np.zeros(T), 3, np.inf)),
        ValueError,
        "offset is inf in row 3",
    ),
    "a state from elsewhere": (
        lambda: GLM().update((np.zeros(P), np.zeros(1)), None, X, y),
        TypeError,
        "opt_state initialize_optimizer_and_state NoneType",
    ),
}

LABELS = np.array(["a", "b", "c", "a"] * 5)
BEFORE_FIT |= {
    # Negative binomials
    "a negative binomial of negative counts": (
        lambda: GLM("NegativeBinomial").fit(X, but(y, 3, -1)),
        ValueError,
        "y holds -1 in row 3 NegativeBinomial non-negative counts",
    ),
    "batches of an unknown scale": (
        lambda: GLM(
            observation_models.NegativeBinomialObservations("estimate")
        ).initialize_optimizer_and_state((np.zeros(P), np.zeros(1)), X, y),
        ValueError,
        "scale of NegativeBinomial observations all samples fit number",
    ),
    # Classes
    "too many labels": (
        lambda: ClassifierGLM(2).fit(X, LABELS),
        ValueError,
        "y has 3 classes ('a', 'b', 'c') n_classes=2 set_classes",
    ),
    "too few labels": (
        lambda: ClassifierGLM(4).fit(X, LABELS),
        ValueError,
        "y has 3 classes n_classes=4 set_classes",
    ),
    "too few labels to set": (
        lambda: ClassifierGLM(4).set_classes(LABELS),
        ValueError,
        "y has 3 classes n_classes=4",
    ),
    "a label that is not among those set": (
        lambda: ClassifierGLM(3).set_classes(LABELS).fit(X[:2], ["a", "z"]),
        ValueError,
        "y holds the label 'z' none of the classes ('a', 'b', 'c')",
    ),
    "continuous labels": (
        lambda: ClassifierGLM(20).fit(X, X[:, 0]),
        ValueError,
        "Unknown label type continuous",
    ),
    "labels of two types": (
        lambda: ClassifierGLM(2).fit(X, np.array(["a", 1] * 10, dtype=object)),
        TypeError,
        "y holds labels of several types one type",
    ),
    "infinite labels": (
        lambda: ClassifierGLM(2).fit(X, but(y > 0, 3, np.inf)),
        ValueError,
        "y is infinite in row 3 NaN",
    ),
    "labels of a population for one": (
        lambda: ClassifierGLM(3).fit(X, np.stack([LABELS, LABELS], axis=1)),
        ValueError,
        "y must have shape (n_samples,) got (20, 2)",
    ),
    "one class": (lambda: ClassifierGLM(1).fit(X, LABELS), ValueError, "n_classes 2 got 1"),
    "half a class": (lambda: ClassifierGLM(2.5).fit(X, LABELS), TypeError, "n_classes whole 2.5"),
    "another link for classes": (
        lambda: ClassifierGLM(3, "exp").fit(X, LABELS),
        ValueError,
        "inverse_link_function 'log_softmax' got 'exp'",
    ),
    "the link of classes for counts": (
        population(inverse_link_function="log_softmax"),
        ValueError,
        "inverse_link_function 'log_softmax' ClassifierGLM 'exp'",
    ),
    "classes for a GLM": (
        population(observation_models.CategoricalObservations()),
        ValueError,
        "observation_model Categorical ClassifierPopulationGLM",
    ),
    "an offset alike for all classes": (
        lambda: ClassifierGLM(3).fit(X, LABELS, offset=np.ones(T)),
        ValueError,
        "offset (20, 3) entry for each class got (20,)",
    ),
    "a mask without classes": (
        lambda: ClassifierGLM(3, feature_mask=np.ones(P)).fit(X, LABELS),
        ValueError,
        "feature_mask (3, 3) got (3,)",
    ),
    "strengths without classes": (
        lambda: ClassifierPopulationGLM(3, regularizer_strength=np.ones((P, 2))).fit(
            X, np.stack([LABELS, LABELS], axis=1)
        ),
        ValueError,
        "regularizer_strength scalar (2,) (3, 2, 3) got (3, 2)",
    ),
    "a start without classes": (
        lambda: ClassifierGLM(3).fit(X, LABELS, init_params=(np.zeros(P), np.zeros(3))),
        ValueError,
        "coef of init_params (3, 3) got (3,)",
    ),
}

# The same, with a model that was fitted to an array, and one that was fitted to a dict.
AFTER_FIT = {
    "fewer features": (
        lambda model, tree: model.predict(X[:, :2]),
        ValueError,
        "X has 2 features PopulationGLM is expecting 3 features",
    ),
    "fewer features to score": (
        lambda model, tree: model.score(X[:, :2], Y),
        ValueError,
        "X has 2 features PopulationGLM is expecting 3 features",
    ),
    "a wider entry": (
        lambda model, tree: tree.predict({"speed": X[:, :2], "head": X[:, 1:]}),
        ValueError,
        "X['speed'] has 2 features expecting 1",
    ),
    "a dict for an array": (
        lambda model, tree: model.predict(TREE),
        TypeError,
        "X PopulationGLM was fitted expected an array got a dict 'speed'",
    ),
    "an array for a dict": (
        lambda model, tree: tree.predict(X),
        TypeError,
        "X PopulationGLM was fitted expected a dict 'speed' got an array",
    ),
    "another entry": (
        lambda model, tree: tree.predict({"speed": X[:, :1], "hd": X[:, 1:]}),
        TypeError,
        "X expected 'head' got 'hd'",
    ),
    "one sample": (
        lambda model, tree: model.predict(X[0]),
        ValueError,
        "X (n_samples, n_features) (3,) X.reshape(1, -1)",
    ),
    "infinity": (
        lambda model, tree: model.predict(but(X, (4, 1), np.inf)),
        ValueError,
        "column 1 of X is inf in row 4",
    ),
    "an offset of infinity": (
        lambda model, tree: model.predict(X, offset=but(np.zeros(T), 3, np.inf)),
        ValueError,
        "offset is inf in row 3",
    ),
    "other neurons": (
        lambda model, tree: model.score(X, Y[:, :1]),
        ValueError,
        "y has 1 neurons fitted to 2",
    ),
    "an unknown score": (
        lambda model, tree: model.score(X, Y, score_type="pseudo-r2"),
        ValueError,
        "score_type 'pseudo-r2' pseudo-r2-McFadden",
    ),
    "no aggregation": (
        lambda model, tree: model.score(X, Y, aggregate_sample_scores=3),
        TypeError,
        "aggregate_sample_scores function got 3",
    ),
    "weights and an aggregation": (
        lambda model, tree: model.score(
            X, Y, sample_weight=np.ones(T), aggregate_sample_scores=np.mean
        ),
        ValueError,
        "sample_weight aggregate_sample_scores",
    ),
    "X and y at other times": (
        lambda model, tree: model.score(FRAME, LATE),
        ValueError,
        "X and y different time axes Restrict",
    ),
    "an offset at other times": (
        lambda model, tree: model.predict(FRAME, offset=LATE),
        ValueError,
        "X and offset different time axes Restrict",
    ),
    "an offset at other times to score": (
        lambda model, tree: model.score(X, EARLY, offset=LATE),
        ValueError,
        "y and offset different time axes Restrict",
    ),
    "an offset of inference at other times": (
        lambda model, tree: infer(model, FRAME, Y, offset=LATE),
        ValueError,
        "X and offset different time axes Restrict",
    ),
    "weights of a summary at other times": (
        lambda model, tree: summary(model, FRAME, Y, sample_weight=LATE[:, 0]),
        ValueError,
        "X and sample_weight different time axes Restrict",
    ),
    "a new mask": (
        lambda model, tree: setattr(model, "feature_mask", np.ones((P, N))),
        AttributeError,
        "feature_mask cannot be set after the model is fit clone",
    ),
}


def check_refused(call, error, words):
    """Check that a call fails as it should, its message in order, and compiles nothing."""
    with counted() as compiled, pytest.raises(error) as caught:
        call()
    assert not compiled
    message, at = str(caught.value), 0
    for word in words.split():
        assert word in message[at:], f"{word!r} is not in its place in: {message}"
        at = message.index(word, at) + len(word)
    assert len(message) < 400


@pytest.mark.parametrize("name", BEFORE_FIT)
def test_is_refused_before_compiling(name):
    check_refused(*BEFORE_FIT[name])


@pytest.fixture(scope="module")
def fitted():
    return PopulationGLM().fit(X, Y), PopulationGLM().fit(TREE, Y)


@pytest.mark.parametrize("name", AFTER_FIT)
def test_is_refused_after_fit(name, fitted):
    call, error, words = AFTER_FIT[name]
    check_refused(lambda: call(*fitted), error, words)


@pytest.fixture(scope="module")
def classifier():
    return ClassifierGLM(3).fit(X, LABELS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: model.score(X[:3], ["a", "b", "z"]),
            "y holds the label 'z' none of the classes ('a', 'b', 'c')",
        ),
        (lambda model: model.predict_proba(X, "odds"), "return_type 'odds' log-proba, proba"),
        (lambda model: model.predict(X[:, :2]), "X has 2 features ClassifierGLM 3 features"),
        (lambda model: model.predict(X, np.ones(T)), "offset (20, 3) got (20,)"),
        (lambda model: model.score(X, LABELS, "accuracy"), "score_type 'accuracy'"),
    ],
    ids=["an unknown label", "odds", "fewer features", "an offset alike", "an unknown score"],
)
def test_a_fitted_classifier_refuses(call, words, classifier):
    check_refused(lambda: call(classifier), ValueError, words)


@pytest.mark.parametrize("kind", [ValueError, AttributeError])
@pytest.mark.parametrize("method", ["predict", "score", "simulate"])
def test_before_fit_is_both_errors_that_users_catch(method, kind):
    key = jax.random.key(0)
    arguments = {"predict": (X,), "score": (X, y), "simulate": (key, X)}[method]
    check_refused(lambda: getattr(GLM(), method)(*arguments), kind, "GLM not fitted Call 'fit'")


def test_fractional_counts_are_taken():
    model = PopulationGLM().fit(X, Y + 0.5)
    assert np.isfinite(model.coef_).all()


def test_what_is_refused_leaves_a_fitted_model_as_it_was(fitted):
    model, _ = fitted
    before = model.coef_.copy()
    with pytest.raises(ValueError, match="row 4"):
        model.fit(but(X, (4, 1), np.inf), Y)
    np.testing.assert_array_equal(model.coef_, before)
