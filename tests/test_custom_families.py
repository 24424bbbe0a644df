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
from spikax.glm import GLM, PopulationGLM
from spikax.observation_models import (
    Family,
    NegativeBinomialObservations,
    ObservationModel,
)


@dataclass(frozen=True)
class Counts:
    """Poisson counts, written by a user who has not heard of JAX's registry."""

    default_link: ClassVar[str] = "exp"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    support: ClassVar[str] = "counts"
    has_scale: ClassVar[bool] = False
    scale = None
    estimate = False
    n_outputs: ClassVar[int] = 1

    def allows(self, y):
        return y >= 0

    def loss(self, eta, y, link):
        return link.mean(eta) - y * link.log_mean(eta)

    def saturated(self, y):
        return y - y * jnp.log(jnp.where(y > 0, y, 1))

    def log_normalizer(self, y, scale):
        return gammaln(y + 1)

    def precision(self, scale):
        return 1.0

    def variance(self, mean):
        return mean

    def sample(self, key, mean, scale):
        return jax.random.poisson(key, mean)


@dataclass(frozen=True)
class Waits(Counts):
    """Exponential waiting times: a Gamma whose scale is one."""

    support: ClassVar[str] = "positive times"

    def allows(self, y):
        return y > 0

    def loss(self, eta, y, link):
        return y * jnp.exp(-link.log_mean(eta)) + link.log_mean(eta)

    def saturated(self, y):
        return 1 + jnp.log(jnp.where(y > 0, y, 1))

    def log_normalizer(self, y, scale):
        return jnp.zeros_like(y)

    def variance(self, mean):
        return mean**2

    def sample(self, key, mean, scale):
        return mean * jax.random.exponential(key, mean.shape)


@dataclass(frozen=True)
class Clumps(Counts):
    """Negative binomial counts of a size that is data."""

    size: Any = 1.0

    def loss(self, eta, y, link):
        mean = link.mean(eta)
        return (y + self.size) * jnp.log(self.size + mean) - y * link.log_mean(eta)

    def saturated(self, y):
        return (y + self.size) * jnp.log(self.size + y) - y * jnp.log(jnp.where(y > 0, y, 1))

    def log_normalizer(self, y, scale):
        r = self.size
        return gammaln(y + 1) + gammaln(r) - gammaln(y + r) - r * jnp.log(r)

    def variance(self, mean):
        return mean + mean**2 / self.size


PEERS = {
    "counts": (Counts(), "Poisson"),
    "waits": (Waits(), "Gamma"),
    "clumps": (Clumps(2.0), NegativeBinomialObservations(0.5)),
}


@pytest.fixture
def data(rng):
    X = rng.normal(size=(150, 4))
    return X, rng.poisson(np.exp(0.4 * X[:, :3]), size=(150, 3)).astype(float)


@pytest.mark.parametrize("name", PEERS)
def test_a_family_of_the_users_fits_as_ours(name, data, key):
    own, known = PEERS[name]
    assert isinstance(own, Family)
    X, y = data
    y = y + 0.5 * (name == "waits")
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


def test_what_a_family_lacks_is_named(data):
    @dataclass(frozen=True)
    class Unfinished:
        default_link: ClassVar[str] = "exp"

    with pytest.raises(TypeError, match=r"needs .*mean_bounds.*variance.* besides"):
        PopulationGLM(Unfinished()).fit(*data)


@jax_confuses_dataclasses
def test_a_family_that_jax_would_confuse_with_another_is_refused(data):
    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Confusable(Clumps):
        pass

    for own in (Confusable(), ObservationModel(Confusable())):
        with pytest.raises(
            TypeError, match=r"Confusable is registered .*Leave that decorator out"
        ):
            PopulationGLM(own).fit(*data)
