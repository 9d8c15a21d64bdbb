"""Results as pictures (SVG): bars or curves with every contender, and whatever has to be read with them."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        # Text stays text, and the same numbers make the same file.
        "svg.fonttype": "none",
        "svg.hashsalt": "senza",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.axisbelow": True,
        "figure.facecolor": "white",
    }
)

from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from . import told  # noqa: E402
from .record import OURS, exponent, spread  # noqa: E402
from .scenarios import Scenario  # noqa: E402

# Ours stands out; a rival keeps its colour in all pictures.
COLOURS = {
    "senza": "#c2185b",
    "zenoh": "#3b6fb6",
    "nats": "#2f9e73",
    "redis": "#a65d2e",
    "mosquitto": "#7a7a7a",
    "beam": "#7f56a8",
    "dashmap": "#3b6fb6",
    "papaya": "#2f9e73",
    "scc": "#a65d2e",
    "rwlock": "#7a7a7a",
    "tokens": "#3b6fb6",
    "crossbeam": "#3b6fb6",
    "tokio": "#2f9e73",
    "zenoh-drop": "#3b6fb6",
    "zenoh-block": "#7a7a7a",
}
PANELS_MAX = 6


def draw(about: Scenario, result: dict, folder: Path, caption: str) -> Path | None:
    """Draws a scenario that wants a picture and has numbers; the file's name is the scenario's."""
    wanted = about.picture
    if not wanted or not any(point["contenders"] for point in result["points"]):
        return None
    curve = wanted["kind"] == "curve"
    axis = wanted["x"] if curve else wanted.get("by", "")
    metrics = wanted.get("metrics", about.metrics[:1])
    panels = [(metric, *panel) for metric in metrics for panel in _panels(about, result, axis)][:PANELS_MAX]
    figure, axes = pyplot.subplots(
        1,
        len(panels),
        figsize=(max(7.5, 4.4 * len(panels)), 4.6),
        squeeze=False,
        sharey=len(metrics) == 1,
        layout="constrained",
    )
    for number, (place, (metric, title, points)) in enumerate(zip(axes[0], panels, strict=True)):
        (_curves if curve else _bars)(place, about, metric, points, axis)
        if title:
            place.set_title(title, fontsize=10)
        if number == 0:
            place.set_ylabel(f"{told.unit(metric)} ({about.better} is better)")
        elif len(metrics) > 1:
            place.set_ylabel(told.unit(metric))
    figure.suptitle(
        _wrapped(about.what, max(78, 46 * len(panels))), fontsize=11.5, fontweight="bold", x=0.01, ha="left"
    )
    handles, labels = axes[0][0].get_legend_handles_labels()
    for place in axes[0][1:]:
        for handle, label in zip(*place.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles, labels = [*handles, handle], [*labels, label]
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 4),
        frameon=False,
        fontsize=9,
        title=caption,
        title_fontsize=7.5,
    )
    return _saved(figure, folder / f"{about.id}.svg")


def overview(rows: dict, folder: Path, caption: str) -> Path | None:
    """All rows that have a rival: how many times better senza is than the best of them, and which goals are met."""
    shown = [(id, row) for id, row in rows.items() if row["ratio"]]
    if not shown:
        return None
    shown.reverse()
    better = [row["ratio"] if row["better"] == "higher" else 1 / row["ratio"] for _, row in shown]
    figure, place = pyplot.subplots(figsize=(8.5, 0.36 * len(shown) + 1.6), layout="constrained")
    colours = [COLOURS[OURS] if times >= 1 else "#7a7a7a" for times in better]
    place.barh(range(len(shown)), [times - 1 for times in better], left=1, color=colours, height=0.66)
    for at, ((_, row), times) in enumerate(zip(shown, better, strict=True)):
        goal = "" if row["target"] is None else f"goal {told.number(row['target'])} {row['ours']['unit']}"
        sign = {True: "✓ ", False: "✗ ", None: ""}[row["met"]]
        text = f"{told.number(times)}× {_name(row['best_rival'])}   {sign}{goal}"
        place.annotate(
            text, (max(times, 1), at), textcoords="offset points", xytext=(4, 0), va="center", fontsize=8
        )  # fmt: skip
    place.set_yticks(range(len(shown)), [id for id, _ in shown])
    place.set_xscale("log")
    place.axvline(1, color="#333333", linewidth=1)
    place.set_xlim(min(0.3, *better) * 0.8, max(better) * 40)
    place.set_xlabel("times better than the best rival of the row (left of 1: the rival is better)")
    place.grid(axis="y", visible=False)
    _ticks(place.xaxis)
    figure.suptitle("senza beside the best rival of each row", fontsize=11.5, fontweight="bold", x=0.01, ha="left")
    place.set_title(caption, fontsize=7.5, color="#666666", loc="left")
    return _saved(figure, folder / "rows.svg")


def _saved(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    # Lines of an SVG end with blanks, which a repository does not want.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def _panels(about: Scenario, result: dict, axis: str) -> list[tuple[str, list[dict]]]:
    """The points by the parameters that are no axis, with a title each."""
    rest = [name for name in about.matrix if name != axis]
    groups: dict[str, list[dict]] = {}
    for point in result["points"]:
        title = ", ".join(f"{name.replace('_', ' ')} {_at(point['params'].get(name))}" for name in rest)
        groups.setdefault(title, []).append(point)
    return list(groups.items())[:PANELS_MAX]


def _bars(place, about: Scenario, metric: str, points: list[dict], axis: str) -> None:
    contenders = _present(about, metric, points)
    # Of one point, each contender stands by its own name; of several, in groups.
    alone = len(points) == 1
    width = 0.84 / max(1 if alone else len(contenders), 1)
    heights, named = [], set()
    for number, contender in enumerate(contenders):
        for at, point in enumerate(points):
            numbers = spread(point, contender, metric)
            if not numbers or numbers["median"] <= 0:
                continue
            x, value = (number if alone else at - 0.42 + width * (number + 0.5)), numbers["median"]
            heights.append(value)
            place.bar(
                x,
                value,
                width * 0.92,
                yerr=[[value - numbers["min"]], [numbers["max"] - value]],
                color=_colour(contender),
                label=None if contender in named else _name(contender),
                error_kw={"elinewidth": 0.8, "ecolor": "#333333", "capsize": 1.5},
            )
            named.add(contender)
            place.annotate(
                told.number(value).replace(" ", "\u202f"),
                (x, numbers["max"]),
                textcoords="offset points",
                xytext=(0, 3),
                ha="center",
                fontsize=7,
                rotation=90 if len(contenders) * len(points) > 8 and not alone else 0,
            )
    if alone:
        place.set_xticks(range(len(contenders)), [_name(contender) for contender in contenders])
    else:
        place.set_xticks(range(len(points)), [_at(point["params"].get(axis)) for point in points])
        place.set_xlabel(axis.replace("_", " "))
    place.grid(axis="x", visible=False)
    wide = heights and max(heights) / min(heights) > 25
    if wide:
        place.set_yscale("log")
    place.margins(y=0.25 if wide else 0.16)
    _ticks(place.yaxis)


def _curves(place, about: Scenario, metric: str, points: list[dict], axis: str) -> None:
    for contender in _present(about, metric, points):
        line = [(point["params"][axis], n) for point in points if (n := spread(point, contender, metric))]
        line.sort(key=lambda entry: entry[0])
        fitted = exponent([(x, numbers["median"]) for x, numbers in line])
        place.plot(
            xs := [x for x, _ in line],
            ys := [numbers["median"] for _, numbers in line],
            marker="o",
            markersize=4,
            color=_colour(contender),
            linewidth=2.2 if contender == OURS else 1.4,
            label=_name(contender),
        )
        place.fill_between(
            xs,
            [n["min"] for _, n in line],
            [n["max"] for _, n in line],
            color=_colour(contender),
            alpha=0.15,
            linewidth=0,
        )
        if fitted is not None and about.picture.get("fit", True):
            place.annotate(
                f"∝ {axis}^{fitted:.2f}",
                (xs[-1], ys[-1]),
                textcoords="offset points",
                xytext=(4, 0),
                fontsize=7.5,
                color=_colour(contender),
                va="center",
            )
    # Room for the exponents.
    place.margins(x=0.2)
    log = about.picture.get("log", "")
    if "x" in log:
        place.set_xscale("log")
    if "y" in log:
        place.set_yscale("log")
    else:
        place.set_ylim(bottom=0)
    place.set_xlabel(axis.replace("_", " "))
    _ticks(place.xaxis)
    _ticks(place.yaxis)


def _present(about: Scenario, metric: str, points: list[dict]) -> list[str]:
    return [c for c in about.contenders if any(spread(point, c, metric) for point in points)]


def _ticks(axis) -> None:
    if axis.get_scale() == "log":
        least, most = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most / max(least, 1e-12) < 200 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: told.number(value).replace(" ", "\u202f")))
    axis.set_minor_formatter(NullFormatter())


def _colour(contender: str) -> str:
    return COLOURS.get(contender, "#b08900")


def _name(contender: str) -> str:
    return told.name(contender).replace("&lt;", "<").replace("&gt;", ">")


def _at(value) -> str:
    return told.number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _wrapped(text: str, width: int) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width:
            lines, line = [*lines, line], word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
