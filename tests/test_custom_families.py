"""Families of the user's, through the protocol: those that are known here fit as ours do."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln

from compilations import counted
from confusable import jax_confuses_dataclasses
from spikax import diagnostics
from spikax.glm import GLM, PopulationGLM
from spikax.observation_models import (
    Dispersion,
    NegativeBinomialObservations,
    Observations,
)


@dataclass(frozen=True)
class Counts(Observations):
    """Poisson counts, written by a user who has not heard of JAX's registry."""

    support: ClassVar[str] = "counts"

    def allows(self, y):
        return y >= 0

    def log_prob(self, eta, y, link, dispersion):
        return y * link.log_mean(eta) - link.mean(eta) - gammaln(y + 1)

    def variance(self, mean, dispersion):
        return mean

    def sample(self, key, mean, dispersion):
        return jax.random.poisson(key, mean)


@dataclass(frozen=True)
class Waits(Counts):
    """Exponential waiting times: a Gamma whose scale is one."""

    support: ClassVar[str] = "positive times"

    def allows(self, y):
        return y > 0

    def log_prob(self, eta, y, link, dispersion):
        return -y * jnp.exp(-link.log_mean(eta)) - link.log_mean(eta)

    def variance(self, mean, dispersion):
        return mean**2

    def sample(self, key, mean, dispersion):
        return mean * jax.random.exponential(key, mean.shape)


@dataclass(frozen=True)
class Clumps(Counts):
    """Negative binomial counts of a size that is data."""

    size: Any = 1.0

    def log_prob(self, eta, y, link, dispersion):
        r, mean = self.size, link.mean(eta)
        constant = gammaln(y + r) - gammaln(y + 1) - gammaln(r) + r * jnp.log(r)
        return constant + y * link.log_mean(eta) - (y + r) * jnp.log(r + mean)

    def variance(self, mean, dispersion):
        return mean + mean**2 / self.size


@dataclass(frozen=True)
class Steady(Observations):
    """Gamma intervals, by their density alone, with a dispersion from the residuals."""

    dispersion: ClassVar[Dispersion] = Dispersion.MOMENTS

    def allows(self, y):
        return y > 0

    def log_prob(self, eta, y, link, dispersion):
        y, shape = jnp.where(y > 0, y, 1), 1 / jnp.asarray(dispersion)
        rate = shape * jnp.exp(-link.log_mean(eta))
        return shape * jnp.log(rate) + (shape - 1) * jnp.log(y) - rate * y - gammaln(shape)

    def variance(self, mean, dispersion):
        return dispersion * mean**2

    def sample(self, key, mean, dispersion):
        return mean * jax.random.gamma(key, jnp.broadcast_to(1 / dispersion, mean.shape))


PEERS = {
    "counts": (Counts(), "Poisson"),
    "waits": (Waits(), "Gamma"),
    "clumps": (Clumps(2.0), NegativeBinomialObservations(0.5)),
    "steady": (Steady(), "Gamma"),
}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(150, 4))
    return X, rng.poisson(np.exp(0.4 * X[:, :3]), size=(150, 3)).astype(float)


@pytest.mark.parametrize("name", PEERS)
def test_a_family_of_the_users_fits_as_ours(name, data, key):
    own, known = PEERS[name]
    X, y = data
    y = y + 0.5 * (name in ("waits", "steady"))
    with jax.enable_x64(True):
        model, peer = (
            PopulationGLM(family, "exp", solver_kwargs={"tol": 1e-12}).fit(X, y)
            for family in (own, known)
        )
        np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-6)
        np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-6)
        cohen, peer_cohen = (
            m.score(X, y, "pseudo-r2-Cohen", lambda s: s.mean(0)) for m in (model, peer)
        )
        np.testing.assert_allclose(cohen, peer_cohen, rtol=1e-6)
        if name != "waits":  # ours has a scale there
            assert model.score(X, y) == pytest.approx(peer.score(X, y), rel=1e-6)
        sample, rate = model.simulate(key, X)
    assert np.all(own.allows(sample))
    assert rate.shape == y.shape


def test_what_a_family_has_as_a_leaf_is_data(data):
    X, y = data
    model = PopulationGLM(Clumps(2.0)).fit(X, y)
    model.score(X, y)
    with counted() as compiled:
        for size in (0.3, 5.0):
            again = PopulationGLM(replace(Clumps(), size=size)).fit(X, y)
            again.score(X, y)
    assert compiled == []
    assert np.abs(again.coef_ - model.coef_).max() > 1e-4


def test_what_a_family_does_not_allow_is_refused(data):
    X, _ = data
    with pytest.raises(ValueError, match=r"y holds 0 in .* but Waits .* must be positive times"):
        GLM(Waits()).fit(X, np.zeros(len(X)))


def test_what_a_family_lacks_is_named(data, key):
    @dataclass(frozen=True)
    class Unfinished(Observations):
        pass

    @dataclass(frozen=True)
    class Stranger:
        def log_prob(self, eta, y, link, dispersion):
            return eta

    @dataclass(frozen=True)
    class Bare(Observations):
        def log_prob(self, eta, y, link, dispersion):
            return y * link.log_mean(eta) - link.mean(eta)

    with pytest.raises(TypeError, match=r"Unfinished lacks log_prob\(eta, y, link, dispersion\)"):
        PopulationGLM(Unfinished()).fit(*data)
    with pytest.raises(TypeError, match=r"Let its class inherit from .*Observations"):
        PopulationGLM(Stranger()).fit(*data)
    model = PopulationGLM(Bare()).fit(*data)
    with pytest.raises(NotImplementedError, match=r"Bare does not define sample\("):
        model.simulate(key, data[0])
    with pytest.raises(NotImplementedError, match=r"Bare does not define variance\("):
        diagnostics.residuals(data[1], model.predict(data[0]), "pearson", observation_model=Bare())


@pytest.mark.parametrize("member", ["log_prob", "variance", "allows"])
def test_what_returns_another_shape_is_named(member, data):
    def summed(self, *args):
        return jnp.sum(args[0])[None]

    @dataclass(frozen=True)
    class Summed(Counts):
        pass

    setattr(Summed, member, summed)
    with pytest.raises(ValueError, match=f"Summed.{member} must"):
        PopulationGLM(Summed()).fit(*data)


@jax_confuses_dataclasses
def test_a_family_that_jax_would_confuse_with_another_is_refused(data):
    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Confusable(Clumps):
        pass

    with pytest.raises(TypeError, match=r"Confusable is registered .*Leave that decorator out"):
        PopulationGLM(Confusable()).fit(*data)
