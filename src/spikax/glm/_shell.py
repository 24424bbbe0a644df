"""The shell of the estimators: it stores, resolves names, calls the fit, and unpacks."""

from collections.abc import Callable
from dataclasses import replace
from numbers import Number
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin, is_classifier
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from spikax import _inputs, _npz, observation_models
from spikax._assemble import Problem
from spikax._errors import NOTHING_TO_EXPLAIN, unknown_name, warn_about_scores
from spikax._inputs import Data
from spikax._model import FittedModel, ModelSpec, check_feature_names, check_fitted_shapes
from spikax._threads import one_blas_thread
from spikax._time_series import TimeSeries
from spikax.core.degrees_of_freedom import effective_degrees_of_freedom
from spikax.core.standardise import Standardisation
from spikax.design import is_source
from spikax.fit import fit_population, fit_some, in_enough_digits, null_theta
from spikax.glm import _batches, _recurrence
from spikax.glm._arguments import Arguments
from spikax.glm._prediction import (
    aggregated,
    by_predictor,
    mean_of,
    mean_over_neurons,
    parameters_of,
    sample_scores,
    share_explained,
)
from spikax.glm._report import (
    idle_predictors,
    moment_scale,
    parting_features,
    solver_state,
    warn_about_neurons,
)
from spikax.observation_models._observations import SCORE_TYPES, check_pseudo_r2
from spikax.solvers import Solver, Status


class Solved(NamedTuple):
    """A problem and its solution."""

    problem: Problem
    result: Any  # a FitResult, on the host
    choice: Any = None  # of strengths


def with_enough_digits(
    solver: Solver, solve: Callable[..., Solved], go_on: bool = False
) -> Solved:
    """Solve in single precision, or in double precision where single has too few digits."""
    with one_blas_thread():
        return in_enough_digits(solver, solve, lambda found: found.result.coarse, go_on)


class Shell(RegressorMixin, Arguments):
    """What all estimators do; each is a class of its own beside the others."""

    def __sklearn_tags__(self):
        """Tell scikit-learn what this estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = not self._single
        tags.target_tags.single_output = self._single
        # The default score is a log-likelihood, not an R2 that could be called poor.
        tags.regressor_tags.poor_score = True
        family = observation_models.resolve(self.observation_model)
        tags.target_tags.positive_only = not np.any(family.allows(np.array([-1.0])))
        return tags

    def fit(self, X, y, init_params=None, sample_weight=None, offset=None):
        """Fit the coefficients and the intercept of every neuron.

        Parameters
        ----------
        X
            Features, (n_samples, n_features), or a container (dict, list, tuple, nested) of such
            arrays. Arrays, pandas and pynapple objects are taken, by the order of their rows; rows
            with NaN, or that are missing or masked, are ignored. Also the design of a basis,
            `basis.design(...)`, whose features are evaluated block by block and never held
            together.
        y
            Observations, (n_samples, n_neurons); (n_samples,) for `GLM`. A NaN is ignored for its
            neuron.
        init_params
            Where to start, (coef, intercept) shaped as `coef_` and `intercept_`; the model without
            features if None.
        sample_weight
            Weights of the samples, (n_samples,), or of each neuron's samples,
            (n_samples, n_neurons), at least zero; all one if None. What they say is
            `weight_type`. Their mean does not matter to coefficients and statuses.
        offset
            Added to the linear predictor, such as a log exposure, (n_samples,) or
            (n_samples, n_neurons).

        Returns
        -------
        self
            The fitted model.

        Raises
        ------
        ValueError
            If shapes, lengths, names, values, strengths or the times of pynapple objects are
            wrong, or no row is left.
        TypeError
            If a container has the wrong structure or type, or something holds no samples, as
            pynapple's events and epochs do.

        Warns
        -----
        RuntimeWarning
            Once, naming the neurons that did not converge or have no finite optimum.
        """
        spec = self.resolve().without_choice()
        solver = spec.solver()
        data = spec.check(X, y, sample_weight, offset, afresh=True)

        def solve(found: Solved | None = None):
            problem = spec.assemble(data, None if found is None else found.problem.standardisation)
            theta = spec.start(init_params, data, problem)
            if found is None:
                result = jax.device_get(fit_population(*problem[:3], solver, theta))
            else:
                result = fit_some(*problem[:3], solver, theta, found.result)
            return Solved(problem, result)

        found = with_enough_digits(solver, solve, go_on=True)
        warn_about_neurons(*self._learn(X, y, data, spec, found))
        return self

    def _learn(self, X, y, data: Data, spec: ModelSpec, found: Solved):
        """Set what a fit found, and tell what there is to warn about."""
        (objective, samples, _, standardisation), result, _ = found
        n_neurons, likelihood = data.y.shape[1], objective.likelihood
        self._forget()
        self._remember(X, y, data, spec, result.outcome.theta, standardisation)
        self.solver_state_ = solver_state(result.outcome, self._single)
        self.n_iter_ = int(np.max(result.outcome.n_steps))
        self.aux_ = None
        if likelihood.estimated:  # whose information is that at the dispersion found
            objective = replace(objective, likelihood=likelihood.at(result.scale[:, None]))
        edf = effective_degrees_of_freedom(objective, samples, result.outcome.theta)
        dof = data.n_observations - edf
        scale = np.ones(n_neurons)
        if result.pearson is not None:
            scale = data.mean_weight * moment_scale(result.pearson, dof)
        if result.scale is not None:
            scale = result.scale.astype(float)
        self._set_scale(edf, dof, scale)
        counted = np.any(np.asarray(samples.weights) > 0, axis=(0, 2))
        unbounded = np.asarray(result.outcome.status) == Status.UNBOUNDED
        return (
            result.outcome.status,
            np.broadcast_to(~counted, n_neurons),
            (scale == 0) & likelihood.estimated,
            np.isnan(scale),
            self._neurons(n_neurons),
            likelihood.family,
            parting_features(data, unbounded, spec.observation_model),
            self._idle_predictors(data, unbounded),
        )

    def _idle_predictors(self, data: Data, unbounded: np.ndarray) -> dict[str, np.ndarray]:
        if not unbounded.any():
            return {}
        model = self.fitted()
        X = np.where(np.isnan(data.X), 0, data.X) if isinstance(data.X, np.ndarray) else data.X
        eta = model.linear_predictor(X, data.layout, None)
        return idle_predictors(model.spec.likelihood, eta, data.weight, unbounded)

    def predict(self, X, offset=None):
        """Predict the mean of every neuron.

        Parameters
        ----------
        X
            Features as in `fit`.
        offset
            Added to the linear predictor, (n_samples,) or (n_samples, n_neurons).

        Returns
        -------
        array or pynapple object
            Means, (n_samples, n_neurons), (n_samples,) for `GLM`; NaN where `X` is. With the time
            axis of `X` if that is a pynapple object.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`.
        """
        model = self.fitted()
        matrix, layout = model.features(X)
        rate = mean_of(model.spec.likelihood, model.linear_predictor(matrix, layout, offset))
        return model.like_features(rate, layout)

    @available_if(lambda model: not is_classifier(model))
    def predict_parameters(self, X, offset=None):
        """Predict what each linear predictor of the observation model stands for.

        Parameters
        ----------
        X, offset
            As in `predict`.

        Returns
        -------
        dict of array or pynapple object
            By the names of the predictors, each shaped as from `predict`: of a zero-inflated
            Poisson the rate of the counts and the probability of an inflated zero, of most models
            the mean alone.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(500, 1)), rng.poisson(2, size=500) * rng.integers(2, size=500)
        >>> found = nmo.glm.GLM("ZeroInflatedPoisson").fit(X, y).predict_parameters(X)
        >>> list(found), bool(abs(found["zero"].mean() - 0.5) < 0.1)
        (['rate', 'zero'], True)
        """
        model = self.fitted()
        matrix, layout = model.features(X)
        likelihood, eta = model.spec.likelihood, model.linear_predictor(matrix, layout, offset)
        names = model.spec.observation_model.predictors
        if len(names) == 1:
            return {names[0]: model.like_features(mean_of(likelihood, eta), layout)}
        found = np.moveaxis(parameters_of(likelihood, eta), -1, 0)
        return {
            name: model.like_features(each, layout)
            for name, each in zip(names, found, strict=True)
        }

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        X,
        y,
        score_type="log-likelihood",
        aggregate_sample_scores=jnp.mean,
        sample_weight=None,
        offset=None,
    ):
        r"""Score the predictions for `y`.

        Parameters
        ----------
        X
            Features as in `fit`.
        y
            Observations as in `fit`.
        score_type
            "log-likelihood" (default), "pseudo-r2-McFadden" or "pseudo-r2-Cohen".
        aggregate_sample_scores
            Function of the samples' log-likelihoods (or deviances), (n_samples, n_neurons). The
            default is their mean; `lambda s: s.mean(0)` scores each neuron, `numpy.sum` or
            `jax.numpy.sum` give the log-likelihood of all. Samples that are missing for all
            neurons are left out. Where some neurons miss others than the rest, the function gets
            a masked array of NumPy, whose methods leave out what is missing, with NaN beneath the
            mask; and the default is the mean over neurons of each neuron's mean.
        sample_weight
            Weights of the samples, shaped as in `fit`, for the default mean, which they weigh. But
            where a family has a scale and they are precisions (`weight_type`), they divide the
            scale of the samples' densities, and the mean is plain.
        offset
            Added to the linear predictor, (n_samples,) or (n_samples, n_neurons).

        Returns
        -------
        float or array
            The score, in nats per sample for the log-likelihood; larger is better. A pseudo-R2 is
            NaN where the null model leaves nothing to explain, as of a silent neuron.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the score type is unknown, or `X` and `y` are not as in `fit`; if McFadden's
            pseudo-R2 is asked for where `y` has a density, on whose units it would depend.

        Warns
        -----
        RuntimeWarning
            Once, naming the neurons whose pseudo-R2 is NaN.

        Notes
        -----
        Pseudo-R2 are :math:`1 - \ell / \ell_0` (McFadden 1974) and :math:`1 - D / D_0`, of
        deviances (Cohen et al. 2003). The null model of each neuron is fitted to `y`, with an
        intercept and the offset, by the weights. In McFadden's it has a dispersion of its own
        where the model estimates one; deviances are both at that of the model.
        """
        if not callable(aggregate_sample_scores):
            raise TypeError(
                "aggregate_sample_scores must be a function of the samples' scores, such as "
                f"jax.numpy.mean, got {aggregate_sample_scores!r}."
            )
        if score_type not in SCORE_TYPES:
            raise unknown_name("score_type", score_type, SCORE_TYPES)
        spec = self.resolve()
        if score_type != "log-likelihood":
            check_pseudo_r2(spec.observation_model, score_type)
        if sample_weight is not None and aggregate_sample_scores is not jnp.mean:
            raise ValueError(
                "sample_weight weighs the default mean: leave aggregate_sample_scores as it is, "
                "or apply the weights in it."
            )
        model = self.fitted()
        model.features(X)
        data = spec.check(X, y, sample_weight, offset)
        model.check_neurons(data.y.shape[1])
        eta = model.linear_predictor(data.X, data.layout, offset)
        samples = sample_scores(spec.likelihood, eta, data, score_type, model.scale)
        weight = data.weight
        if score_type == "log-likelihood" and data.divides_scale(spec.observation_model):
            weight = weight > 0
        if aggregate_sample_scores is jnp.mean:
            totals: list[Any] = [mean_over_neurons(s, weight) for s in samples]
        else:
            known = np.broadcast_to(weight > 0, data.y.shape)
            totals = [aggregated(s, known, self._single, aggregate_sample_scores) for s in samples]
        if score_type == "log-likelihood":
            return totals[0]
        of_model, null = (np.asarray(total, float) for total in totals)
        explained = share_explained(of_model, null)
        if np.isnan(explained).any():
            nothing = np.sum(weight * np.abs(samples[1]), axis=0) == 0
            warn_about_scores(model.neurons, [(nothing, NOTHING_TO_EXPLAIN)])
        return explained

    def simulate(self, random_key, feedforward_input, offset=None):
        """Draw observations from the fitted model.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        feedforward_input
            Features as in `fit`, those of past activity included, which is taken as it is:
            `simulate_recurrent` feeds back what it draws.
        offset
            Added to the linear predictor, as in `predict`.

        Returns
        -------
        sample : array or pynapple object
            Observations, shaped like `rate`.
        rate : array or pynapple object
            Their means, as from `predict`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`.
        """
        model = self.fitted()
        matrix, layout = model.features(feedforward_input)
        likelihood, eta = model.spec.likelihood, model.linear_predictor(matrix, layout, offset)
        rate = parameters = mean_of(likelihood, eta)
        if likelihood.n_predictors > 1:
            parameters = np.moveaxis(parameters_of(likelihood, eta), -1, 0)
        missing = np.isnan(rate)
        known = jnp.where(np.isnan(parameters), 0, parameters)
        drawn = likelihood.by_row().family.sample(random_key, known, model.scale)
        sample = np.where(missing, np.nan, drawn) if missing.any() else np.asarray(drawn)
        return model.like_features(sample, layout), model.like_features(rate, layout)

    def simulate_recurrent(
        self,
        random_key,
        feedforward_input,
        coupling_basis,
        coupling=None,
        init_y=None,
        offset=None,
    ):
        r"""Draw activity from the fitted model, and feed it back through its coupling filters.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        feedforward_input
            Features as in `fit` without those of coupling: a container without their entry, an
            array without their columns. The number of samples if there are no others. Without NaN.
        coupling_basis
            The Conv basis that made features of the past activity of all neurons, in their order;
            the sum that made an array `X`, with that basis among its terms; or a dict of Conv
            bases, where several did, such as `{"history": fast, "coupling": slow}`.
        coupling
            Where the features of coupling are. In a container: their entry (default: the label of
            the basis). Of a sum: its term or a list of its terms (default: its only Conv basis).
            In another array: the first of their columns (default: they are all there is).
        init_y
            Activity before the first sample, the latest last, (window_size, n_neurons),
            (window_size,) for `GLM`; none if None.
        offset
            Added to the linear predictor, as in `predict`.

        Returns
        -------
        sample : array or pynapple object
            Observations, (n_samples, n_neurons), (n_samples,) for `GLM`. With the time axis of
            `feedforward_input` if that is a pynapple object: then each epoch begins anew with
            `init_y`.
        rate : array or pynapple object
            Their means given the past: what `predict` makes of the features of `sample`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If there is no such coupling, it is not that of the model's neurons, it looks beyond
            the past, or shapes or values are wrong.
        TypeError
            If `coupling_basis` does not convolve, or for a classifier.

        Warns
        -----
        RuntimeWarning
            Once, naming the neurons that run away: that fire over a thousand times more than their
            input alone would make them. `stability` tells whether to expect it.

        References
        ----------
        Pillow et al. (2008), Nature 454, 995.

        Examples
        --------
        >>> import jax
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> stimulus, spikes = rng.normal(size=(1000, 2)), rng.poisson(0.2, size=(1000, 3))
        >>> basis = nmo.basis.RaisedCosineLogConv(4, window_size=10, label="coupling")
        >>> X = {"stimulus": stimulus, "coupling": basis.compute_features(spikes)}
        >>> model = nmo.glm.PopulationGLM(regularizer="Ridge").fit(X, spikes)
        >>> key = jax.random.key(0)
        >>> sample, rate = model.simulate_recurrent(key, {"stimulus": stimulus}, basis)
        >>> sample.shape, rate.shape
        ((1000, 3), (1000, 3))
        >>> model.stability({"stimulus": stimulus}, basis).stable
        True
        """
        return _recurrence.simulate(
            self.fitted(), random_key, feedforward_input, coupling_basis, coupling, init_y, offset
        )

    def stability(self, feedforward_input, coupling_basis, coupling=None, offset=None):
        """Tell whether the mean activity of the fitted model is stable when it is fed back.

        Parameters
        ----------
        feedforward_input, coupling_basis, coupling, offset
            As in `simulate_recurrent`. What the input does is taken to be constant: what gives the
            mean of the rates that it alone would cause. One sample asks for its own stability.

        Returns
        -------
        Stability
            Rates at which the mean activity stays, and what becomes of departures from them: the
            linear stability of the mean field, which `spikax.simulation.stability` explains.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            As `simulate_recurrent` does.

        References
        ----------
        Gerhard, Deger & Truccolo (2017), PLoS Comput Biol 13, e1005390.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> spikes = np.random.default_rng(0).poisson(0.2, size=1000)
        >>> basis = nmo.basis.HistoryConv(2)
        >>> model = nmo.glm.GLM().fit(basis.compute_features(spikes), spikes)
        >>> found = model.stability(1, basis)
        >>> found.stable, bool(abs(found.rates[0] - 0.2) < 0.02)
        (True, True)
        """
        return _recurrence.report(
            self.fitted(), feedforward_input, coupling_basis, coupling, offset
        )

    def compute_loss(self, params, X, y):
        """Compute the unpenalised loss: the mean over time, summed over neurons.

        Parameters
        ----------
        params
            (coef, intercept), shaped as `coef_` and `intercept_`; JAX may trace them.
        X, y
            Features and observations as in `fit`.

        Returns
        -------
        jax.Array
            The loss, a scalar, differentiable in `params`.

        Raises
        ------
        ValueError
            If shapes or values are wrong.

        Examples
        --------
        >>> import jax
        >>> import numpy as np
        >>> import spikax as nmo
        >>> X, y = np.ones((4, 1)), np.array([1.0, 0.0, 2.0, 1.0])
        >>> model = nmo.glm.GLM()
        >>> coef, intercept = jax.grad(model.compute_loss)((np.zeros(1), np.zeros(1)), X, y)
        >>> float(intercept[0])
        0.0
        """
        spec = self.resolve()
        data = spec.check(X, y)
        coef, intercept = spec.parameters(params, "params", data, jnp)
        valid = np.ones(data.y.shape) if data.valid is None else data.valid * np.ones(data.y.shape)
        if not isinstance(data.X, np.ndarray):
            products = data.X.times(coef, missing=0.0)
        else:
            products = jnp.asarray(np.where(np.isnan(data.X), 0, data.X)) @ coef
        observed = np.where(np.isnan(data.y), 0, data.y)
        eta = by_predictor(products + intercept[None], spec.observation_model.n_predictors)
        loss = spec.likelihood.by_row().loss(eta, jnp.asarray(observed, eta.dtype))
        return jnp.sum(jnp.where(valid > 0, loss, 0) / valid.sum(axis=0, keepdims=True))

    def assemble(self, X, y, sample_weight=None, offset=None, normaliser=None):
        """Build what a fit minimises, for solvers and models of your own.

        Parameters
        ----------
        X, y, sample_weight, offset
            As in `fit`.
        normaliser
            What the sums of weighted losses are divided by before the penalty is added, a scalar
            or (n_neurons,). None (default) is the sum of each neuron's weights, as in `fit`; the
            number of samples keeps the penalty of an unweighted fit, as a step of
            expectation-maximisation must.

        Returns
        -------
        Problem
            A named tuple: `objective`, `samples` and `precomputed` of `spikax.core`, and the
            `standardisation`, whose `to_user` and `from_user` lead from the parameters of
            standardised features to those of `X` and back.

        Raises
        ------
        ValueError
            If shapes or values are wrong.
        TypeError
            If a container has the wrong structure or type.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(500, 2))
        >>> spikes = rng.poisson(np.exp(0.3 * X - 1))
        >>> problem = nmo.glm.PopulationGLM().assemble(X, spikes)
        >>> solver = nmo.solvers.Newton()
        >>> outcome = solver.run(problem.objective, problem.samples, None, problem.precomputed)
        >>> coef, intercept = problem.standardisation.to_user(np.asarray(outcome.theta))
        >>> coef.shape, intercept.shape
        ((2, 2), (2,))
        """
        spec = self.resolve()
        data = spec.check(X, y, sample_weight, offset, afresh=True)
        if normaliser is not None:
            array = _inputs.as_float_array(normaliser, "normaliser")
            each = np.broadcast_to(array, array.shape or data.y.shape[1])
            if each.shape != data.y.shape[1:] or not np.all((each > 0) & np.isfinite(each)):
                raise ValueError(
                    "normaliser must be positive and finite, one number or one for each of the "
                    f"{data.y.shape[1]} neurons, got {normaliser!r:.60}."
                )
        objective, samples, precomputed, known = spec.assemble(data, normaliser=normaliser)
        # A fit takes them as they are; outside of a compiled function tracing needs JAX's.
        objective, precomputed = jax.tree.map(jnp.asarray, (objective, precomputed))
        if samples.at_hand:
            samples = jax.tree.map(jnp.asarray, samples)
        return Problem(objective, samples, precomputed, known)

    def initialize_params(self, X, y):
        """Find where a fit starts: the model without features.

        Parameters
        ----------
        X, y
            Features and observations as in `fit`.

        Returns
        -------
        coef : array or container
            Zeros, shaped as `coef_`.
        intercept : array
            Intercepts of the constant rates, shaped as `intercept_`.

        Raises
        ------
        ValueError
            If shapes or values are wrong.
        """
        spec = self.resolve()
        data = spec.check(X, y)
        objective, samples, _, standardisation = spec.assemble(data)
        return spec.unpack(null_theta(objective, samples), standardisation, data)

    def initialize_optimizer_and_state(self, init_params, X, y):
        """Prepare `update` for batches like this one.

        Parameters
        ----------
        init_params
            (coef, intercept), as from `initialize_params`.
        X, y
            A batch of features and observations, as in `fit`: the units of the features and the
            solver's coordinates are taken from it.

        Returns
        -------
        state
            To be handed to `update`.

        Raises
        ------
        ValueError
            If shapes or values are wrong.

        Notes
        -----
        What is changed inside an argument of the model, such as an entry of `solver_kwargs`, is
        seen by a new state only; `update` sees arguments that are set anew.
        """
        spec = self._going_on(X, y, None, None)
        return _batches.start(spec, self._arguments(), init_params, X, y)

    def update(self, params, opt_state, X, y, n_samples=None):
        """Take one step of the solver on a batch.

        Parameters
        ----------
        params
            (coef, intercept), from `initialize_params` or the last update.
        opt_state
            State, from `initialize_optimizer_and_state` or the last update.
        X, y
            A batch of features and observations, as in `fit`.
        n_samples
            Number of samples in all batches, which sets `dof_resid_`; those of this one if None.

        Returns
        -------
        params : tuple
            (coef, intercept) after the step.
        state
            To be handed to the next update.

        Raises
        ------
        ValueError
            If shapes or values are wrong.
        TypeError
            If `n_samples` is no whole number.
        """
        arguments = self._arguments()
        found, state = _batches.update(self.resolve, arguments, params, opt_state, X, y, n_samples)
        self._go_on_from(X, y, found, state.standardisation)
        return (self.coef_, self.intercept_), state

    def partial_fit(self, X, y, sample_weight=None, offset=None):
        """Fit to the next batch of samples, together with all batches before it.

        The batches before it are those since the model was made, loaded, or fitted in another way:
        `fit` and `update` keep nothing to go on from.

        Of these batches, 4096 samples drawn at random are kept, and the slope of the loss of
        all. Until there are more samples, the result is that of `fit` to all of them. Beyond, what
        it misses by is a part of a standard error of about the square root of the number of
        parameters over that of the kept samples: after one pass over the batches, statistical
        accuracy. Every call counts as new samples: further passes over the same batches bring the
        coefficients closer to those of `fit`, and count the samples again in `dof_resid_`.

        Parameters
        ----------
        X, y
            A batch of features and observations, as in `fit`. The first batch sets the units in
            which the solver sees the features.
        sample_weight, offset
            As in `fit`, for this batch.

        Returns
        -------
        self
            The model fitted to all batches so far. `scale_` judges each batch by the estimate
            that it led to.

        Raises
        ------
        ValueError
            If shapes or values are wrong, or features or neurons are not those of the first batch.
        TypeError
            If a container has the wrong structure or type.

        Warns
        -----
        RuntimeWarning
            As `fit` does; small batches often leave neurons without a finite optimum.

        Notes
        -----
        The kept samples stand for all past ones as the batches of a stochastic variance-reduced
        gradient do (Johnson & Zhang 2013, NeurIPS 26): exact at the last estimate, and up to
        chance elsewhere. They go with pickles of the model, and not into `save_params`.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> model = nmo.glm.GLM()
        >>> for _ in range(5):
        ...     X = rng.normal(size=(200, 2))
        ...     model = model.partial_fit(X, rng.poisson(np.exp(0.3 * X[:, 0] - 1)))
        >>> float(model.dof_resid_)
        997.0
        """
        spec = self._going_on(X, y, sample_weight, offset)
        X = X.compute() if is_source(X) else X  # of a batch, which has room
        memory = vars(self).get("_memory")
        if memory is not None:
            self.fitted().features(X)
        data = spec.check(X, y, sample_weight, offset)
        found, outcome, memory = _batches.renew(spec, data, memory)
        self._go_on_from(X, y, found, memory.standardisation)
        self._memory = memory
        self.solver_state_ = solver_state(outcome, self._single)
        self.n_iter_ = int(np.max(outcome.n_steps))
        empty = found.n_observations == 0
        unscaled, neurons = np.isnan(found.scale), self._neurons(empty.size)
        status = np.asarray(outcome.status)
        warn_about_neurons(
            status, empty, np.zeros_like(empty), unscaled, neurons, spec.observation_model
        )
        return self

    def save_params(self, filename):
        """Save the model, its constructor's arguments and what it was fitted to, without pickle.

        Parameters
        ----------
        filename
            Path of the npz file (the ending is added where it is missing), or a binary file.

        Raises
        ------
        TypeError
            If an argument is of a type that files do not hold.

        Notes
        -----
        Functions and classes are saved by name, and `solver_state_` is not saved. Load the file
        with `spikax.load_model`.

        Examples
        --------
        >>> import tempfile
        >>> import spikax as nmo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     nmo.glm.GLM(regularizer="Ridge").save_params(f"{folder}/model.npz")
        ...     nmo.load_model(f"{folder}/model.npz")
        GLM(regularizer='Ridge')
        """
        _npz.write(filename, self)

    def fitted(self) -> FittedModel:
        """Bring together what the model is and what its fit found, or what was set by hand.

        `coef_` and `intercept_` are enough: without a `scale_`, that of the observation model is
        taken, and one where it has none.

        Returns
        -------
        FittedModel
            The coefficients and what they make of features.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If coefficients, intercepts or scales that were set by hand do not fit each other.

        Examples
        --------
        >>> import spikax as nmo
        >>> X = [[0.0], [1.0], [2.0]]
        >>> model = nmo.glm.GLM().fit(X, [1, 2, 2]).fitted()
        >>> model.linear_predictor(*model.features(X), offset=None).shape
        (3, 1)
        """
        check_is_fitted(self, ["coef_", "intercept_"])
        found, spec = vars(self), self.resolve()
        intercept = np.asarray(self.intercept_)
        outputs = spec.outputs(1 if self._single else len(np.atleast_1d(intercept)))
        scale = found.get("scale_")
        if scale is None:  # where parameters were set by hand
            known = spec.likelihood.dispersion
            scale = np.broadcast_to(1.0 if known is None else known, outputs.n_neurons)
        state = found.get("solver_state_")
        model = FittedModel(
            estimator=self,
            spec=spec,
            coef=self.coef_,
            intercept=intercept,
            scale=np.atleast_1d(np.asarray(scale, float)),
            dof_resid=np.atleast_1d(np.asarray(found.get("dof_resid_", np.nan), float)),
            status=None if state is None else np.atleast_1d(state.stats.status),
            columns=found.get("_columns"),
        )
        check_fitted_shapes(model, outputs)
        return model

    def _going_on(self, X, y, sample_weight, offset) -> ModelSpec:
        """Resolve a model that goes over batches, of which this may be the first."""
        spec = self.resolve()
        if spec.likelihood.estimated:
            raise ValueError(
                f"The scale of {spec.observation_model.name} observations is estimated from all "
                "samples: use fit, or give it a number to go through batches."
            )
        return spec

    def _go_on_from(self, X, y, found: _batches.Found, standardisation: Standardisation) -> None:
        """Set what every way of going over batches finds."""
        self._forget()
        self._remember(X, y, found.data, found.spec, found.theta, standardisation)
        self._set_scale(found.edf, found.n_observations - found.edf, found.scale)

    def _forget(self) -> None:
        """Make room for another fit: what was learned before does not hold."""
        for name in ("coef_", "_memory"):
            self.__dict__.pop(name, None)

    def _remember(
        self, X, y, data: Data, spec: ModelSpec, theta: Any, standardisation: Standardisation
    ) -> None:
        """Set the parameters, and what later data are compared with."""
        self.n_features_in_ = data.layout.n_features
        check_feature_names(self, X, reset=True)
        self._columns = columns_of(y)
        if data.classes is not None:
            self.classes_ = np.asarray(data.classes)
        self.coef_, self.intercept_ = spec.unpack(theta, standardisation, data)

    def _neurons(self, n_neurons: int) -> np.ndarray:
        """Tell what the neurons of the last fit are called."""
        return np.arange(n_neurons) if self._columns is None else self._columns[0]

    def _set_scale(self, edf: np.ndarray, dof_resid: np.ndarray, scale: np.ndarray) -> None:
        """Set the scale and the degrees of freedom, each (n_neurons,)."""
        self.edf_, self.dof_resid_, self.scale_ = (
            array[0] if self._single else array for array in (edf, dof_resid, scale)
        )


def columns_of(y):
    """Names and metadata of the neurons of a frame of pynapple or pandas."""
    columns = getattr(y, "columns", None)
    if columns is None:
        return None
    labels = np.asarray(columns)
    if labels.dtype == object:  # such as pairs, for columns of two levels
        labels = np.array([c if isinstance(c, str | Number) else str(c) for c in columns], object)
    metadata = getattr(y, "metadata", None) if isinstance(y, TimeSeries) else None
    metadata = {} if metadata is None else metadata
    return labels, {name: np.asarray(metadata[name]) for name in metadata}
