"""The likelihood of a fit: an observation model, its inverse link, and its dispersion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from spikax._pytrees import register
from spikax.observation_models._observations import Dispersion, Links, Observations

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@register
@dataclass(frozen=True)
class Likelihood:
    """The likelihood of observations as a function of linear predictors.

    Parameters
    ----------
    family
        The observation model; in a fit its leaves have shape (n_neurons, 1).
    link
        The inverse link; of several predictors with features of their own a tuple of them.
    dispersion
        The dispersion where it is known, or was found, (n_neurons, 1); None otherwise.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax import links, observation_models
    >>> poisson = observation_models.PoissonObservations()
    >>> likelihood = observation_models.Likelihood.of(poisson, links.resolve("exp"))
    >>> print(likelihood.log_prob(jnp.zeros(2), jnp.array([0.0, 1.0])).round(3))
    [-1. -1.]
    """

    family: Observations
    link: Links = field(metadata={"static": True})
    dispersion: Any = None

    @classmethod
    def of(cls, family: Observations, link: Links, scale: Any = None) -> Likelihood:
        """Make the likelihood of a model, at a scale if the loss depends on one.

        Parameters
        ----------
        family, link
            Observation model and inverse link.
        scale
            Dispersion to take where the loss depends on one, which broadcasts to observations;
            None (default) takes the one that is known, and one where it is to be estimated.

        Returns
        -------
        Likelihood
            The likelihood.
        """
        kind = family.dispersion
        if kind not in (Dispersion.KNOWN, Dispersion.ESTIMATED):
            return cls(family, link)
        if scale is None:
            scale = family.scale if kind is Dispersion.KNOWN else 1.0
        return cls(family, link, scale)

    @property
    def n_predictors(self) -> int:
        """Number of linear predictors of a neuron."""
        return self.family.n_predictors

    @property
    def link_name(self) -> str:
        """What the inverse links are called."""
        every = self.link if isinstance(self.link, tuple) else (self.link,)
        return " and ".join(link.name for link in every)

    @property
    def by_moments(self) -> bool:
        """Whether the dispersion divides the loss, and is estimated from the residuals."""
        return self.family.dispersion is Dispersion.MOMENTS

    @property
    def estimated(self) -> bool:
        """Whether the dispersion is estimated with the coefficients."""
        return self.family.dispersion is Dispersion.ESTIMATED

    @property
    def _phi(self) -> Any:
        return 1.0 if self.dispersion is None else self.dispersion

    def at(self, dispersion: Any) -> Likelihood:
        """Take a dispersion, which broadcasts to observations.

        Parameters
        ----------
        dispersion
            The dispersion, which broadcasts to observations.

        Returns
        -------
        Likelihood
            The same at this dispersion.
        """
        return replace(self, dispersion=dispersion)

    def loss(self, eta: jax.Array, y: jax.Array) -> Float[Array, "*sample"]:
        """Compute what a fit sums; see `Observations.loss`.

        Parameters
        ----------
        eta, y
            Linear predictors, several of them on a first axis, and observations.

        Returns
        -------
        array
            Losses, shaped like `y`.
        """
        return self.family.loss(eta, y, self.link, self._phi)

    def log_prob(self, eta: jax.Array, y: jax.Array) -> Float[Array, "*sample"]:
        """Compute the log-likelihood of each observation.

        Parameters
        ----------
        eta, y
            Linear predictors, several of them on a first axis, and observations.

        Returns
        -------
        array
            Log-likelihoods in nats, shaped like `y`.
        """
        return self.family.log_prob(eta, y, self.link, self._phi)

    def half_deviance(self, eta: jax.Array, y: jax.Array) -> Float[Array, "*sample"]:
        """Compute by what the saturated model is likelier, at this dispersion, in nats.

        Parameters
        ----------
        eta, y
            Linear predictors, several of them on a first axis, and observations.

        Returns
        -------
        array
            Half the deviance of each observation, shaped like `y`.
        """
        return self.precision() * (self.loss(eta, y) - self.saturated(y))

    def saturated(self, y: jax.Array) -> Float[Array, "*sample"]:
        """Compute the loss of the model that predicts each observation as well as can be.

        Parameters
        ----------
        y
            Observations.

        Returns
        -------
        array
            Losses, shaped like `y`.
        """
        return self.family.saturated(y, self._phi)

    def log_normalizer(self, y: jax.Array) -> Float[Array, "*sample"]:
        """Compute the part of the negative log-likelihood without predictors.

        Parameters
        ----------
        y
            Observations.

        Returns
        -------
        array
            Shaped like `y`.
        """
        return self.family.log_normalizer(y, self._phi)

    def precision(self, dispersion: Any = None) -> Any:
        """Compute the nats per unit of the loss, at this dispersion or another.

        Parameters
        ----------
        dispersion
            Another dispersion, of any shape; None (default) for its own.

        Returns
        -------
        array or float
            Shaped like the dispersion, or one for all.
        """
        return self.family.precision(self._phi if dispersion is None else dispersion)

    def parameters(self, eta: jax.Array) -> Float[Array, "*predictor *sample"]:
        """Compute what the predictors stand for, such as the mean.

        Parameters
        ----------
        eta
            Linear predictors, several of them on a first axis.

        Returns
        -------
        array
            Means, or parameters, shaped like `eta`.
        """
        return self.family.parameters(eta, self.link)

    def mean(self, eta: jax.Array) -> Float[Array, "*sample"]:
        """Compute the mean of observations.

        Parameters
        ----------
        eta
            Linear predictors, several of them on a first axis.

        Returns
        -------
        array
            Means, without the axis of predictors.
        """
        return self.family.mean(self.parameters(eta))

    def squared_residual(self, y: jax.Array, mean: jax.Array) -> Float[Array, "*sample"]:
        """Compute `(y - mean)^2 / V(mean)`, a term of Pearson's statistic.

        Parameters
        ----------
        y, mean
            Observations and their means, of one shape.

        Returns
        -------
        array
            Squared residuals over their variances, at unit dispersion where that is unknown.
        """
        return (y - mean) ** 2 / self.family.variance(mean, self._phi)

    def by_row(self) -> Likelihood:
        """Give leaves with one value for each neuron shape (1, n_neurons).

        Returns
        -------
        Likelihood
            One for arrays (n_samples, n_neurons).
        """
        return jax.tree.map(lambda leaf: leaf[None] if np.ndim(leaf) == 1 else leaf, self)

    def neurons(self, index: jax.Array) -> Likelihood:
        """Restrict the likelihood to some neurons.

        Parameters
        ----------
        index
            Indices of the neurons, (n_chosen,).

        Returns
        -------
        Likelihood
            That of these neurons.
        """
        return jax.tree.map(lambda leaf: leaf[index], self)

    def for_neurons(self, n_neurons: int, dtype: Any) -> Likelihood:
        """Give each of so many neurons a value of every leaf, (n_neurons, 1).

        Parameters
        ----------
        n_neurons
            Number of neurons.
        dtype
            Type of the numbers.

        Returns
        -------
        Likelihood
            Its leaves broadcast, as `Objective` holds it.
        """

        def each(leaf):
            return np.broadcast_to(np.asarray(leaf, dtype), n_neurons)[:, None]

        return jax.tree.map(each, self)
