"""Fit a recorded population together: head-direction tuning and coupling of 15 units.

    python examples/head_direction.py [--output head_direction.png]

Spike counts of each unit, in bins of 10 ms, are predicted from where the animal's head points and
from what all units, itself included, fired in the last 200 ms. Every fourth half-minute is held
out and never fitted.
"""

import argparse
import time
from functools import partial

import numpy as np
import pynapple as nap
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from tqdm import tqdm

import spikax as nmo

print = partial(print, flush=True)

BIN = 0.01  # s
TURN = 2 * np.pi
STRENGTH = 1e-4

tuning = nmo.basis.CyclicBSplineEval(12, bounds=(0, TURN), label="head_direction")
history = nmo.basis.RaisedCosineLogConv(5, window_size=20, label="coupling")
lags = 1000 * BIN * np.arange(1, history.window_size + 1)  # ms


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="head_direction.png", help="where the figure goes")
    output = parser.parse_args().output

    print("Loading the recording ...")
    recording = nmo.datasets.load_head_direction()
    location = np.asarray(recording.spikes.location)
    tracked = recording.head_direction.time_support
    train, test = split(tracked)

    print(f"Binning {tracked.tot_length():.0f} s of wake at {BIN * 1000:.0f} ms ...")
    counts = recording.spikes.count(BIN, tracked)
    direction = counts.value_from(recording.head_direction)
    X, y = design(direction, counts, train), counts.restrict(train)
    X_test, y_test = design(direction, counts, test), counts.restrict(test)
    n_features = sum(block.shape[1] for block in X.values())
    print(f"{len(y)} samples to fit, {len(y_test)} held out; {n_features} features.")

    print("Fitting all units together ...")
    model, first = timed(fit, nmo.glm.PopulationGLM, X, y)
    model, again = timed(fit, nmo.glm.PopulationGLM, X, y)
    alone = {"first": 0.0, "again": 0.0}
    for when in alone:
        for unit in tqdm(range(y.shape[1]), desc=f"Neuron by neuron, {when}"):
            _, seconds = timed(fit, nmo.glm.GLM, X, y[:, unit])
            alone[when] += seconds

    rate = np.asarray(model.predict(X_test))
    pseudo_r2 = model.score(
        X_test,
        y_test,
        score_type="pseudo-r2-McFadden",
        aggregate_sample_scores=lambda s: s.mean(0),
    )
    print_table(location, counts, bits_per_spike(rate, np.asarray(y_test)), np.asarray(pseudo_r2))
    print("\nseconds to fit          first    again")
    print(f"  all units together  {first:7.2f}  {again:7.2f}")
    print(f"  neuron by neuron    {alone['first']:7.2f}  {alone['again']:7.2f}")

    figure = draw(model, location, np.asarray(direction.restrict(test)), rate, np.asarray(y_test))
    figure.savefig(output, dpi=150)
    print(f"\nFigure: {output}")


def split(epoch):
    """Cut an epoch into 16 blocks and hold out every fourth."""
    edges = np.linspace(epoch.start[0], epoch.end[0], 17)
    test = nap.IntervalSet(edges[2:-1:4], edges[3::4])
    return epoch.set_diff(test), test


def design(direction, counts, epochs):
    """Build the features of some epochs; nothing is seen across their borders."""
    return {
        "head_direction": tuning.compute_features(direction.restrict(epochs)),
        "coupling": history.compute_features(counts.restrict(epochs)),
    }


def fit(kind, X, y):
    return kind(regularizer="Ridge", regularizer_strength=STRENGTH).fit(X, y)


def timed(function, *arguments):
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def bits_per_spike(rate, counts):
    """Gain of the log-likelihood over a constant rate, per spike; both (time, unit)."""
    known = ~np.isnan(rate).any(axis=1)
    rate, counts = rate[known], counts[known]
    mean = counts.mean(axis=0)
    gain = counts * (np.log(rate) - np.log(mean)) - (rate - mean)
    return gain.sum(axis=0) / (np.log(2) * counts.sum(axis=0))


def print_table(location, counts, bits, pseudo_r2):
    print("\nunit  location  spikes  bits/spike  pseudo-R2   (held out)")
    for unit, spikes in enumerate(np.sum(counts.d, axis=0)):
        print(
            f"{unit:4d}  {location[unit]:8}  {spikes:6.0f}  {bits[unit]:10.2f}  "
            f"{pseudo_r2[unit]:9.2f}"
        )


def draw(model, location, direction, rate, counts):
    """Draw tuning of the thalamic units above, and what spikes do to later ones below."""
    theta, functions = tuning.evaluate_on_grid(361)
    preferred = theta[np.argmax(functions @ model.coef_["head_direction"], axis=0)]
    thalamic = sorted(np.flatnonzero(location == "adn"), key=lambda unit: preferred[unit])
    others = list(np.flatnonzero(location != "adn"))
    colors = {unit: hsv_to_rgb([preferred[unit] / TURN, 0.75, 0.8]) for unit in thalamic}
    weights = history.split_by_feature(model.coef_["coupling"], axis=0)["coupling"]
    filters = np.einsum("lb,sbt->stl", history.kernel_, weights)  # from, to, lag

    figure = Figure(figsize=(13, 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[0.75, 1], hspace=0.04)
    above.suptitle("Tuning of thalamic units to head direction, in held-out data", size=13)
    panels = above.subplots(1, len(thalamic), sharex=True)
    for panel, unit in zip(panels, thalamic, strict=True):
        draw_tuning(panel, direction, rate[:, unit], counts[:, unit], colors[unit])
        panel.set_title(f"unit {unit}", color=colors[unit], size=10)
    panels[0].set_ylabel("rate (spikes/s)")
    panels[len(panels) // 2].set_xlabel("head direction (degrees)")
    panels[0].legend(frameon=False, fontsize=8)

    below.suptitle("How the rate changes after a spike", size=13)
    matrix, own, pairs = below.subplots(1, 3, width_ratios=[1.2, 1, 1])
    draw_matrix(matrix, filters.sum(axis=2), thalamic + others, len(thalamic))

    for unit in others:
        label = "hippocampal" if unit == others[0] else None
        own.plot(lags, np.exp(filters[unit, unit]), color="0.7", label=label)
    for unit in thalamic:
        label = "thalamic" if unit == thalamic[0] else None
        own.plot(lags, np.exp(filters[unit, unit]), color=colors[unit], linewidth=2, label=label)
    decorate_gain(own, "history: the unit that fired", [0.7, 1, 2, 4, 8])
    own.legend(frameon=False, fontsize=9)

    couplings = [
        (source, target) for source in thalamic for target in thalamic if source != target
    ]
    couplings.sort(key=lambda pair: -np.abs(filters[pair]).sum())
    for source, target in couplings[:5]:
        gain = np.exp(filters[source, target])
        far = np.argmax(np.abs(filters[source, target]))
        pairs.plot(lags, gain, color=colors[source], linewidth=2)
        pairs.annotate(
            f"{source} to {target}",
            (lags[far], gain[far]),
            xytext=(6, -3),
            textcoords="offset points",
            color=colors[source],
            bbox={"color": "white", "alpha": 0.8, "pad": 0.5},
            size=9,
        )
    decorate_gain(pairs, "coupling: the five strongest of thalamic units", [0.5, 0.6, 0.7, 0.8, 1])
    return figure


def draw_tuning(panel, direction, rate, counts, color):
    edges = np.linspace(0, TURN, 37)
    known = ~np.isnan(rate)
    seconds = np.histogram(direction[known], edges)[0] * BIN
    data, model = (
        np.histogram(direction[known], edges, weights=spikes[known])[0] / seconds
        for spikes in (counts, rate)
    )
    panel.stairs(data, np.rad2deg(edges), fill=True, color="0.82", label="data")
    panel.stairs(model, np.rad2deg(edges), color=color, linewidth=2, label="model")
    panel.set(xticks=[0, 180, 360], xlim=(0, 360))
    panel.spines[["top", "right"]].set_visible(False)


def draw_matrix(panel, strength, order, n_thalamic):
    strength = strength[np.ix_(order, order)].T
    limit = np.quantile(np.abs(strength), 0.95)
    image = panel.imshow(strength, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for line in (panel.axhline, panel.axvline):
        line(n_thalamic - 0.5, color="black", linewidth=0.8)
    ticks = range(len(order))
    panel.set(xticks=ticks, xticklabels=order, yticks=ticks, yticklabels=order)
    panel.set(xlabel="from unit (thalamic, then hippocampal)", ylabel="to unit")
    panel.set_title("coupling: every unit on every unit", size=11)
    bar = panel.figure.colorbar(image, ax=panel, extend="both", shrink=0.85)
    bar.set_label("log gain, summed over 200 ms")


def decorate_gain(panel, title, ticks):
    panel.axhline(1, color="black", linewidth=0.8, linestyle=":")
    panel.set(xlabel="time since the spike (ms)", ylabel="gain of the rate", xlim=(0, lags[-1]))
    panel.set_yscale("log")
    panel.minorticks_off()
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_title(title, size=11)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
