"""A pipeline of bases and a GLM, and a grid search over both."""

import jax
import nemos as nmo
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
inputs = rng.uniform(size=(2000, 2))
rate = np.exp(np.sin(2 * np.pi * inputs[:, 0]) + inputs[:, 1] - 1)
counts = rng.poisson(rate)

basis = nmo.basis.BSplineEval(5, bounds=(0, 1), label="position") + (
    nmo.basis.RaisedCosineLinearEval(4, bounds=(0, 1), label="speed")
)
model = nmo.glm.GLM(
    regularizer="Ridge",
    regularizer_strength=0.01,
    solver_name="LBFGS",
    solver_kwargs={"tol": 1e-10, "maxiter": 5000},
)
pipeline = Pipeline([("basis", basis.to_transformer()), ("glm", model)])
grid = {
    "basis__position__n_basis_funcs": [4, 7],
    "basis__speed__n_basis_funcs": [3, 5],
    "glm__regularizer_strength": [1e-3, 1e-1],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(inputs, counts)

results = {
    "scores of the grid": search.cv_results_["mean_test_score"],
    "number of functions": search.best_estimator_["basis"].n_basis_funcs,
    "coefficients": search.best_estimator_["glm"].coef_,
    "predictions": search.predict(inputs)[:50],
}
