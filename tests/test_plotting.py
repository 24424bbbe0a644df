"""Figures: each like its reference image, with labelled axes, and nothing global changed.

    python tests/test_plotting.py

draws the reference images again. They hold no text, whose shape depends on the version of
matplotlib: labels are compared as words.
"""

from pathlib import Path

import jax
import matplotlib
import numpy as np
import pynapple as nap
import pytest
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

from spikax import diagnostics, plotting
from spikax.basis import CyclicBSplineEval
from spikax.glm import GLM, PopulationGLM
from spikax.glm_hmm import GLMHMM, ClassifierGLMHMM
from spikax.hmm import Restarts
from spikax.inference import infer, infer_states, tuning_curve
from spikax.model_selection import PopulationGLMCV, StatesSelection

matplotlib.use("Agg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).parent / "images"


def recording():
    """Make a direction and two tuned neurons, in bins of 20 ms."""
    rng = np.random.default_rng(0)
    direction = rng.uniform(0, 2 * np.pi, size=1500)
    preferred = np.array([1.0, 4.0])
    rate = 0.3 * np.exp(1.5 * np.cos(direction[:, None] - preferred) - 0.5)
    return direction, rng.poisson(rate), rate


def tuning():
    direction, spikes, rate = recording()
    basis = CyclicBSplineEval(6, bounds=(0, 2 * np.pi), label="direction")
    X = np.asarray(basis.compute_features(direction))
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=1e-4).fit(X, spikes)
    curve = tuning_curve(infer(model, X, spikes), basis)
    return plotting.tuning(
        direction, spikes, rate, curve=curve, neuron=1, bin_size=0.02, label="direction (rad)"
    )


def coupling_matrix():
    strength = np.random.default_rng(0).normal(size=(5, 5))
    return plotting.coupling_matrix(strength, neurons=list("abcde"), label="log gain")


def filters():
    lags = np.arange(1, 21)
    return np.stack([np.exp(-lags / 5), -2 * np.exp(-lags / 3)]), 10 * lags


def coupling_filters():
    values, lags = filters()
    return plotting.coupling_filters(
        values, lags, lower=values - 0.1, upper=values + 0.1, labels=["a to b", "a"], unit="ms"
    )


def coupling_filters_on_the_link_scale():
    return plotting.coupling_filters(*filters(), gain=False)


def ks():
    _, spikes, rate = recording()
    rate[:, 1] = rate[:, 1].mean()
    return plotting.ks(diagnostics.time_rescaling(spikes, rate, jax.random.key(0)))


def calibration():
    _, spikes, rate = recording()
    return plotting.calibration(diagnostics.calibration(spikes, rate, 6), bin_size=0.02)


def path_scores():
    strengths = np.logspace(-4, 0, 9)
    best, folds = np.array([-1.0, -2.5]), np.linspace(-0.05, 0.05, 4)
    scores = -0.1 * (np.log10(strengths)[:, None, None] - best) ** 2 + folds[:, None]
    return strengths, scores


def path():
    return plotting.path(*path_scores(), neurons=["a", "b"], label="bits per spike")


def path_from_zero():
    strengths, scores = path_scores()
    return plotting.path([0, *strengths], [-0.8, *scores[:, 0, 0]], chosen=strengths[2])


def convergence():
    _, spikes, rate = recording()
    return plotting.convergence(PopulationGLM("Gaussian").fit(rate, spikes))


def states_model():
    """Make choices in two states, and the model that they were drawn from."""
    rng = np.random.default_rng(0)
    x, model = rng.normal(size=(400, 2)), GLMHMM(2)
    model.coef_ = np.array([[3.0, 0.5], [0.0, -1.0]])
    model.intercept_ = np.array([0.0, 1.0])
    model.scale_ = np.ones(2)
    model.initial_prob_ = np.array([0.5, 0.5])
    model.transition_prob_ = np.array([[0.97, 0.03], [0.06, 0.94]])
    y, _, _ = model.simulate(jax.random.key(1), x)
    return model, x, y


def states():
    model, x, y = states_model()
    return plotting.states(model.smooth_proba(x, y), y, names=["engaged", "biased"])


def transition_matrix():
    return plotting.transition_matrix(states_model()[0])


def state_weights():
    model, *samples = states_model()
    start = (model.coef_, model.intercept_, model.scale_, [0.5, 0.5], model.transition_prob_)
    model.fit(*samples, start)
    return plotting.state_weights(model, infer_states(model, *samples), features=["a", "b"])


def dwell_times():
    model, x, y = states_model()
    path = model.decode_state(x, y, state_format="index")
    return plotting.dwell_times(path, model, session_starts=[0, 200])


def psychometric():
    model, x, y = states_model()
    return plotting.psychometric(x[:, 0], y, model.smooth_proba(x, y), label="contrast (%)")


def state_selection():
    rng = np.random.default_rng(0)
    scores = -60 + np.array([0, 3, 3.5])[:, None] + rng.normal(size=(3, 10))
    n = np.full(10, 100.0)
    found = StatesSelection(
        params=[{"n_states": k} for k in (1, 2, 3)],
        log_likelihood=scores.sum(axis=1) / n.sum(),
        standard_error=np.full(3, 0.01),
        per_session=scores,
        n_samples=n,
        n_parameters=np.array([3, 9, 17]),
        aic=np.zeros(3),
        bic=np.zeros(3),
        models=[],
    )
    return plotting.state_selection(found)


def restarts():
    model, width = GLMHMM(2), np.tile([0.5, 1.0, 2.0], 3)
    value = -np.array([40.0, 0, 0.5, 40, 0.01, 3, 7, 20, 0])
    model.restarts_ = Restarts(value, np.zeros(9), np.full(9, 40), width)
    return plotting.restarts(model)


# Each figure, and the words on its axes.
FIGURES = {
    tuning: ("direction (rad)", "rate (spikes/s)"),
    coupling_matrix: ("from neuron", "to neuron"),
    coupling_filters: ("time since the spike (ms)", "gain of the rate"),
    coupling_filters_on_the_link_scale: (
        "time since the spike (s)",
        "change of the linear predictor",
    ),
    ks: ("model quantile", "quantile of rescaled intervals"),
    calibration: ("predicted rate (spikes/s)", "observed rate (spikes/s)"),
    path: ("strength of the penalty", "bits per spike"),
    path_from_zero: ("strength of the penalty", "held-out score"),
    convergence: ("neuron", "steps"),
    states: ("sample", "probability of state"),
    transition_matrix: ("state after", "state before"),
    state_weights: ("", "weight"),
    dwell_times: ("duration (samples)", "share at least as long"),
    psychometric: ("contrast (%)", "share of choices of 1"),
    state_selection: ("n_states", "gain held out (nats per sample)"),
    restarts: ("start, by rank", "log posterior below the best (nats)"),
}
# Other versions place text, and with it axes, some pixels away.
of_this_matplotlib = pytest.mark.skipif(
    tuple(map(int, matplotlib.__version__.split(".")[:2])) < (3, 11),
    reason="the reference images are those of matplotlib 3.11",
)
every_figure = pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def save(draw, file):
    """Draw a figure without its text, whatever settings the user has."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = draw().figure
        figure.set_size_inches(4, 3)
        for text in figure.findobj(Text):
            text.set_visible(False)
        figure.savefig(file, dpi=60, metadata={"Software": None})
        plt.close(figure)


@of_this_matplotlib
@every_figure
def test_a_figure_is_like_its_reference_image(draw, tmp_path):
    drawn = tmp_path / f"{draw.__name__}.png"
    save(draw, drawn)
    difference = compare_images(str(IMAGES / drawn.name), str(drawn), tol=1)
    assert difference is None, difference


@every_figure
def test_axes_are_labelled(draw):
    ax = draw()
    assert (ax.get_xlabel(), ax.get_ylabel()) == FIGURES[draw]


@of_this_matplotlib
@every_figure
def test_no_text_is_cut_off_or_runs_into_another(draw):
    ax = draw()
    figure = ax.figure
    figure.canvas.draw()
    texts = [ax.xaxis.label, ax.yaxis.label]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        texts += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for k, box in enumerate(boxes):
        assert np.all(box.min >= 0) and np.all(box.max <= figure.canvas.get_width_height())
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])


@every_figure
def test_nothing_global_changes_and_nothing_is_shown(draw, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("plt.show was called"))
    before = dict(matplotlib.rcParams)
    draw()
    assert dict(matplotlib.rcParams) == before


def test_figures_are_drawn_on_the_axes_given():
    _, (left, right) = plt.subplots(1, 2)
    assert plotting.path([0.1, 1], [1, 2], ax=right) is right
    assert plotting.coupling_matrix(np.eye(2), ax=left) is left
    assert not plt.gcf().axes[1].images
    assert len(plt.get_fignums()) == 1


def test_weights_of_classes_are_not_taken_for_those_of_states():
    labels = ClassifierGLMHMM(2, n_classes=3)
    labels.coef_, labels.intercept_ = np.zeros((1, 2, 3)), np.zeros((2, 3))
    with pytest.raises(TypeError, match=r"one predictor.*\(2, 3\)"):
        plotting.state_weights(labels)


def test_states_that_do_not_fit_are_refused():
    model, x, y = states_model()
    proba = model.smooth_proba(x, y)
    for call, message in [
        (lambda: plotting.states(proba[:, 0]), "must have shape"),
        (lambda: plotting.states(proba, y[:5]), r"y must have shape \(400,\)"),
        (lambda: plotting.states(proba, names=["a"]), "2 names are needed, got 1"),
        (lambda: plotting.transition_matrix(np.ones((2, 3))), "is square"),
        (lambda: plotting.dwell_times(proba), "state_format='index'"),
        (lambda: plotting.psychometric(x[:3, 0], y, proba), "same number of samples"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(AttributeError, match="call fit first"):
        plotting.restarts(GLMHMM(2))


def test_neurons_are_chosen_and_silent_ones_left_out():
    spikes = np.zeros((100, 3))
    spikes[::5, 1:] = 1
    test = diagnostics.time_rescaling(spikes, np.full((100, 3), 0.2), jax.random.key(0))
    texts = [t.get_text() for t in plotting.ks(test).get_legend().get_texts()]
    assert any("neuron 1" in text for text in texts)
    assert not any("neuron 0" in text for text in texts)
    with pytest.raises(ValueError, match="nothing to draw"):
        plotting.ks(test, [0])


def test_a_population_of_chosen_strengths_is_drawn_as_it_is():
    _, spikes, rate = recording()
    model = PopulationGLMCV(n_strengths=4, cv=3).fit(rate, spikes)
    ax = plotting.path(model.strengths_, model.scores_, chosen=model.strength_)
    for j in range(2):
        curve, mark = ax.lines[2 * j : 2 * j + 2]
        np.testing.assert_allclose(curve.get_xdata(), model.strengths_[:, j])
        np.testing.assert_allclose(curve.get_ydata(), model.scores_[:, :, j].mean(axis=1))
        assert mark.get_xdata()[0] == pytest.approx(model.strength_[j])


def test_a_path_with_failed_strengths_is_drawn():
    scores = np.full((3, 2, 2), np.nan)
    scores[1:, :, 0] = 1.0
    ax = plotting.path([0.1, 1.0, 10.0], scores)
    known = [line for line in ax.lines if np.isfinite(line.get_ydata()).any()]
    assert len(known) == 2


def test_a_matrix_of_zeros_or_of_nothing_known_is_drawn():
    plotting.coupling_matrix(np.zeros((3, 3))).figure.canvas.draw()
    plotting.coupling_matrix(np.full((3, 3), np.nan)).figure.canvas.draw()


def test_masked_entries_are_missing():
    direction, spikes, rate = recording()
    lost = np.arange(len(direction)) % 3 == 0

    def heights(x, y, mean):
        return [patch.get_data().values for patch in plotting.tuning(x, y, mean, bins=8).patches]

    expected = heights(*(a[~lost] for a in (direction, spikes[:, 0], rate[:, 0])))
    masked = np.ma.masked_array(np.where(lost, 100, spikes[:, 0]), lost)
    edges = np.linspace(direction[~lost].min(), direction[~lost].max(), 9)
    drawn = plotting.tuning(direction, masked, rate[:, 0], bins=edges).patches
    for found, values in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(found.get_data().values, values)
    scores = np.ma.masked_array([0.1, 9.0, 0.3], [False, True, False])
    (line, point) = plotting.path([0.01, 0.1, 1.0], scores).lines
    np.testing.assert_array_equal(line.get_ydata(), [0.1, np.nan, 0.3])
    assert point.get_xdata() == [1.0]


TIMES_ALONE = {
    "spikes": nap.Ts([0.1, 0.4]),
    "units": nap.TsGroup({0: nap.Ts([0.1, 0.4]), 1: nap.Ts([0.2, 0.3])}),
    "epochs": nap.IntervalSet([0, 2], [1, 3]),
}


@pytest.mark.parametrize("times", TIMES_ALONE.values(), ids=TIMES_ALONE)
def test_what_holds_times_alone_is_refused(times):
    direction, spikes, _ = recording()
    for call in (
        lambda: plotting.tuning(times, spikes),
        lambda: plotting.tuning(direction, times),
        lambda: plotting.tuning(direction, spikes, times),
        lambda: plotting.coupling_matrix(times),
        lambda: plotting.coupling_filters(times, np.arange(2)),
        lambda: plotting.coupling_filters(np.ones(2), times),
        lambda: plotting.coupling_filters(np.ones(2), np.arange(2), lower=times, upper=times),
        lambda: plotting.path(times, np.ones(2)),
        lambda: plotting.path([0.1, 1.0], times),
        lambda: plotting.path([0.1, 1.0], np.ones(2), chosen=times),
    ):
        with pytest.raises(TypeError, match="which are no samples"):
            call()


def test_bad_input_is_refused_with_a_remedy():
    direction, spikes, _ = recording()
    wrong = [
        (lambda: plotting.tuning(spikes, spikes), r"x must have shape \(n_samples,\)"),
        (lambda: plotting.tuning(direction[:10], spikes), "y has 1500 samples, x has 10"),
        (lambda: plotting.tuning(direction, spikes, neuron=2), "neuron is 2, but y has 2"),
        (lambda: plotting.coupling_matrix(np.ones((2, 2, 3))), "sum filters over lags"),
        (lambda: plotting.coupling_filters(np.ones((2, 3)), np.ones(4)), "3 lags"),
        (lambda: plotting.path([0.1, 1.0], np.ones(3)), r"got \(3,\) for strengths"),
        (lambda: plotting.path([0.0], [1.0]), "strengths must have a positive one"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(AttributeError, match="call fit first"):
        plotting.convergence(GLM())


if __name__ == "__main__":
    for figure in FIGURES:
        save(figure, IMAGES / f"{figure.__name__}.png")
