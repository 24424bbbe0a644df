"""Turn the measurements into a Markdown table and a figure."""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
from peers import PEERS
from problems import PROBLEMS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = {
    "problem": "problem",
    "shape": "T x p x N",
    "peer": "peer",
    "total": "excess nats, total",
    "worst": "worst neuron",
    "first": "first fit (s)",
    "second": "second fit (s)",
    "relative": "time / spikax",
    "passes": "passes",
    "products": "time / products",
    "memory": "peak memory (MB)",
    "compilations": "compilations",
    "note": "note",
}
SUMMARY = {
    "spikax": ["spikax"],
    "NeMoS": ["nemos"],
    "scikit-learn newton-cholesky": [
        "sklearn newton-cholesky",
        "sklearn newton-cholesky, 1 thread",
    ],
    "scikit-learn lbfgs": ["sklearn lbfgs", "sklearn lbfgs, 1 thread"],
    "glum": ["glum", "glum, 1 thread"],
    "statsmodels": ["statsmodels", "statsmodels, 1 thread"],
}
FLOOR = 1e-6  # nats: below it the figure does not tell peers apart


def write(results, folder):
    order = list(PROBLEMS), list(PEERS)
    known = sorted(results["problems"].items(), key=lambda item: order[0].index(item[0]))
    results = results | {"problems": dict(known)}
    rows = [judged(row, results) for row in results["rows"]]
    rows.sort(key=lambda row: (order[0].index(row["problem"]), order[1].index(row["peer"])))
    (folder / "results.md").write_text(table(rows, results))
    (folder / "summary.md").write_text(summary(rows, results))
    figure(rows, results).savefig(folder / "results.png", dpi=150, bbox_inches="tight")


def judged(row, results):
    """Add the excess over the best objective that anything has reached, per draw and neuron."""
    if "failure" in row:
        return row
    n_samples = results["problems"][row["problem"]]["shape"][0]
    known = best_known(row["problem"], results)
    excess = [
        n_samples * (np.array(reached) - best[: len(reached)])
        for reached, best in zip(row["objective"], known, strict=True)
        if reached
    ]
    total = max(per_neuron.mean() * len(known[0]) for per_neuron in excess)
    return row | {"total": total, "worst": max(per_neuron.max() for per_neuron in excess)}


def best_known(name, results):
    """Return the lowest objective of each neuron, (draw, neuron): the reference's or a peer's."""
    best = np.array(results["problems"][name]["optimum"])
    for row in results["rows"]:
        if row["problem"] == name and "failure" not in row:
            for i, reached in enumerate(row["objective"]):
                if reached:
                    found = np.nan_to_num(reached, nan=np.inf)
                    best[i, : len(found)] = np.minimum(best[i, : len(found)], found)
    return best


def table(rows, results):
    lines = [heading(rows, results), line(COLUMNS.values()), line("---" for _ in COLUMNS)]
    lines += [line(cells(row, rows, results).values()) for row in rows]
    return "\n".join(lines) + "\n"


def heading(rows, results):
    """Say where, when and with what the timings were taken."""
    machine = results["machine"]
    libraries = sorted({row["library"] for row in rows if "failure" not in row})
    head = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}; {machine['date']}; {', '.join(libraries)}.\n"
    )
    if results["scale"] != 1:
        head = f"**Quick run: {results['scale']:g} of the samples.** {head}"
    return head


def summary(rows, results):
    """Return one line a problem: each library in the fastest of its configurations."""
    lines = [
        heading(rows, results),
        line(["problem", "T x p x N", *SUMMARY]),
        line(["---"] * (2 + len(SUMMARY))),
    ]
    for name, facts in results["problems"].items():
        done = [row for row in rows if row["problem"] == name]
        ours = spikax_seconds(name, rows)
        libraries = [
            [row for row in done if row["peer"] in configurations]
            for configurations in SUMMARY.values()
        ]
        lines.append(line([name, sizes(facts), *(brief(tried, ours) for tried in libraries)]))
    return "\n".join(lines) + "\n"


def brief(tried, ours):
    """Say the time of the second fit, its ratio to ours, and the nats it is short in total."""
    done = [row for row in tried if "failure" not in row]
    if not done:
        return "fails" if tried else ""
    row = min(done, key=lambda row: row["second_s"])
    ratio = f" ({number(row['second_s'] / ours)}x)" if ours and row["peer"] != "spikax" else ""
    return f"{number(row['second_s'])} s{ratio}, {nats(row['total'])}"


def line(texts):
    return "| " + " | ".join(texts) + " |"


def cells(row, rows, results):
    facts = results["problems"][row["problem"]]
    texts = dict.fromkeys(COLUMNS, "") | {
        "problem": row["problem"],
        "shape": sizes(facts),
        "peer": row["peer"],
        "note": note(row, n_neurons=facts["shape"][-1]),
    }
    if "failure" in row:
        return texts
    ours = spikax_seconds(row["problem"], rows)
    return texts | {
        "total": nats(row["total"]),
        "worst": nats(row["worst"]),
        "first": number(row.get("first_s")),
        "second": number(row["second_s"]),
        "relative": number(row["second_s"] / ours) if ours else "",
        "passes": passes(row),
        "products": number(products_ratio(row)),
        "memory": number(row.get("peak_mb")),
        "compilations": number(row.get("compilations")),
    }


def spikax_seconds(problem, rows):
    ours = [row for row in rows if (row["problem"], row["peer"]) == (problem, "spikax")]
    return ours[0].get("second_s") if ours else None


def sizes(facts):
    return " x ".join(f"{size:,}" for size in facts["shape"])


def note(row, n_neurons):
    if "failure" in row:
        return f"failed: {row['failure']}".replace("|", "/")
    notes = list(row.get("warned", []))
    if row["n_neurons_fitted"] < n_neurons:
        times = n_neurons / row["n_neurons_fitted"]
        notes.append(f"time and total x{times:.3g} from {row['n_neurons_fitted']} neurons")
    if "reached" in row:
        notes.append(climbed(row))
    return "; ".join(notes)


def climbed(row):
    if row["reached"]:
        return f"reached at {row['n_steps']:,} steps"
    why = f"stalls at {row['n_steps']:,} steps" if row["stalled"] else "out of time"
    return f"not reached in {row['second_s']:.0f} s ({why}): {row['total']:.2g} nats short"


def passes(row):
    if row.get("n_passes") is not None:
        return str(row["n_passes"])
    return "" if row.get("n_steps") is None else f"({row['n_steps']:,} steps)"


def products_ratio(row):
    """Return the time of the fit over that of its passes and one Gram matrix."""
    if row.get("n_passes") is None or row.get("products_s") is None:
        return None
    products = row["products_s"]
    return row["second_s"] / (row["n_passes"] * products["pass"] + products["gram"])


def number(value):
    if value is None:
        return ""
    if not np.isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def nats(value):
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else number(value)


def figure(rows, results):
    """Draw time against excess: the best peer is at the lower left."""
    names = list(results["problems"])
    colors = dict(zip(PEERS, plt.get_cmap("tab20").colors, strict=False))
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    drawn, axes = plt.subplots(
        n_rows, n_columns, figsize=(4.6 * n_columns, 3.8 * n_rows), squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        panel(axis, name, [row for row in rows if row["problem"] == name], results, colors)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    handles = {}
    for axis in axes.flat:
        points, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, points, strict=True))
    drawn.supxlabel("seconds: first fit (open), second fit (filled)")
    drawn.supylabel("excess nats of the worst neuron")
    drawn.tight_layout()
    drawn.legend(
        handles.values(),
        handles.keys(),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )
    return drawn


def panel(axis, name, rows, results, colors):
    for row in rows:
        if "failure" in row:
            continue
        excess, color = max(row["worst"], FLOOR), colors[row["peer"]]
        ours = row["peer"].startswith("spikax")
        marker, size = ("*", 13) if ours else ("^" if "objective" in row["peer"] else "o", 8)
        if row.get("first_s"):
            axis.plot([row["second_s"], row["first_s"]], [excess, excess], color=color, lw=1)
            axis.plot(row["first_s"], excess, marker, ms=size, mfc="white", color=color)
        axis.plot(row["second_s"], excess, marker, ms=size, color=color, ls="", label=row["peer"])
    axis.set_title(f"{name}\n{sizes(results['problems'][name])}", fontsize=10)
    axis.axhline(0.05, color="0.7", lw=1, ls=":", label="0.05 nats")
    axis.set(xscale="log", yscale="log", ylim=(FLOOR / 2, None))
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(json.loads((target / "results.json").read_text()), target)
