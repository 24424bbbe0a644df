"""A style for figures of matplotlib's, `plot_style`.

>>> import matplotlib.pyplot as plt
>>> import spikax as nmo
>>> with plt.style.context(nmo.styles.plot_style):
...     plt.rcParams["axes.spines.top"]
False
"""

from importlib.resources import files

__all__ = ["plot_style"]

# What `matplotlib.pyplot.style.use` takes: the path of a file of settings.
plot_style = str(files("spikax") / "data" / "spikax.mplstyle")
