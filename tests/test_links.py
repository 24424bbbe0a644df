"""Inverse links: their logarithms, slopes and inverses, and that none leaves the floats."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import spikax as nmo
from compilations import counted
from spikax import links
from spikax.links import INVERSE_LINKS, resolve

# Each link as the textbooks write it, in SciPy: the mean, its logarithm, and where they hold.
TEXTBOOK = {
    "exp": (np.exp, lambda eta: eta, (-20, 20)),
    "softplus": (
        lambda eta: np.logaddexp(0, eta),
        lambda eta: np.log(np.logaddexp(0, eta)),
        (-15, 20),
    ),
    "logistic": (special.expit, lambda eta: -np.logaddexp(0, -eta), (-30, 30)),
    "norm_cdf": (stats.norm.cdf, stats.norm.logcdf, (-30, 30)),
    "identity": (lambda eta: eta, np.log, (0.01, 20)),
    "one_over_x": (lambda eta: 1 / eta, lambda eta: -np.log(eta), (0.01, 20)),
}

every_link = pytest.mark.parametrize("link", INVERSE_LINKS, ids=lambda link: link.name)
every_part = pytest.mark.parametrize("part", ["mean", "log_mean", "log_complement"])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def domain(link):
    return jnp.linspace(*TEXTBOOK[link.name][2], 301)


@every_link
def test_the_mean_and_its_logarithm_are_those_of_the_textbook(link):
    mean, log_mean, _ = TEXTBOOK[link.name]
    eta = domain(link)
    np.testing.assert_allclose(link.mean(eta), mean(np.asarray(eta)), rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(link.log_mean(eta), log_mean(np.asarray(eta)), 1e-8, 1e-16)


@every_link
def test_the_log_complement_is_that_of_one_minus_the_mean(link):
    eta = domain(link)
    eta = eta[TEXTBOOK[link.name][0](np.asarray(eta)) < 0.99]
    mean = TEXTBOOK[link.name][0](np.asarray(eta))
    np.testing.assert_allclose(link.log_complement(eta), np.log1p(-mean), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "log_survival"),
    [("logistic", lambda eta: -np.logaddexp(0, eta)), ("norm_cdf", stats.norm.logsf)],
)
def test_the_log_complement_keeps_its_digits_where_the_mean_rounds_to_one(name, log_survival):
    eta = np.linspace(5, 30, 50)
    np.testing.assert_allclose(resolve(name).log_complement(eta), log_survival(eta), rtol=1e-10)


@every_link
def test_the_predictor_inverts_the_mean(link):
    eta = jnp.linspace(0.1, 4, 50)
    np.testing.assert_allclose(link.predictor(link.mean(eta)), eta, rtol=1e-6)


@every_link
def test_a_mean_that_the_link_cannot_reach_has_a_predictor_too(link):
    mean = jnp.asarray([-1e3, -1.0, 0.0, 1.0, 3.0, 1e3])
    assert np.all(np.isfinite(link.predictor(mean)))


@every_link
@every_part
def test_slopes_are_the_limits_of_differences(link, part):
    function, h = getattr(link, part), 1e-6
    eta = jnp.linspace(0.1, 0.45, 50)  # means stay away from one, where logarithms end
    difference = (function(eta + h) - function(eta - h)) / (2 * h)
    np.testing.assert_allclose(jax.vmap(jax.grad(function))(eta), difference, rtol=1e-6, atol=1e-7)


@every_link
@every_part
def test_float32_stays_finite_however_far_a_fit_wanders(link, part):
    far = np.concatenate([-np.logspace(4, -8, 200), [0], np.logspace(-8, 4, 200)])
    eta = jnp.asarray(far, jnp.float32)
    value, slope = jax.vmap(jax.value_and_grad(getattr(link, part)))(eta)
    assert value.dtype == slope.dtype == jnp.float32
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(slope))


@every_link
def test_means_are_monotone_in_float32(link):
    eta = jnp.linspace(-1e4, 1e4, 4001, dtype=jnp.float32)
    steps = np.diff(link.mean(eta))
    assert np.all(steps >= 0) or np.all(steps <= 0)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        (jnp.exp, "exp"),
        (jax.nn.softplus, "softplus"),
        (jax.nn.sigmoid, "logistic"),
        (jax.lax.logistic, "logistic"),
        ("expit", "logistic"),
        (jax.scipy.stats.norm.cdf, "norm_cdf"),
        ("norm.cdf", "norm_cdf"),
        (resolve("one_over_x"), "one_over_x"),
    ],
)
def test_a_link_is_found_by_all_its_names(alias, name):
    assert resolve(alias).name == name


def exponential_of_the_users(eta):
    return jnp.exp(eta)


def test_a_callable_of_the_users_fits_like_the_link_it_is(rng):
    X = rng.normal(size=(150, 4))
    y = rng.poisson(np.exp(X @ [0.5, -0.4, 0.2, 0.0]))
    own, known = (
        nmo.glm.GLM(inverse_link_function=link, solver_kwargs={"tol": 1e-12}).fit(X, y)
        for link in (exponential_of_the_users, "exp")
    )
    np.testing.assert_allclose(own.coef_, known.coef_, rtol=1e-6)
    np.testing.assert_allclose(own.predict(X), known.predict(X), rtol=1e-6)
    np.testing.assert_allclose(own.score(X, y), known.score(X, y), rtol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.exp, ValueError, "'exp' cannot be differentiated .*Write it with jax.numpy"),
        (
            special.expit,
            ValueError,
            "'expit' cannot be differentiated .*Write it with jax.numpy",
        ),
        (jnp.sum, ValueError, r"element by element.*\(3,\).*\(\)"),
        ("softpluss", ValueError, "inverse_link_function: 'softpluss'. Did you mean 'softplus'"),
        (3, TypeError, "must be a name or a JAX callable, got 3 of type int"),
    ],
    ids=["numpy", "scipy", "not-elementwise", "unknown", "not-callable"],
)
def test_what_is_no_link_is_refused_before_the_fit(wrong, error, message, rng):
    with pytest.raises(error, match=message):
        nmo.glm.GLM(inverse_link_function=wrong).fit(rng.normal(size=(9, 1)), np.ones(9))


def test_links_are_equal_if_they_hold_the_same_functions():
    known = links.resolve("exp")
    alike = replace(known, name="mine", aliases=())
    assert alike == known
    assert hash(alike) == hash(known)
    for part in ("mean", "log_mean", "log_complement", "predictor"):
        assert replace(known, **{part: jnp.sin}) != known


def test_a_link_with_another_logarithm_is_another_program(rng):
    X, y = rng.normal(size=(150, 4)), rng.poisson(1.0, size=150)
    known = links.resolve("exp")
    # A wrong logarithm leads elsewhere, and no program made for the right one may serve it.
    wrong = replace(known, log_mean=lambda eta: 0.5 * eta)
    right = nmo.glm.GLM(inverse_link_function=known).fit(X, y)
    other = nmo.glm.GLM(inverse_link_function=wrong).fit(X, y)
    assert abs(right.intercept_ - other.intercept_) > 0.1


@dataclass
class Softplus:
    """A callable of a user's that is equal to any other, and cannot be hashed."""

    sharpness: float = 1.0

    def __call__(self, eta):
        return jax.nn.softplus(self.sharpness * eta) / self.sharpness

    def __eq__(self, other):
        return True


def test_callables_are_told_apart_by_what_they_are(rng):
    X, y = rng.normal(size=(150, 4)), rng.poisson(1.0, size=150)
    soft, sharp = Softplus(), Softplus(5.0)
    assert links.resolve(soft) != links.resolve(sharp)
    assert links.resolve(soft) == links.resolve(soft)
    coefs = [nmo.glm.GLM(inverse_link_function=f).fit(X, y).intercept_ for f in (soft, sharp)]
    assert abs(coefs[0] - coefs[1]) > 0.01
    links._from_callable.cache_clear()
    with counted() as compiled:
        nmo.glm.GLM(inverse_link_function=soft).fit(X, y)
    assert "fit_population" not in str(compiled)


@pytest.mark.parametrize(("link", "linear"), [(lambda x: 2 * x + 1, True), (jnp.exp, False)])
def test_a_linear_mean_is_known_as_such(link, linear):
    assert links.resolve(link).linear == linear
    assert links.resolve("identity").linear


@pytest.mark.parametrize("link", [jnp.ones_like, lambda x: jnp.round(jnp.exp(x)), jnp.sign])
def test_a_link_without_a_gradient_is_refused(link):
    with pytest.raises(ValueError, match="has no gradient: its derivative is zero"):
        links.resolve(link)
