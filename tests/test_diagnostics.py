"""Goodness of fit, against simulated truth, SciPy, statsmodels and scikit-learn."""

import jax
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.base import clone
from sklearn.metrics import d2_tweedie_score
from sklearn.model_selection import GroupKFold, TimeSeriesSplit

from compilations import counted
from spikax import diagnostics
from spikax.diagnostics._residuals import RESIDUALS
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.model_selection import PopulationGLMCV
from spikax.observation_models import CategoricalObservations, NegativeBinomialObservations


def rates(rng, n_samples=4000, n_neurons=1, size=0.3):
    """Make rates that vary in time, in spikes per bin."""
    phase = rng.uniform(0, 6, size=n_neurons)
    return size * np.exp(np.sin(np.arange(n_samples)[:, None] / 40 + phase[None]))


def drawn(rng, family, mean):
    return {
        "Poisson": lambda: rng.poisson(mean),
        "NegativeBinomial": lambda: rng.negative_binomial(1 / 0.3, 1 / (1 + 0.3 * mean)),
        "Bernoulli": lambda: rng.binomial(1, mean),
        "Gaussian": lambda: rng.normal(mean, np.sqrt(0.3)),
        "Gamma": lambda: rng.gamma(1 / 0.3, 0.3 * mean),
    }[family]().astype(float)


SCALES = {"Poisson": 1.0, "NegativeBinomial": 0.3, "Bernoulli": 1.0, "Gaussian": 0.3, "Gamma": 0.3}


def model_of(family):
    return NegativeBinomialObservations("estimate") if family == "NegativeBinomial" else family


every_family = pytest.mark.parametrize("family", SCALES)


# --- Time rescaling.


@pytest.mark.parametrize("family", ["Poisson", "Bernoulli", "NegativeBinomial"])
@pytest.mark.parametrize("size", [0.02, 0.3])
def test_p_values_of_a_true_model_are_uniform(family, size, rng, key):
    rate = rates(rng, 20_000 if size < 0.1 else 4000, 1000, size)
    test = diagnostics.time_rescaling(
        drawn(rng, family, rate), rate, key, model_of(family), SCALES[family]
    )
    assert stats.kstest(test.p_value, "uniform").pvalue > 0.01
    inside = np.mean(
        [
            np.max(np.abs(observed - expected)) + 0.5 / observed.size < band
            for expected, observed, band in (test.curve(j) for j in range(1000))
        ]
    )
    assert 0.93 < inside < 0.97


def test_a_rate_that_depends_on_past_spikes_is_rescaled_too(rng, key):
    n_neurons, n_samples = 500, 3000
    spikes, rate = np.zeros((2, n_samples, n_neurons))
    for t in range(n_samples):
        rate[t] = 0.3 * np.exp(-2.0 * spikes[t - 1] - 1.0 * spikes[t - 2])
        spikes[t] = rng.poisson(rate[t])
    test = diagnostics.time_rescaling(spikes, rate, key)
    assert stats.kstest(test.p_value, "uniform").pvalue > 0.01
    wrong = diagnostics.time_rescaling(spikes, np.full_like(rate, spikes.mean()), key)
    assert np.mean(wrong.p_value < 0.05) > 0.9


def test_dispersed_counts_are_rescaled_at_their_own_intensity(rng, key):
    mean = rates(rng, 500, 200, 3.0)
    spikes = rng.poisson(mean * rng.gamma(0.5, 2.0, size=mean.shape))
    model = NegativeBinomialObservations(2.0)
    test = diagnostics.time_rescaling(spikes, mean, key, model)
    assert stats.kstest(test.p_value, "uniform").pvalue > 0.01
    assert np.mean(diagnostics.time_rescaling(spikes, mean, key).p_value < 0.05) > 0.9
    # The whole bin's share of the intensity, for counts of zero.
    silent = np.zeros((3, 1))
    silent[2] = 1
    (interval,) = diagnostics.time_rescaling(silent, np.full((3, 1), 1.5), key, model).intervals
    assert 2 * np.log(4) / 2 < interval[0] < 3 * np.log(4) / 2
    # Without dispersion it is the Poisson process.
    poisson = rng.poisson(mean)
    none = diagnostics.time_rescaling(poisson, mean, key, NegativeBinomialObservations(0.0))
    assert stats.kstest(none.p_value, "uniform").pvalue > 0.01
    for found, whole in zip(none.intervals, mean.T, strict=True):
        assert 0 < whole.sum() - found.sum() < whole[-50:].sum()


def test_intervals_are_independent_for_a_true_model(rng, key):
    rate = rates(rng, 100_000)
    (intervals,) = diagnostics.time_rescaling(rng.poisson(rate), rate, key).intervals
    assert abs(stats.pearsonr(intervals[1:], intervals[:-1]).statistic) < 4 / np.sqrt(
        intervals.size
    )


@pytest.mark.parametrize("family", ["Poisson", "Bernoulli"])
def test_spikes_stay_in_their_bins(family, rng, key):
    rate = rates(rng, 500)
    spikes = drawn(rng, family, rate)
    test = diagnostics.time_rescaling(spikes, rate, key, family)
    assert test.n_spikes.tolist() == [spikes.sum()]
    if family == "Poisson":
        times = np.cumsum(test.intervals[0])
        found = np.histogram(times, np.concatenate([[0], np.cumsum(rate)]))[0]
        np.testing.assert_array_equal(found, spikes[:, 0])


def test_missing_samples_are_as_if_time_stood_still(rng, key):
    rate = rates(rng, 1000, 2)
    spikes = rng.poisson(rate).astype(float)
    kept = np.ones(1000, bool)
    kept[100:300] = False
    holes = np.where(kept[:, None], spikes, np.nan), np.where(kept[:, None], rate, np.nan)
    for pair in ((holes[0], rate), (spikes, holes[1])):
        test = diagnostics.time_rescaling(*pair, key)
        expected = diagnostics.time_rescaling(spikes[kept], rate[kept], key)
        np.testing.assert_allclose(test.statistic, expected.statistic)


def test_a_key_gives_one_result_and_another_key_another(rng):
    rate = rates(rng)
    spikes = rng.poisson(rate)
    first, again, other = (
        diagnostics.time_rescaling(spikes, rate, jax.random.key(seed)).p_value
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_silent_neuron_has_no_p_value(key):
    spikes = np.zeros((50, 2))
    spikes[3, 1] = 1
    test = diagnostics.time_rescaling(spikes, np.full((50, 2), 0.02), key)
    assert np.isnan(test.p_value[0])
    assert test.p_value[1] > 0
    assert test.n_spikes.tolist() == [0, 1]


# --- Residuals.


@every_family
def test_deviance_and_pearson_residuals_are_those_of_statsmodels(family, rng):
    theirs = {
        "Poisson": sm.families.Poisson(),
        "NegativeBinomial": sm.families.NegativeBinomial(alpha=0.3),
        "Bernoulli": sm.families.Binomial(),
        "Gaussian": sm.families.Gaussian(),
        "Gamma": sm.families.Gamma(),
    }[family]
    mean = rates(rng, 300)[:, 0]
    y = drawn(rng, family, mean)
    spread = SCALES[family] if family in ("Gaussian", "Gamma") else 1.0
    for kind, expected in (
        ("deviance", theirs.resid_dev(y, mean) / np.sqrt(spread)),
        ("pearson", (y - mean) / np.sqrt(spread * theirs.variance(mean))),
    ):
        found = diagnostics.residuals(
            y, mean, kind, observation_model=model_of(family), scale=SCALES[family]
        )
        assert found.shape == y.shape
        np.testing.assert_allclose(found, expected, atol=1e-7)


@every_family
def test_quantile_residuals_of_a_true_model_are_normal(family, rng, key):
    mean = rates(rng, 5000, 2)
    y = drawn(rng, family, mean)
    found = diagnostics.residuals(
        y,
        mean,
        "quantile",
        observation_model=model_of(family),
        scale=SCALES[family],
        random_key=key,
    )
    for j in range(2):
        assert stats.kstest(found[:, j], "norm").pvalue > 0.001


def test_quantile_residuals_are_finite_in_the_tails(key):
    y = np.array([0.0, 60.0, 0.0])
    found = diagnostics.residuals(y, np.array([60.0, 1.0, 1e-9]), "quantile", random_key=key)
    assert found[0] < -8
    assert found[1] > 15
    assert np.isfinite(found).all()


def test_missing_residuals_are_missing():
    y, mean = np.array([1.0, np.nan, 2.0]), np.array([1.0, 1.0, np.nan])
    for kind in ("deviance", "pearson"):
        found = diagnostics.residuals(y, mean, kind)
        assert np.isnan(found).tolist() == [False, True, True]


# --- Scores.


@pytest.mark.parametrize(("family", "power"), [("Poisson", 1), ("Gaussian", 0), ("Gamma", 2)])
def test_deviance_explained_is_scikit_learns_d2(family, power, rng):
    mean = rates(rng, 500, 3)
    y = drawn(rng, family, mean)
    found = diagnostics.deviance_explained(y, mean, observation_model=family)
    for j in range(3):
        expected = d2_tweedie_score(y[:, j], mean[:, j], power=power)
        assert found[j] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", ["Poisson", "Bernoulli"])
def test_bits_per_spike_are_the_gain_in_log_likelihood(family, rng):
    mean = rates(rng, 500, 2)
    y = drawn(rng, family, mean)
    density = {"Poisson": stats.poisson, "Bernoulli": stats.bernoulli}[family].logpmf
    for null in (None, np.array([0.2, 0.4])):
        level = y.mean(axis=0) if null is None else null
        gain = density(y, mean).sum(axis=0) - density(y, level).sum(axis=0)
        expected = gain / np.log(2) / y.sum(axis=0)
        found = diagnostics.bits_per_spike(y, mean, observation_model=family, null_rate=null)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_scores_of_dispersed_counts_are_at_the_dispersion_of_the_model(rng, key):
    X = rng.normal(size=(1000, 2))
    mean = np.exp(0.5 * X + [0.5, 1.0])
    y = rng.poisson(mean * rng.gamma([4.0, 1.0], [0.25, 1.0], size=(1000, 2))).astype(float)
    model = PopulationGLM(NegativeBinomialObservations("estimate")).fit(X, y)
    kwargs = {"observation_model": model.observation_model, "scale": model.scale_}
    mean = np.asarray(model.predict(X), float)

    def log_likelihood(mean):
        size = 1 / np.asarray(model.scale_, float)
        return stats.nbinom.logpmf(y, size, size / (size + mean))

    assert model.scale_[1] > 2 * model.scale_[0]
    best, null = log_likelihood(mean), log_likelihood(y.mean(axis=0))
    # A constant rate has another dispersion, the likeliest for it.
    level = np.broadcast_to(y.mean(axis=0), y.shape)
    size = 1 / np.asarray(model.observation_model.estimate_scale(y, level, 1000), float)
    own = stats.nbinom.logpmf(y, size, size / (size + level))
    bits = (best - own).sum(axis=0) / np.log(2) / y.sum(axis=0)
    found = diagnostics.bits_per_spike(y, mean, null_rate=y.mean(axis=0), **kwargs)
    np.testing.assert_allclose(found, bits, rtol=1e-5)
    np.testing.assert_allclose(diagnostics.bits_per_spike(y, mean, **kwargs), bits, rtol=1e-5)
    deviance, null_deviance = (2 * (log_likelihood(y) - other) for other in (best, null))
    explained = 1 - deviance.sum(axis=0) / null_deviance.sum(axis=0)
    found = diagnostics.deviance_explained(y, mean, **kwargs)
    np.testing.assert_allclose(found, explained, rtol=1e-5)
    found = diagnostics.residuals(y, mean, **kwargs)
    np.testing.assert_allclose(found**2, deviance, rtol=1e-4, atol=1e-8)
    variance = mean + model.scale_ * mean**2
    found = diagnostics.residuals(y, mean, "pearson", **kwargs)
    np.testing.assert_allclose(found, (y - mean) / np.sqrt(variance), rtol=1e-5)
    normal = diagnostics.residuals(y, mean, "quantile", random_key=key, **kwargs)
    assert all(stats.kstest(column, "norm").pvalue > 0.01 for column in normal.T)


def test_values_that_sum_to_less_than_nothing_have_no_bits_for_each_spike():
    y = np.array([-1.0, 0.0])
    with pytest.warns(RuntimeWarning, match="no spikes"):
        found = diagnostics.bits_per_spike(y, y, observation_model="Gaussian")
    assert np.isnan(found).all()


@pytest.mark.parametrize("scale", [None, 0.01, 1.0])
def test_a_dispersion_that_is_known_is_that_of_the_null_model_too(scale, rng, key):
    known = 0.4
    model = NegativeBinomialObservations(known)
    mean = np.exp(0.5 * rng.normal(size=(500, 2)))
    y = rng.negative_binomial(1 / known, 1 / (1 + known * mean)).astype(float)

    def log_likelihood(mean):
        return stats.nbinom.logpmf(y, 1 / known, 1 / (1 + known * mean)).sum(axis=0)

    saturated, best, null = (log_likelihood(m) for m in (y, mean, y.mean(axis=0)))
    kwargs = {"observation_model": model, "scale": scale}
    for level in ({}, {"null_rate": y.mean(axis=0)}, {"offset": np.zeros(500)}):
        found = diagnostics.deviance_explained(y, mean, **kwargs, **level)
        explained = 1 - (saturated - best) / (saturated - null)
        np.testing.assert_allclose(found, explained, rtol=1e-8)
        found = diagnostics.bits_per_spike(y, mean, **kwargs, **level)
        bits = (best - null) / np.log(2) / y.sum(axis=0)
        np.testing.assert_allclose(found, bits, rtol=1e-8)
    estimated = {"observation_model": NegativeBinomialObservations("estimate"), "scale": known}
    for kind in RESIDUALS:
        found, expected = (
            diagnostics.residuals(y, mean, kind, random_key=key, **given)
            for given in (kwargs, estimated)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    found, expected = (
        diagnostics.time_rescaling(y, mean, key, **given) for given in (kwargs, estimated)
    )
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-12)


def test_cross_validated_bits_are_at_the_dispersion_of_the_training_samples(rng):
    X, y = recording(rng, 600)
    y = rng.negative_binomial(1.5, 1.5 / (1.5 + np.exp(0.5 * X))).astype(float)
    model = PopulationGLM(NegativeBinomialObservations("estimate"))
    train, test = np.arange(len(X) // 2), np.arange(len(X) // 2, len(X))
    table = diagnostics.cross_validated_scores(model, X, y, cv=[(train, test)])
    fitted = clone(model).fit(X[train], y[train])
    level = np.broadcast_to(y[train].mean(axis=0), y[train].shape)
    null_scale = model.observation_model.estimate_scale(y[train], level, len(train))
    best, null = (
        stats.nbinom.logpmf(y[test], size, size / (size + mean)).sum(axis=0)
        for size, mean in (
            (1 / np.asarray(fitted.scale_, float), np.asarray(fitted.predict(X[test]), float)),
            (1 / np.asarray(null_scale, float), level),
        )
    )
    np.testing.assert_allclose(table.pseudo_r2, 1 - best / null, rtol=2e-3)
    expected = (best - null) / np.log(2) / y[test].sum(axis=0)
    np.testing.assert_allclose(table.bits_per_spike, expected, rtol=1e-3)


def test_classes_are_diagnosed_by_their_indicators(rng, key):
    X = rng.normal(size=(2000, 2))
    y = np.argmax(X @ rng.normal(size=(2, 3)) + rng.gumbel(size=(2000, 3)), axis=1)
    model = ClassifierGLM(3, regularizer="UnRegularized").fit(X, y)
    chosen, probability = y[:, None] == model.classes_, model.predict_proba(X, "proba")
    found = diagnostics.calibration(chosen, probability, n_bins=5)
    assert found.observed.shape == (5, 3)
    assert np.all(np.abs(found.observed - found.predicted) < 4 * found.standard_error + 0.01)
    kwargs = {"observation_model": "Bernoulli", "random_key": key}
    normal = diagnostics.residuals(chosen, probability, "quantile", **kwargs)
    assert all(stats.kstest(column, "norm").pvalue > 0.01 for column in normal.T)


def test_missing_samples_do_not_count_in_scores(rng):
    mean = rates(rng, 300, 2)
    y = rng.poisson(mean).astype(float)
    kept = rng.uniform(size=300) < 0.7
    holed = np.where(kept[:, None], y, np.nan)
    for score in (diagnostics.bits_per_spike, diagnostics.deviance_explained):
        np.testing.assert_allclose(score(holed, mean), score(y[kept], mean[kept]))
    series = nap.TsdFrame(t=np.arange(300), d=y)
    np.testing.assert_allclose(
        diagnostics.bits_per_spike(series, mean), diagnostics.bits_per_spike(y, mean)
    )


def test_scores_that_are_not_finite_have_a_reason():
    y = np.column_stack([np.zeros(10), np.resize([0.0, 1.0], 10), np.resize([0.0, 2.0], 10)])
    rate = np.full((10, 3), 0.5)
    rate[3, 1] = 0
    with pytest.warns(RuntimeWarning) as caught:
        bits = diagnostics.bits_per_spike(
            nap.TsdFrame(np.arange(10), y, columns=list("abc")), rate
        )
    assert len(caught) == 1
    assert "neurons a have no spikes" in str(caught[0].message)
    assert "neurons b have observations to which the predicted mean gives no" in str(
        caught[0].message
    )
    with pytest.warns(RuntimeWarning, match="neurons 0 are predicted without error.*neurons 1 "):
        explained = diagnostics.deviance_explained(y, rate)
    for found in (bits, explained):
        assert np.isnan(found[0])
        assert found[1] == -np.inf
        assert np.isfinite(found[2])
    for score in (diagnostics.bits_per_spike, diagnostics.deviance_explained):
        with pytest.warns(RuntimeWarning, match="null rate gives no probability"):
            assert np.isnan(score(y[:, 2], rate[:, 2], null_rate=0.0))


def test_a_null_rate_may_be_that_of_each_sample(rng):
    exposure = rng.uniform(0.5, 4, size=(300, 2))
    mean = exposure * rates(rng, 300, 2)
    y = rng.poisson(mean).astype(float)
    y[rng.uniform(size=y.shape) < 0.2] = np.nan
    level = np.nansum(y, axis=0) / np.sum(exposure, axis=0, where=~np.isnan(y))
    for score in (diagnostics.bits_per_spike, diagnostics.deviance_explained):
        given = score(y, mean, null_rate=level * exposure)
        np.testing.assert_allclose(score(y, mean, offset=np.log(exposure)), given, rtol=1e-8)


def test_calibration_of_a_true_model_is_on_the_diagonal(rng):
    mean = rates(rng, 5000, 3)
    result = diagnostics.calibration(rng.poisson(mean), mean, n_bins=8)
    assert result.predicted.shape == (8, 3)
    assert np.all(np.diff(result.predicted, axis=0) > 0)
    distance = (result.observed - result.predicted) / result.standard_error
    assert np.abs(distance).max() < 4
    assert result.n_samples.sum(axis=0).tolist() == [5000] * 3
    np.testing.assert_allclose(
        np.sum(result.predicted * result.n_samples, axis=0), mean.sum(axis=0)
    )


# --- Cross-validation.


def recording(rng, n_samples=300):
    X = rng.normal(size=(n_samples, 2))
    return X, rng.poisson(np.exp(X @ [[0.5, 0], [0, -0.5]] - 0.5)).astype(float)


def test_cross_validated_scores_are_those_of_fits_by_hand(rng):
    X, y = recording(rng)
    model = PopulationGLM(solver_kwargs={"tol": 1e-8})
    table = diagnostics.cross_validated_scores(model, X, y, cv=3)
    assert not hasattr(model, "coef_")
    assert len(table) == 6
    test = np.arange(100, 200)
    train = np.setdiff1d(np.arange(300), test)
    fitted = PopulationGLM().fit(X[train], y[train])
    mean = np.asarray(fitted.predict(X[test]), float)
    null = y[train].mean(axis=0)
    log_likelihood, null_ll = (
        stats.poisson.logpmf(y[test], m).mean(axis=0) for m in (mean, null[None])
    )
    row = table.loc[1]
    np.testing.assert_allclose(row.log_likelihood, log_likelihood, rtol=1e-4)
    np.testing.assert_allclose(row.pseudo_r2, 1 - log_likelihood / null_ll, rtol=1e-3)
    bits = diagnostics.bits_per_spike(y[test], mean, null_rate=null)
    np.testing.assert_allclose(row.bits_per_spike, bits, rtol=1e-3)
    explained = diagnostics.deviance_explained(y[test], mean, null_rate=null)
    np.testing.assert_allclose(row.deviance_explained, explained, rtol=1e-3)


def test_every_splitter_works_and_containers_are_cut(rng):
    X, y = recording(rng)
    tree = {"a": X[:, :1], "b": X[:, 1:]}
    groups = np.repeat(np.arange(6), 50)
    for cv, n_folds in (
        (TimeSeriesSplit(4), 4),
        (GroupKFold(3), 3),
        ([(np.arange(100), np.arange(100, 300))], 1),
    ):
        table, whole = (
            diagnostics.cross_validated_scores(
                PopulationGLM(), x, y, cv, groups=groups if isinstance(cv, GroupKFold) else None
            )
            for x in (tree, X)
        )
        assert len(table) == 2 * n_folds
        pd.testing.assert_frame_equal(table, whole, rtol=1e-4)
    alone = diagnostics.cross_validated_scores(GLM(), pd.DataFrame(X), y[:, 0], TimeSeriesSplit(4))
    assert len(alone) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_folds_without_spikes_are_scored_and_flagged(rng):
    X, y = recording(rng)
    y[:100, 0] = 0
    y[100:, 1] = 0
    table = diagnostics.cross_validated_scores(PopulationGLM(), X, y, cv=3)
    notes = table.note.unstack()
    assert notes[0].tolist() == ["no spikes held out", "", ""]
    assert notes[1].tolist() == ["no spikes to fit", "no spikes held out", "no spikes held out"]
    assert np.isnan(table.loc[(0, 0), "bits_per_spike"])
    assert np.isfinite(table.loc[(0, 0), "log_likelihood"])
    assert np.isfinite(table.loc[(1, 0), "bits_per_spike"])
    # A null model that has seen no spikes gives them no probability.
    assert np.isnan(table.loc[(0, 1), "bits_per_spike"])


def test_weights_and_offsets_are_cut_with_the_samples(rng):
    X, y = recording(rng)
    weights = (rng.uniform(size=300) < 0.8).astype(float)
    offset = rng.normal(0, 0.2, size=300)
    table = diagnostics.cross_validated_scores(
        PopulationGLM(), X, y, cv=3, sample_weight=weights, offset=offset
    )
    dropped = np.where(weights[:, None] > 0, y, np.nan)
    with pytest.warns(RuntimeWarning, match="samples are ignored, since something is NaN: y in"):
        expected = diagnostics.cross_validated_scores(
            PopulationGLM(), X, dropped, cv=3, offset=offset
        )
    pd.testing.assert_frame_equal(table, expected, rtol=1e-4)
    assert table.n_samples.groupby("neuron").sum().tolist() == [weights.sum()] * 2


@pytest.mark.parametrize("model", [PopulationGLM(), ClassifierPopulationGLM()])
def test_ignored_samples_are_one_warning_of_all_folds(model, rng):
    X, y = recording(rng)
    X[:100, 0] = np.nan
    y = y if type(model) is PopulationGLM else y > 0
    with pytest.warns(RuntimeWarning) as caught:
        diagnostics.cross_validated_scores(model, X, y, cv=3)
    assert len(caught) == 1
    assert f"100 of {len(X)} samples are ignored" in str(caught[0].message)


def test_held_out_samples_are_compared_with_their_exposure(rng):
    X, _ = recording(rng)
    exposure, weights = rng.uniform(0.2, 5, size=300), rng.uniform(0.5, 2, size=300)
    y = rng.poisson(exposure[:, None] * np.exp(0.3 * X)).astype(float)
    train, test = np.arange(100, 300), np.arange(100)
    table = diagnostics.cross_validated_scores(
        PopulationGLM(),
        X,
        y,
        cv=[(train, test)],
        sample_weight=weights,
        offset=np.log(exposure),
    )
    level = weights[train] @ y[train] / (weights[train] @ exposure[train])
    null = level * exposure[test, None]
    fitted = PopulationGLM().fit(X[train], y[train], None, weights[train], np.log(exposure[train]))
    mean = np.asarray(fitted.predict(X[test], np.log(exposure[test])), float)
    for name, score in (
        ("bits_per_spike", diagnostics.bits_per_spike),
        ("deviance_explained", diagnostics.deviance_explained),
    ):
        np.testing.assert_allclose(
            table[name], score(y[test], mean, null_rate=null), rtol=1e-4, atol=1e-4
        )
    best, null_ll = (stats.poisson.logpmf(y[test], m).sum(axis=0) for m in (mean, null))
    np.testing.assert_allclose(table.pseudo_r2, 1 - best / null_ll, rtol=1e-3)


def test_bits_per_spike_are_of_every_kind_of_counts(rng):
    X, y = recording(rng)
    table = diagnostics.cross_validated_scores(PopulationGLM("NegativeBinomial"), X, y, cv=3)
    assert table.bits_per_spike.notna().all()


def test_traces_have_no_bits_per_spike(rng):
    X = rng.normal(size=(60, 2))
    table = diagnostics.cross_validated_scores(PopulationGLM("Gaussian"), X, X + 1, cv=3)
    assert "bits_per_spike" not in table.columns
    assert "pseudo_r2" not in table.columns
    assert table.deviance_explained.notna().all()


@pytest.mark.parametrize("offset", [None, "offset"])
@pytest.mark.parametrize("single", [True, False])
def test_cross_validated_scores_of_classifiers_are_those_of_fits_by_hand(rng, single, offset):
    X = rng.normal(size=(300, 2))
    labels = np.array(["left", "right", "wait"])
    y = labels[(X[:, :, None] * [1, -1, 0] + rng.gumbel(size=(300, 2, 3))).argmax(axis=-1)]
    y = y[:, 0] if single else y
    kind = ClassifierGLM if single else ClassifierPopulationGLM
    offset = offset and rng.normal(0, 0.5, size=(*y.shape, 3))
    model = kind(3, regularizer_strength=0.01)
    table = diagnostics.cross_validated_scores(model, X, y, cv=3, offset=offset)
    test = np.arange(100, 200)
    train = np.setdiff1d(np.arange(300), test)
    fitted = kind(3, regularizer_strength=0.01)
    fitted.fit(X[train], y[train], offset=None if offset is None else offset[train])
    found = fitted.predict_proba(X[test], offset=None if offset is None else offset[test])
    index = np.searchsorted(labels, y[test])
    expected = np.take_along_axis(found, index[..., None], axis=-1)[..., 0].mean(axis=0)
    row = table.loc[1]
    np.testing.assert_allclose(row.log_likelihood, expected, rtol=1e-4)
    np.testing.assert_allclose(row.accuracy, (found.argmax(axis=-1) == index).mean(axis=0))
    if offset is None:
        indices = np.searchsorted(labels, y[train])
        shares = np.array([(indices == k).mean(axis=0) for k in range(3)])
        null = np.log(np.take_along_axis(shares.reshape(3, -1), index.reshape(100, -1), axis=0))
        np.testing.assert_allclose(row.pseudo_r2, 1 - expected / null.mean(axis=0), rtol=1e-3)
    assert np.all(row.accuracy > row.null_accuracy)
    assert (table.note == "").all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_labels_that_are_missing_or_in_no_fold_are_told_of(rng):
    X = rng.normal(size=(90, 2))
    y = np.repeat([0.0, 1.0, 2.0], 30)
    y[:5] = np.nan
    table = diagnostics.cross_validated_scores(ClassifierGLM(3), X, y, cv=3)
    assert table.n_samples.tolist() == [25, 30, 30]
    assert table.note.str.contains("a class is missing from the training samples").all()
    assert np.isfinite(table.log_likelihood).all()
    assert table.pseudo_r2.isna().all()


def test_groups_reach_a_model_that_chooses_its_strengths_by_them(rng):
    X, y = recording(rng)
    groups = np.repeat(np.arange(6), 50)
    model = PopulationGLMCV(strengths=[0.1, 0.01], cv=GroupKFold(2))
    table = diagnostics.cross_validated_scores(model, X, y, GroupKFold(3), groups=groups)
    assert len(table) == 6
    # A model that has no use for groups is not given any.
    diagnostics.cross_validated_scores(PopulationGLM(), X, y, GroupKFold(3), groups=groups)


# --- Bad input, and what it costs.


def test_bad_input_is_refused_with_a_remedy(key):
    y, mean = np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.0, 1.5])
    d, dispersed = diagnostics, NegativeBinomialObservations("estimate")
    wrong = [
        (lambda: d.time_rescaling(y, mean[:2], key), r"same shape.*\(3,\) and \(2,\)"),
        (
            lambda: d.time_rescaling(y, mean, key, "Gaussian"),
            "intensity.*not for Gaussian",
        ),
        (lambda: d.time_rescaling(y + 0.5, mean, key), "whole numbers"),
        (lambda: d.time_rescaling(y, -mean, key), "predicted_rate is -0.5 in row 0"),
        (lambda: d.time_rescaling(-y, mean, key), "y holds -1 in row 1"),
        (
            lambda: d.residuals(y, mean, observation_model=CategoricalObservations(3)),
            "one for each class",
        ),
        (lambda: d.cross_validated_scores(ClassifierGLM(2), mean[:, None], y), "3 classes"),
        (lambda: d.residuals(y, mean, "raw"), "Unknown kind: 'raw'"),
        (lambda: d.residuals(y, mean, "quantile"), "pass random_key"),
        (lambda: d.residuals(y, mean * np.inf), "predicted_rate is inf in row 0"),
        (lambda: d.calibration(y, mean, 4), "4 bins need as many samples"),
        (lambda: d.calibration(y, mean, 0), "n_bins must be a positive"),
        (lambda: d.bits_per_spike(y, mean, null_rate=[1.0, 2.0]), "null_rate must be a scalar"),
        (lambda: d.bits_per_spike(y, mean, null_rate=-1.0), "null_rate is -1 in row 0"),
        (lambda: d.bits_per_spike(y, mean, null_rate=1.0, offset=y), "both say what to compare"),
        (lambda: d.deviance_explained(y, mean, offset=y[:2]), r"offset must have shape \(3,\)"),
        (lambda: d.deviance_explained(y, mean, offset=np.full(3, np.inf)), "offset is inf"),
        (lambda: d.time_rescaling(y, mean, key, dispersed), "scale=model.scale_"),
        (lambda: d.deviance_explained(y, mean, observation_model="Bernoulli"), "y holds 2"),
        (lambda: d.bits_per_spike(y, mean, observation_model=dispersed), "scale=model.scale_"),
        (lambda: d.residuals(y, mean, observation_model=dispersed), "scale=model.scale_"),
        (lambda: d.bits_per_spike(y, mean, scale=[1.0, 2.0]), r"scale must.*\(1,\), got \(2,\)"),
        (lambda: d.residuals(y, mean, scale=-1.0), "scale must be finite.*got -1"),
        (lambda: d.cross_validated_scores(GLM(), mean[:, None], y, cv=4), "number of samples"),
        (lambda: d.cross_validated_scores(GLM(), mean[:, None], y[:2]), "inconsistent numbers"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


def test_observations_of_other_times_are_refused():
    y = nap.Tsd(t=np.arange(3), d=np.ones(3))
    mean = nap.Tsd(t=np.arange(3) + 1, d=np.ones(3))
    with pytest.raises(ValueError, match="different time axes"):
        diagnostics.bits_per_spike(y, mean)


def test_like_lengths_share_a_program(rng):
    mean = rates(rng, 130)
    diagnostics.bits_per_spike(rng.poisson(mean), mean)
    with counted() as compilations:
        diagnostics.deviance_explained(rng.poisson(mean[:125]), mean[:125])
    assert not compilations
