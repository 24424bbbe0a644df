"""The guide: a population, a mask for each neuron, and the same as a tree of features."""

import jax
import jax.numpy as jnp
import nemos as nmo
import numpy as np

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(123)
X = 0.5 * rng.normal(size=(500, 5))
w_true = rng.uniform(size=(5, 2))
spikes = rng.poisson(jnp.exp(X @ w_true))

tight = {"tol": 1e-10, "maxiter": 5000}
model = nmo.glm.PopulationGLM(solver_name="LBFGS", solver_kwargs=tight).fit(X, spikes)

masked = nmo.glm.PopulationGLM(solver_name="LBFGS", solver_kwargs=tight)
masked.feature_mask = np.array([[1, 1], [1, 0], [0, 1]])
masked.fit(X[:, :3], spikes)

tree = {"shared": X[:, :1], "first": X[:, 1:2], "second": X[:, 2:3]}
mask = {"shared": np.array([1, 1]), "first": np.array([1, 0]), "second": np.array([0, 1])}
of_tree = nmo.glm.PopulationGLM(solver_name="LBFGS", solver_kwargs=tight, feature_mask=mask)
of_tree.fit(tree, spikes)

by_hand = nmo.glm.PopulationGLM()
by_hand.coef_, by_hand.intercept_ = jnp.array(w_true), jnp.zeros(2)

results = {
    "coefficients": model.coef_,
    "intercepts": model.intercept_,
    "log-likelihood": model.score(X, spikes),
    "pseudo-R2": model.score(X, spikes, score_type="pseudo-r2-McFadden"),
    "masked coefficients": masked.coef_,
    "coefficients of a tree": of_tree.coef_["shared"],
    "predictions by hand": by_hand.predict(X),
}
