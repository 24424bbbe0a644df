"""Models that are fitted, saved, looked at and loaded."""

import tempfile
from pathlib import Path

import jax
import nemos as nmo
import numpy as np

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(2)
X = rng.normal(size=(800, 3))
rate = np.exp(0.3 * X[:, 0])
gamma = rng.gamma(2.0, rate / 2)
counts = rng.negative_binomial(2, 2 / (2 + rate))
tight = {"tol": 1e-10, "maxiter": 5000}

dispersed = nmo.observation_models.NegativeBinomialObservations(scale=0.5)
models = {
    "gamma": nmo.glm.GLM(
        "Gamma", inverse_link_function="exp", solver_name="LBFGS", solver_kwargs=tight
    ).fit(X, gamma),
    "dispersed": nmo.glm.GLM(
        dispersed,
        regularizer="Ridge",
        regularizer_strength=0.1,
        solver_name="LBFGS",
        solver_kwargs=tight,
    ).fit(X, counts),
    "lasso": nmo.glm.GLM(
        regularizer="Lasso",
        regularizer_strength=0.02,
        solver_name="ProximalGradient",
        solver_kwargs={"tol": 1e-10, "maxiter": 20000},
    ).fit(X, counts),
}
results = {}
with tempfile.TemporaryDirectory() as folder:
    for name, model in models.items():
        model.save_params(Path(folder) / f"{name}.npz")
        loaded = nmo.load_model(Path(folder) / f"{name}.npz")
        results[f"coefficients, {name}"] = loaded.coef_
        results[f"predictions, {name}"] = loaded.predict(X)[:50]
results["scale, gamma"] = np.squeeze(models["gamma"].scale_)
results["degrees of freedom, gamma"] = np.squeeze(models["gamma"].dof_resid_)
