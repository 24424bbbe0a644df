"""A custom basis, a custom link, categories, and the functions around them."""

import jax
import jax.numpy as jnp
import nemos as nmo
import numpy as np

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(3)
position, side = rng.uniform(-1, 1, size=1500), rng.choice(["right", "left"], size=1500)


def powers(x, degree):
    return x**degree


def capped(eta):
    return jnp.log1p(jnp.exp(eta)) + 0.01


curves = nmo.basis.CustomBasis([lambda x: powers(x, 1), lambda x: powers(x, 2)], label="position")
sides = nmo.basis.Category(["right", "left"], label="side")
X = np.hstack(
    [np.asarray(curves.compute_features(position)), np.asarray(sides.compute_features(side))]
)
counts = rng.poisson(np.log1p(np.exp(1 + position)) * (1 + (side == "left")))
model = nmo.glm.GLM(
    inverse_link_function=capped,
    regularizer=nmo.regularizer.Ridge(),
    regularizer_strength=0.01,
    solver_name="LBFGS",
    solver_kwargs={"tol": 1e-10, "maxiter": 5000},
).fit(X, counts)
kept, columns = nmo.identifiability_constraints.apply_identifiability_constraints(
    feature_matrix=X, warn_if_float32=False
)
waves = nmo.basis.FourierEval(3, bounds=(-1, 1))
spline = nmo.basis.BSplineEval(5)

results = {
    "features": X[:50],
    "coefficients": model.coef_,
    "predictions": model.predict(X)[:50],
    "kept columns": columns,
    "waves": waves.compute_features(position)[:50],
    "channels": spline.compute_features(np.column_stack([position, 10 * position]))[:50],
    "penalty": model.regularizer.penalized_loss(lambda p: 0.0, model.coef_, 0.5)(model.coef_),
}
