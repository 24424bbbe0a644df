"""A classifier of three classes: labels, probabilities, scores."""

import jax
import nemos as nmo
import numpy as np

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(1)
X = rng.normal(size=(1000, 4))
weights = rng.normal(size=(4, 3))
labels = np.argmax(X @ weights + rng.gumbel(size=(1000, 3)), axis=1)
names = np.array(["left", "none", "right"])[labels]

model = nmo.glm.ClassifierGLM(
    n_classes=3,
    regularizer="Ridge",
    regularizer_strength=0.01,
    solver_name="LBFGS",
    solver_kwargs={"tol": 1e-10, "maxiter": 5000},
).fit(X, names)

results = {
    "coefficients": model.coef_,
    "intercepts": model.intercept_ - np.mean(model.intercept_),
    "log-probabilities": model.predict_proba(X)[:50],
    "probabilities": model.predict_proba(X, return_type="proba")[:50],
    "predicted labels": (np.asarray(model.predict(X)) == names).mean(),
    "log-likelihood": model.score(X, names),
}
