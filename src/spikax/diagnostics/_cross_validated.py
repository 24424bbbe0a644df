"""Scores of samples that were held out, fold by fold."""

import warnings
from typing import Any

import jax
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import get_routing_for_object

from spikax import _inputs, _labels
from spikax._layout import Layout
from spikax._missing import IgnoredSamples
from spikax._time_series import TimeSeries
from spikax.diagnostics._checks import neuron_names
from spikax.glm import ClassifierGLM, ClassifierPopulationGLM
from spikax.glm._null import fit_null, unless_exact
from spikax.glm._prediction import rate_scores, share_explained


def cross_validated_scores(
    model, X, y, cv: Any = 5, *, groups=None, sample_weight=None, offset=None
):
    """Score a model on samples that were held out, fold by fold.

    The null model of each score is that of the training samples, their mean, or an intercept that
    was fitted to them with the offset: it has not seen the held-out samples either.

    Parameters
    ----------
    model
        A `GLM`, a `PopulationGLM`, or a classifier, also one that chooses its strengths: it does
        so in each fold's training samples. It is cloned, and stays as it is.
    X, y
        Features and observations as in its `fit`.
    cv
        A number of folds (default 5), which are contiguous in time, a scikit-learn splitter such
        as `TimeSeriesSplit`, one of `spikax.model_selection`, or pairs of training and test
        indices.
    groups
        Groups of the samples, (n_samples,), for splitters that need them: this one, and that of a
        model that chooses its strengths by such folds.
    sample_weight, offset
        As in `fit`; samples of weight zero are not scored, all others equally.

    Returns
    -------
    pandas.DataFrame
        A row for each fold and neuron, with "n_samples" and "total" (the sum of y) of the held-out
        samples, "log_likelihood" (nats per sample), "pseudo_r2" (McFadden's; not
        of Gaussian and Gamma observations, where it would depend on the units of `y`),
        "deviance_explained", for spikes "bits_per_spike", and "note", which says where a neuron
        has no spikes in a fold, or spikes at a predicted rate of zero, and scores mean little. Of
        a classifier "n_samples", "log_likelihood" (mean log-probability of the labels),
        "pseudo_r2", "accuracy", the share of labels that were predicted, "null_accuracy", that of
        the null model, and "note".

    Raises
    ------
    ValueError
        If `X` and `y` are not as `fit` wants them, or there are more folds than samples.

    References
    ----------
    Roberts et al. (2017), Cross-validation strategies for data with temporal structure, Ecography
    40.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> spikes = rng.poisson(np.exp(0.5 * X))
    >>> table = nmo.diagnostics.cross_validated_scores(nmo.glm.PopulationGLM(), X, spikes, cv=4)
    >>> table.groupby("neuron").bits_per_spike.mean().shape
    (2,)
    """
    import pandas as pd

    matrix, layout = _inputs.design_matrix(X)
    fresh: Any = clone(model)
    spec = fresh.resolve()
    data = spec.check(X, y, sample_weight, offset)
    observed, classes, added = data.y, data.classes, data.offset
    outputs = spec.outputs(observed.shape[1])
    single = outputs.single
    labels = neuron_names(y, observed.shape[1])
    if added is not None:
        one = classes is None
        added = (
            np.broadcast_to(added, observed.shape)
            if one
            else (outputs.restored(added, outputs.trailing))
        )
    weights = data.weights
    weights = weights[:, 0] if weights is not None and weights.shape[1] == 1 else weights
    extra = {"sample_weight": weights, "offset": added}
    routed = {}
    if groups is not None and get_routing_for_object(model).consumes("fit", ["groups"]):
        routed["groups"] = np.asarray(groups)
    splitter: Any = check_cv(cv)
    # Some splitters look at times.
    series = y if layout.series is None else layout.series
    samples = series if isinstance(series, TimeSeries) else matrix

    def scores_of(rows) -> dict[str, Any]:
        (train, test), kept = (
            [(_take(layout, matrix, r), observed[r]) for r in rows],
            [{k: None if a is None else a[r] for k, a in extra.items()} for r in rows],
        )
        own = {k: a[rows[0]] for k, a in routed.items()}
        if classes is not None:
            return _classifier_scores(model, classes, single, train, test, own, *kept)
        y_train = train[1][:, 0] if single else train[1]
        fitted: Any = clone(model)
        fitted.fit(train[0], y_train, **kept[0], **own)
        rate = np.reshape(fitted.predict(test[0], kept[1]["offset"]), test[1].shape)
        return _regression_scores(fitted, train[1], test[1], rate, *kept)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredSamples)  # there was a word of all samples
        tables = [
            pd.DataFrame({"fold": fold, "neuron": list(labels), **scores_of(rows)})
            for fold, rows in enumerate(splitter.split(samples, observed, groups))
        ]
    return pd.concat(tables).set_index(["fold", "neuron"])


def _take(layout: Layout, matrix: np.ndarray, rows: np.ndarray) -> Any:
    """Pick samples of the features, in the user's container."""
    return jax.tree.map(np.transpose, layout.split(matrix[rows].T))


def _classifier_scores(
    model, classes: np.ndarray, single: bool, train, test, own, along, along_test
) -> dict[str, Any]:
    """Scores of held-out labels, given as indices of classes, each (n_neurons,)."""
    (X, y), (X_test, y_test) = train, test
    labels = _labels.decode(y[:, 0] if single else y, classes)

    def log_probability(estimator, X, X_test, extra) -> np.ndarray:
        fitted: Any = clone(estimator)
        fitted.set_classes(classes).fit(X, labels, **extra)
        found = fitted.predict_proba(X_test, offset=along_test["offset"])
        return np.reshape(np.asarray(found, float), (*y_test.shape, len(classes)))

    # The model without features is that of features that say nothing.
    kind = ClassifierGLM if single else ClassifierPopulationGLM
    null_model = kind(len(classes), regularizer="UnRegularized", fit_intercept=model.fit_intercept)
    found = log_probability(model, X, X_test, {**along, **own})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what the notes tell
        null = log_probability(
            null_model, np.zeros((len(y), 1)), np.zeros((len(y_test), 1)), along
        )

    weight, weight_test = (
        1.0 if kept["sample_weight"] is None else _by_neuron(kept["sample_weight"])
        for kept in (along, along_test)
    )
    known = (weight_test > 0) & ~np.isnan(y_test) & ~np.isnan(found[..., 0])
    observed = np.where(known, y_test, 0).astype(int)
    n_samples = known.sum(axis=0)
    class_missing = ~np.all(
        [((y == k) & (weight > 0)).any(axis=0) for k in range(len(classes))], axis=0
    )

    def mean(values) -> np.ndarray:
        return np.sum(values, axis=0, where=known) / n_samples

    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood, of_null = (
            mean(np.take_along_axis(each, observed[..., None], axis=-1)[..., 0])
            for each in (found, null)
        )
        texts = ["no samples held out", "a class is missing from the training samples"]
        return {
            "n_samples": n_samples,
            "log_likelihood": log_likelihood,
            "pseudo_r2": np.where(class_missing, np.nan, 1 - log_likelihood / of_null),
            "accuracy": mean(found.argmax(axis=-1) == observed),
            "null_accuracy": mean(null.argmax(axis=-1) == observed),
            "note": np.select([n_samples == 0, class_missing], texts, ""),
        }


def _regression_scores(fitted, y_train, y, rate, train_extra, extra) -> dict[str, Any]:
    """Scores of held-out samples, each (n_neurons,)."""
    likelihood = fitted.resolve().likelihood
    model = likelihood.family
    weight = extra["sample_weight"]
    y = y if weight is None else np.where(_by_neuron(weight) > 0, y, np.nan)
    known = ~(np.isnan(y) | np.isnan(rate))
    scale = np.atleast_1d(np.asarray(fitted.scale_, float))
    n_samples = known.sum(axis=0)
    train_weight = train_extra["sample_weight"]
    train_weight = None if train_weight is None else _by_neuron(train_weight)
    train = _inputs.without_features(
        y_train, ~np.isnan(y_train), train_weight, train_extra["offset"]
    )
    terms, nulls = [rate_scores(model, y, rate, scale[None])], []
    for own_scale in (True, False):
        with jax.enable_x64(True):
            nulls.append(fit_null(likelihood, train, scale, own_scale))
            null_rate = nulls[-1].predict(len(y), extra["offset"])
        null_rate = unless_exact(np.where(known, null_rate, np.nan), y, known)
        terms.append(rate_scores(model, y, null_rate, nulls[-1].scale[None]))
    (ll, deviance), (null_ll, _), (_, null_deviance) = np.nansum(terms, axis=2)
    total = np.sum(y, axis=0, where=known)
    # A null model that gives what was held out no probability is nothing to compare with.
    null_ll, null_deviance = (np.where(np.isinf(a), np.nan, a) for a in (null_ll, null_deviance))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = {"n_samples": n_samples, "total": total, "log_likelihood": ll / n_samples}
        if not likelihood.by_moments:
            scores["pseudo_r2"] = share_explained(ll, null_ll)
        scores["deviance_explained"] = share_explained(deviance, null_deviance)
        notes = [(n_samples == 0, "no samples held out")]
        if model.counts_spikes:
            scores["bits_per_spike"] = np.where(
                total > 0, (ll - null_ll) / (total * np.log(2)), np.nan
            )
            notes += [
                (total == 0, "no spikes held out"),
                (nulls[0].constant == 0, "no spikes to fit"),
                (np.isinf(ll), "spikes at a predicted rate of zero"),
            ]
        notes += [(null_deviance == 0, "nothing to explain")]
    conditions, texts = zip(*notes, strict=True)
    return {**scores, "note": np.select(conditions, texts, "")}


def _by_neuron(weights: np.ndarray) -> np.ndarray:
    """Give weights an axis of neurons."""
    return weights.reshape(len(weights), -1)
