"""What figures have in common: colours, axes, legends."""

from matplotlib.axes import Axes

DATA, MODEL, BAND = "0.8", "#1f4e8c", 0.25
COLORS = ("#1f4e8c", "#c8553d", "#4a8c5f", "#8a5a9e", "#c29a2e", "#4d9db4", "#7f7f7f", "#b0507f")


def axes(ax: Axes | None) -> Axes:
    """Return the axes to draw on, new ones if there are none."""
    if ax is not None:
        return ax
    # pyplot, so that a notebook shows the figure by itself.
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def tidy(ax: Axes, legend: bool) -> Axes:
    """Leave out what no figure needs."""
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize="small")
    return ax
