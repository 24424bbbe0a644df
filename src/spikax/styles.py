"""A style for figures of matplotlib's."""

from importlib.resources import files

__all__ = ["plot_style"]

# What `matplotlib.pyplot.style.use` takes: the path of a file of settings.
plot_style = str(files("spikax") / "data" / "spikax.mplstyle")
