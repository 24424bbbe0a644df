"""Measure fits of hidden states: simulated choices, a rat's, and a population's.

    uv run --group bench python benchmarks/states.py

NeMoS runs in an environment of its own (see README.md), dynamax in the interpreter that
SPIKAX_BENCH_DYNAMAX_PYTHON names, if it does. All find the maximum of their own objective; the
log-likelihood of what they find is computed here for all. Processor seconds of the whole process,
and seconds that passed.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import jax
import numpy as np
from run import NEMOS

import spikax as nmo
from spikax.hmm._chain import make_chain
from spikax.hmm._messages import Dynamics, filtered, log_evidence, smoothed
from spikax.hmm._semirings import SCALED

COMPILED = []


def listen(event, duration, **details):
    """Collect what JAX compiles."""
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(details.get("fun_name", "unnamed"))


jax.monitoring.register_event_duration_secs_listener(listen)

WEIGHTS = np.array([[3.0, 0.5, -0.5], [0.2, 1.0, -1.5], [0.0, 1.5, 0.5]])
INTERCEPT = np.array([0.0, 1.2, -1.2])


def choices(seed=0):
    """Simulate 90 sessions of 600 choices, with three inputs and a bias, in three states."""
    rng = np.random.default_rng(seed)
    X, starts = rng.normal(size=(54_000, 3)), np.arange(0, 54_000, 600)
    truth = nmo.glm_hmm.GLMHMM(3)
    truth.coef_, truth.intercept_ = WEIGHTS, INTERCEPT
    truth.initial_prob_ = np.full(3, 1 / 3)
    truth.transition_prob_ = np.array([[0.98, 0.01, 0.01], [0.02, 0.95, 0.03], [0.02, 0.03, 0.95]])
    y, _, states = truth.simulate(jax.random.key(seed), X, session_starts=starts)
    return X, y, starts, states


def rat():
    """Take the packaged rat's choices, with what was one trial before."""
    stored = nmo.datasets.load_rat_choice()
    before = [
        stored.inputs[f"previous_{w}"][:, 0] for w in ("choice", "reward", "answer", "sound")
    ]
    X = np.column_stack([stored.inputs["sounds"], *before])
    starts = np.flatnonzero(np.diff(stored.session, prepend=-1))
    return X, stored.choice, starts, None


def population(seed=0):
    """Simulate 30 neurons with six inputs that share one of four states."""
    rng = np.random.default_rng(seed)
    X, starts = rng.normal(size=(50_000, 6)), np.arange(0, 50_000, 1000)
    truth = nmo.glm_hmm.PopulationGLMHMM(4, "Poisson")
    truth.coef_ = 0.25 * rng.normal(size=(6, 30, 4))
    truth.intercept_ = -1 + 0.5 * rng.normal(size=(30, 4))
    truth.scale_ = np.ones((30, 4))
    truth.initial_prob_ = np.full(4, 0.25)
    truth.transition_prob_ = np.full((4, 4), 0.01) + 0.96 * np.eye(4)
    y, _, states = truth.simulate(jax.random.key(seed), X, session_starts=starts)
    return X, y, starts, states


def fit(model, X, y, starts, init=None):
    """Fit, and tell seconds of the processor and of the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, init, starts)
    return time.process_time() - cpu, time.perf_counter() - clock


def report(name, model, data, other):
    """Fit once to compile, then again to other data with all starts."""
    X, y, starts, states = data
    first = fit(type(model)(**{**model.get_params(), "n_restarts": 1}), X, y, starts)
    before = len(COMPILED)
    fit(type(model)(**{**model.get_params(), "n_restarts": 1}), *other[:3])
    again = len(COMPILED) - before
    cpu, wall = fit(model, X, y, starts)
    found = model.restarts_
    print(f"\n{name}: {len(X):,} samples, {model.n_restarts} starts")
    print(
        f"  first fit, one start, compiling: {first[0]:.1f} s of the processor, {first[1]:.1f} s"
    )
    print(
        f"  all starts: {cpu:.1f} s of the processor, {wall:.1f} s; compilations of another fit "
        f"{again}"
    )
    print(
        f"  evaluations: median {np.median(found.n_evaluations):.0f}, most "
        f"{found.n_evaluations.max()}; converged {np.mean(found.status == 0):.0%}; within 0.1 "
        f"nats of the best {found.n_best}"
    )
    print(
        f"  log posterior {model.log_posterior_:.2f}, log-likelihood {model.log_likelihood_:.2f}"
    )
    if states is not None:
        path = model.decode_state(X, y, starts, state_format="index")
        order = nmo.hmm.match_states(np.eye(model.n_states)[path], np.eye(model.n_states)[states])
        print(f"  states right: {np.mean(order[states] == path):.1%}")


def e_step():
    """Time the messages of 54,000 samples in three states."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        chain = make_chain(np.arange(54_000) % 600 == 0)
        values = jax.numpy.asarray(3 * rng.normal(size=(3, 54_000)))
        dynamics = Dynamics(
            *(jax.numpy.log(a) for a in (np.full(3, 1 / 3), 0.9 * np.eye(3) + 0.1 / 3))
        )

        @jax.jit
        def run(values):
            likelihood = chain.chunked(values)
            forward = filtered(SCALED, chain, likelihood, dynamics)
            found = smoothed(chain, SCALED, likelihood, dynamics, forward)
            return log_evidence(chain, forward), found

        jax.block_until_ready(run(values))
        times = []
        for _ in range(30):
            start = time.perf_counter()
            jax.block_until_ready(run(values))
            times.append(time.perf_counter() - start)
    print(f"E-step, 54,000 samples, 3 states: {1e3 * min(times):.1f} ms (least of 30)")


PEERS = {
    "nemos": """
import numpy as np, sys, json, time, warnings
warnings.simplefilter("ignore")
import jax
jax.config.update("jax_enable_x64", True)
import nemos as nmo
X, y, starts, n = (np.load(sys.argv[1])[k] for k in ("X", "y", "starts", "n"))
flags = np.isin(np.arange(len(y)), starts)
out = []
for seed in range(int(n)):
    key = jax.random.PRNGKey(seed)
    model = nmo.glm_hmm.GLMHMM(3, regularizer_strength=0.1, seed=key, tol=1e-8)
    cpu, clock = time.process_time(), time.perf_counter()
    # Its default start, in float64: its own is float32 in parts, which its solver refuses.
    coef = 0.001 * np.random.default_rng(seed).normal(size=(X.shape[1], 3))
    odds = np.full(3, np.log(y.mean() / (1 - y.mean())))
    rows = np.full((3, 3), 0.025) + 0.925 * np.eye(3)
    start = tuple(jax.numpy.asarray(a) for a in (coef, odds, np.ones(3), np.full(3, 1 / 3), rows))
    model.fit(X, y, init_params=start, session_starts=flags)
    seconds = time.process_time() - cpu, time.perf_counter() - clock
    out.append((*seconds, float(model.solver_state_.iterations)))
    names = "coef_", "intercept_", "initial_prob_", "transition_prob_"
    out[-1] = (*out[-1], {k: np.asarray(getattr(model, k)).tolist() for k in names})
json.dump(out, open(sys.argv[2], "w"))
""",
    "dynamax": """
import numpy as np, sys, json, time, warnings
warnings.simplefilter("ignore")
import jax, jax.numpy as jnp
from dynamax.hidden_markov_model import LogisticRegressionHMM
X, y, starts, n = (np.load(sys.argv[1])[k] for k in ("X", "y", "starts", "n"))
lengths = np.diff(np.append(starts, len(y)))
assert (lengths == lengths[0]).all(), "sessions of equal length only"
u = jnp.asarray(X.reshape(len(starts), lengths[0], -1), jnp.float32)
e = jnp.asarray(y.reshape(len(starts), lengths[0]), jnp.float32)
out = []
for seed in range(int(n)):
    model = LogisticRegressionHMM(3, X.shape[1], m_step_num_iters=50)
    cpu, clock = time.process_time(), time.perf_counter()
    params, props = model.initialize(jax.random.PRNGKey(seed))
    params, lps = model.fit_em(params, props, e, inputs=u, num_iters=100, verbose=False)
    seconds = time.process_time() - cpu, time.perf_counter() - clock
    found = {
        "coef_": np.asarray(params.emissions.weights).T.tolist(),
        "intercept_": np.asarray(params.emissions.biases).tolist(),
        "initial_prob_": np.asarray(params.initial.probs).tolist(),
        "transition_prob_": np.asarray(params.transitions.transition_matrix).tolist(),
    }
    out.append((*seconds, 100, found))
json.dump(out, open(sys.argv[2], "w"))
""",
}


def peers(name, data, interpreters, n_starts):
    """Run the peers, and compute the log-likelihood of what each start found."""
    X, y, starts, _ = data
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "data.npz", Path(folder) / "found.json"
        np.savez(source, X=X, y=np.asarray(y), starts=starts, n=n_starts)
        for peer, interpreter in interpreters.items():
            run = subprocess.run(
                [*interpreter, "-c", PEERS[peer], source, target], capture_output=True, text=True
            )
            if run.returncode:
                print(f"  {peer} on {name}: {run.stderr.strip().splitlines()[-1]}")
                continue
            for cpu, wall, n, params in json.loads(target.read_text()):
                model = nmo.glm_hmm.GLMHMM(3)
                for key, value in params.items():
                    value = np.asarray(value, float)
                    value = value / value.sum(-1, keepdims=True) if "prob" in key else value
                    setattr(model, key, value)
                found = model.score(X, y, starts)
                print(
                    f"  {peer} on {name}, a start: {cpu:.1f} s of the processor, {wall:.1f} s, "
                    f"{n:.0f} iterations, log-likelihood {found:.2f}"
                )


def main():
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--nemos-python", default=os.environ.get("SPIKAX_BENCH_NEMOS_PYTHON", NEMOS)
    )
    parser.add_argument("--starts-of-peers", type=int, default=2)
    args = parser.parse_args()
    interpreters = {"nemos": shlex.split(args.nemos_python)}
    if "SPIKAX_BENCH_DYNAMAX_PYTHON" in os.environ:
        interpreters["dynamax"] = [os.environ["SPIKAX_BENCH_DYNAMAX_PYTHON"]]
    e_step()
    simulated, animal = choices(), rat()
    ours = {"regularizer_strength": 0.1, "n_restarts": 20}
    report("choices", nmo.glm_hmm.GLMHMM(3, **ours), simulated, choices(1))
    peers("choices", simulated, interpreters, args.starts_of_peers)
    sticky = nmo.glm_hmm.GLMHMM(3, dirichlet_transition_proba=2, **ours)
    report("rat", sticky, animal, animal)
    peers("rat", animal, interpreters, args.starts_of_peers)
    several = nmo.glm_hmm.PopulationGLMHMM(4, "Poisson", regularizer_strength=0.1, n_restarts=4)
    report("population", several, population(), population(1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process {peak:.0f} MiB, jax {jax.__version__}")


if __name__ == "__main__":
    main()
