"""Units of a recording: tuning to the head's direction and coupling, in pynapple's objects."""

import os

import jax
import nemos as nmo
import numpy as np
import pynapple as nap

jax.config.update("jax_enable_x64", True)
data = np.load(os.environ["RECORDING"])
wake = nap.IntervalSet(700.0, 760.0)
times = np.split(data["spike_times"], np.cumsum(data["spike_counts"])[:-1])
units = nap.TsGroup({i: nap.Ts(t) for i, t in enumerate(times[:6])}, time_support=wake)
counts = units.count(0.02, ep=wake)
angle = np.interp(counts.t, data["time"], np.unwrap(data["head_direction"])) % (2 * np.pi)
direction = nap.Tsd(counts.t, angle, time_support=wake)

tuning = nmo.basis.CyclicBSplineEval(8, bounds=(0, 2 * np.pi), label="direction")
history = nmo.basis.RaisedCosineLogConv(4, window_size=20, label="coupling")
basis = tuning + history
X = basis.compute_features(direction, counts)
model = nmo.glm.PopulationGLM(
    regularizer="Ridge",
    regularizer_strength=1e-3,
    solver_name="LBFGS",
    solver_kwargs={"tol": 1e-9, "maxiter": 5000},
).fit(X, counts)
parts = basis.split_by_feature(model.coef_, axis=0)
rate = model.predict(X)

results = {
    "features": np.nan_to_num(np.asarray(X))[::50],
    "tuning": parts["direction"],
    "coupling": np.asarray(parts["coupling"]),
    "predictions": np.nan_to_num(np.asarray(rate))[::50],
    "log-likelihood": model.score(X, counts),
}
