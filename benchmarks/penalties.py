"""Measure penalties, paths, classifiers, searches and updates against their peers, in one session.

    uv run --group bench python benchmarks/penalties.py
    uv run --group bench python benchmarks/penalties.py --quick

The machine should be otherwise idle. Prints a table. A fresh process measures each library; those
that fit one neuron at a time stop after the budget, and their time is that of all neurons in
proportion.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

STRENGTH, RATIO, N_STRENGTHS = 1e-3, 0.5, 50
SEARCHED = np.geomspace(1e-4, 1, 8)
N_UPDATES = 100
NAMES = ("Lasso", "ElasticNet", "GroupLasso", "Lasso path", "classifier", "search", "update")
CONES = "uv run --quiet --no-project --python 3.11 --with adelie --with skglm python"
BUDGET_S = float(os.environ.get("SPIKAX_BENCH_BUDGET_S", 60))


def main():
    from run import NEMOS, cpu_model, start  # what it imports, a peer's Python may lack

    parser = argparse.ArgumentParser(description="Benchmark penalties, paths and searches.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the samples")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds a process may take")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    args = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"The load average is {os.getloadavg()[0]:.1f}: timings will not be clean.")
    own = [sys.executable]
    pythons = {
        "spikax": own,
        "spikax float64": own,
        "nemos": shlex.split(os.environ.get("SPIKAX_BENCH_NEMOS_PYTHON", NEMOS)),
        "adelie": shlex.split(CONES),
        "skglm": shlex.split(CONES),
        "sklearn": own,
    }
    print(f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores\n")
    print("| problem | library | first fit, s | second fit, s | times spikax | nats short |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write(name, 0.2 if args.quick else 1.0, folder)
            rows = {}
            for library, python in pythons.items():
                if name not in MEASURED[library.split()[0]]:
                    continue
                file = folder / f"{library}.npz"
                environment = os.environ | {"JAX_ENABLE_X64": str(int("64" in library))}
                command = [*python, __file__, library, name, folder]
                if failure := start(command, environment, args.timeout):
                    print(f"| {name} | {library} | fails: {failure} |", flush=True)
                else:
                    with np.load(file) as found:
                        rows[library] = dict(found)
            show(name, rows, folder)


def write(name, scale, folder):
    """Save the two draws of a problem."""
    from problems import PROBLEMS

    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        if name == "classifier":
            X = rng.normal(size=(int(20_000 * scale), 50))
            truth = np.random.default_rng(9).normal(0, 0.3, size=(50, 3))
            y = np.argmax(X @ truth + rng.gumbel(size=(len(X), 3)), axis=1)
        elif name in ("search", "update"):
            X = rng.normal(size=(500 if name == "update" else 2000, 10))
            truth = np.random.default_rng(9).normal(0, 0.3, size=(10, 8))
            y = rng.poisson(np.exp(X @ truth - 1)).astype(float)
        else:
            kind = "head_direction" if name == "Lasso path" else "coupled_small"
            problem = PROBLEMS[kind](seed=seed, scale=scale)
            X, y = problem.X, problem.y
        np.save(folder / f"X{seed}.npy", X)
        np.save(folder / f"y{seed}.npy", y)


def groups_of(n_features):
    """Label the features of `coupled_small`: six of each history, then place, then direction."""
    return np.repeat(np.arange(n_features), [*[6] * 20, 8, 10, *[0] * (n_features - 22)])


def cost(name, coef):
    """Penalty of each neuron, (n_neurons,)."""
    if name == "GroupLasso":
        index = groups_of(len(coef))
        return STRENGTH * sum(
            np.sqrt(np.sum(index == g)) * np.linalg.norm(coef[index == g], axis=0)
            for g in np.unique(index)
        )
    if name == "update":
        return 0.0
    squared = 0.5 * (1 - RATIO) * coef**2 if name == "ElasticNet" else 0
    ratio = RATIO if name == "ElasticNet" else 1
    return STRENGTH * np.sum(ratio * np.abs(coef) + squared, axis=0)


def objective(name, X, y, coef, intercept):
    """Penalised mean loss of each neuron."""
    if name == "classifier":
        eta = X @ coef + intercept
        log_total = np.log(np.exp(eta - eta.max(axis=1, keepdims=True)).sum(axis=1))
        chosen = eta[np.arange(len(y)), y] - eta.max(axis=1)
        return np.atleast_1d(np.mean(log_total - chosen) + STRENGTH / 2 * np.sum(coef**2))
    eta = X @ coef + intercept
    return np.mean(np.exp(eta) - y[:, : coef.shape[1]] * eta, axis=0) + cost(name, coef)


def show(name, rows, folder):
    X, y = np.load(folder / "X1.npy"), np.load(folder / "y1.npy")
    values = {
        library: objective(name, X, y, row["coef"], row["intercept"])
        for library, row in rows.items()
        if "coef" in row
    }
    for library, row in rows.items():
        times = row["second_s"] / rows["spikax"]["second_s"]
        short = ""
        if library in values:
            n = len(values[library])
            best = np.min([v[:n] for v in values.values() if len(v) >= n], axis=0)
            above = len(X) * (values[library] - best)
            short = f"{above.mean():.2g} a neuron, {above.max():.2g} at most"
        print(
            f"| {name} | {library} | {row['first_s']:.3g} | {row['second_s']:.3g} | "
            f"{times:.2g} | {short} |",
            flush=True,
        )


def measure(library, name, folder):
    """Time a first fit and fits of the second draw; runs in the library's own Python."""
    draws = [(np.load(folder / f"X{i}.npy"), np.load(folder / f"y{i}.npy")) for i in (0, 1)]
    fit = MEASURED[library.split()[0]][name]
    _, first = timed(fit, name, *draws[0])
    seconds = []
    while not seconds or (len(seconds) < 7 and sum(seconds) < BUDGET_S / 4):
        found, second = timed(fit, name, *draws[1])
        seconds.append(second)
    names = ("coef", "intercept", "share")
    found = dict(zip(names, found or (), strict=False))
    share = found.pop("share", 1.0)
    np.savez(
        folder / f"{library}.npz",
        first_s=first / share,
        second_s=np.median(seconds) / share,
        **found,
    )


def timed(function, *arguments):
    start = perf_counter()
    found = function(*arguments)
    return found, perf_counter() - start


def spikax_penalty(name, X, y):
    from spikax.glm import PopulationGLM
    from spikax.regularizer import GroupLasso

    regularizer, strength = name, STRENGTH
    if name == "GroupLasso":
        index = groups_of(X.shape[1])
        regularizer = GroupLasso(index == np.unique(index)[:, None])
    if name == "ElasticNet":
        strength = (STRENGTH, RATIO)
    model = PopulationGLM(regularizer=regularizer, regularizer_strength=strength).fit(X, y)
    return model.coef_, model.intercept_


def spikax_path(name, X, y):
    from spikax.glm import PopulationGLM
    from spikax.model_selection import regularization_path

    strengths = np.geomspace(1e-2, 1e-4, N_STRENGTHS)
    path = regularization_path(PopulationGLM(regularizer="Lasso"), X, y, strengths)
    at = np.argmin(np.abs(strengths - STRENGTH))
    return path.coef[at] * 1.0, path.intercept[at] * 1.0


def spikax_classifier(name, X, y):
    from spikax.glm import ClassifierGLM

    model = ClassifierGLM(3, regularizer="Ridge", regularizer_strength=STRENGTH).fit(X, y)
    return model.coef_, model.intercept_


def spikax_search(name, X, y):
    from spikax.model_selection import PopulationGLMCV

    PopulationGLMCV(strengths=SEARCHED, cv=5).fit(X, y)


def grid_search(kind):
    def search(name, X, y):
        from importlib import import_module

        from sklearn.model_selection import GridSearchCV, KFold

        model = import_module(f"{kind}.glm").PopulationGLM(regularizer="Ridge")
        GridSearchCV(model, {"regularizer_strength": list(SEARCHED)}, cv=KFold(5)).fit(X, y)

    return search


def updates(kind):
    def run(name, X, y):
        from importlib import import_module

        model = import_module(f"{kind}.glm").PopulationGLM(solver_name="GradientDescent")
        params = model.initialize_params(X, y)
        state = model.initialize_optimizer_and_state(params, X, y)
        for _ in range(N_UPDATES):
            params, state = model.update(params, state, X, y)
        return np.asarray(params[0]), np.asarray(params[1]), N_UPDATES

    return run


def nemos_penalty(name, X, y):
    from nemos.glm import PopulationGLM
    from nemos.regularizer import GroupLasso

    regularizer, strength = name, STRENGTH
    if name == "GroupLasso":
        index, n = groups_of(X.shape[1]), y.shape[1]
        groups = (index == np.unique(index)[:, None]).astype(float)
        mask = np.einsum("gp,nm->gnpm", groups, np.eye(n)).reshape(-1, X.shape[1], n)
        regularizer = GroupLasso(mask=mask)
    if name == "ElasticNet":
        strength = (STRENGTH, RATIO)
    model = PopulationGLM(regularizer=regularizer, regularizer_strength=strength).fit(X, y)
    return np.asarray(model.coef_), np.asarray(model.intercept_)


def neuron_by_neuron(fit_neuron):
    def fit(name, X, y):
        X, start, found = np.asfortranarray(X), perf_counter(), []
        for column in y.T:
            found.append(fit_neuron(name, X, np.ascontiguousarray(column)))
            if perf_counter() - start > BUDGET_S:
                break
        coef, intercept = zip(*found, strict=True)
        return np.stack(coef, axis=1), np.array(intercept), len(found) / y.shape[1]

    return fit


def adelie_neuron(name, X, y):
    import adelie

    arguments = {"alpha": RATIO if name == "ElasticNet" else 1.0}
    if name == "GroupLasso":
        arguments["groups"] = np.unique(groups_of(X.shape[1]), return_index=True)[1]
    path = np.geomspace(1e-2, 1e-4, N_STRENGTHS) if name == "Lasso path" else [STRENGTH]
    state = adelie.grpnet(
        X,
        adelie.glm.poisson(y),
        lmda_path=path,
        early_exit=False,
        progress_bar=False,
        **arguments,
    )
    at = np.argmin(np.abs(np.asarray(path) - STRENGTH))
    return np.asarray(state.betas.toarray())[at], state.intercepts[at]


def skglm_neuron(name, X, y):
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Poisson
    from skglm.penalties import L1, L1_plus_L2
    from skglm.solvers import ProxNewton

    penalty = L1_plus_L2(STRENGTH, RATIO) if name == "ElasticNet" else L1(STRENGTH)
    solver = ProxNewton(fit_intercept=True, warm_start=name == "Lasso path", tol=1e-6)
    model = GeneralizedLinearEstimator(Poisson(), penalty, solver)
    if name == "Lasso path":
        for strength in np.geomspace(1e-2, 1e-4, N_STRENGTHS):
            model.penalty = L1(strength)
            model.fit(X, y)
    model.fit(X, y)
    return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])


def sklearn_classifier(name, X, y):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (STRENGTH * len(X)), tol=1e-6, max_iter=1000).fit(X, y)
    return model.coef_.T, model.intercept_


PENALTIES = NAMES[:3]
MEASURED = {
    "spikax": dict.fromkeys(PENALTIES, spikax_penalty)
    | {
        "Lasso path": spikax_path,
        "classifier": spikax_classifier,
        "search": spikax_search,
        "update": updates("spikax"),
    },
    "nemos": dict.fromkeys(PENALTIES, nemos_penalty)
    | {"search": grid_search("nemos"), "update": updates("nemos")},
    "adelie": dict.fromkeys([*PENALTIES, "Lasso path"], neuron_by_neuron(adelie_neuron)),
    "skglm": dict.fromkeys(["Lasso", "ElasticNet", "Lasso path"], neuron_by_neuron(skglm_neuron)),
    "sklearn": {"classifier": sklearn_classifier, "search": grid_search("spikax")},
}

if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in {"spikax float64", *MEASURED}:
        measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main()
