"""Results as Markdown: the rows of the goals, then each scenario with all its points, contenders and losses."""

from .record import OURS, exponent, ratios, spread
from .scenarios import Scenario

# Names as their makers write them.
NAMES = {
    "senza": "senza",
    "zenoh": "Zenoh",
    "nats": "NATS",
    "redis": "Redis",
    "mosquitto": "Mosquitto",
    "beam": "BEAM",
    "dashmap": "DashMap",
    "papaya": "papaya",
    "scc": "scc",
    "rwlock": "RwLock&lt;HashMap&gt;",
    "tokens": "Zenoh tokens",
    "crossbeam": "crossbeam",
    "tokio": "tokio broadcast",
    "zenoh-drop": "Zenoh, dropping",
    "zenoh-block": "Zenoh, blocking",
}


def name(contender: str) -> str:
    """How a contender is written."""
    return NAMES.get(contender, contender)


def number(value: float | None) -> str:
    """Three digits and a suffix: 13.2 M, 440 k, 1.04, 0."""
    if value is None:
        return "–"
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if suffix == ' k' else limit):.3g}{suffix}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def unit(metric: str) -> str:
    """A metric's name in words: `readings_per_s` is readings/s, `p99_us` is p99, µs."""
    if metric.endswith("_per_s"):
        return metric.removesuffix("_per_s").replace("_", " ") + "/s"
    for ending, word in (("_us", "µs"), ("_ns", "ns"), ("_ms", "ms"), ("_s", "s")):
        if metric.endswith(ending):
            return f"{metric.removesuffix(ending).replace('_', ' ')}, {word}"
    return metric.replace("_", " ")


def goals(kept: dict) -> str:
    """The rows of the goals as one table."""
    lines = [
        "| row | what | senza | best rival | senza ÷ rival | other rivals | goal | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for id, row in kept["rows"].items():
        ours, best = row["ours"], row["best_rival"]
        of_rivals = row["rivals"]
        others = ", ".join(f"{name(rival)} {number(of_rivals[rival]['value'])}" for rival in of_rivals if rival != best)
        sign = "≥" if row["better"] == "higher" else "≤"
        goal = f"{sign} {number(row['target'])}" if row["target"] is not None else "–"
        beaten = f"{name(best)} {number(of_rivals[best]['value'])}" if best else "–"
        lines.append(
            f"| {id} | {row['what']} | **{_with_range(ours | {'median': ours['value']})}** {ours['unit']} "
            f"| {beaten} | {_times(row)} "
            f"| {others or '–'} | {goal} | {row['verdict']} |"
        )
    return "\n".join(lines)


def scenario(about: Scenario, result: dict) -> str:
    """One scenario: a table with a line per point, a column per contender, and what became of all that was offered."""
    contenders = [c for c in about.contenders if any(c in point["contenders"] for point in result["points"])]
    metric = about.metrics[0]
    varied = [axis for axis in about.matrix if len({str(point["params"].get(axis)) for point in result["points"]}) > 1]
    head = [
        *varied,
        *(name(contender) for contender in contenders),
        *(["ours ÷ best rival"] if len(contenders) > 1 else []),
    ]
    lines = [
        f"### {about.id}",
        "",
        f"{about.what}. {unit(metric)}, {about.better} is better; medians of the rounds (least–most).",
        "",
        f"| {' | '.join(head or ['senza'])} |",
        "|" + "---|" * len(head or [1]),
    ]
    for point in result["points"]:
        cells = [
            number(v)
            if isinstance(v := point["params"].get(axis), (int, float)) and not isinstance(v, bool)
            else str(v)
            for axis in varied
        ]
        cells += [_cell(point, contender, metric) for contender in contenders]
        if len(contenders) > 1:
            cells.append(_best(point, contenders, metric, about.better))
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        *_more(about, result, contenders),
        *_accounts(result, contenders),
        *_growth(about, result, contenders),
        *_clauses(about, contenders),
    ]
    left_out = {rule["why"]: rule["contender"] for rule in about.excepted}
    lines += [f"- Left out: {_names(who)}: {why}." for why, who in left_out.items()]
    return "\n".join(lines).rstrip() + "\n"


def _cell(point: dict, contender: str, metric: str) -> str:
    numbers = spread(point, contender, metric)
    return _with_range(numbers) if numbers else "–"


def _best(point: dict, contenders: list[str], metric: str, better: str) -> str:
    rivals = [
        (numbers["median"], rival)
        for rival in contenders
        if rival != OURS and (numbers := spread(point, rival, metric))
    ]
    if not rivals:
        return "–"
    best = (max if better == "higher" else min)(rivals)[1]
    told = ratios(point, best, metric)
    return f"{_with_range(told)} {name(best)}" if told else "–"


def _more(about: Scenario, result: dict, contenders: list[str]) -> list[str]:
    """The other metrics, a list entry each."""
    lines = []
    for metric in about.metrics[1:]:
        told = []
        for contender in contenders:
            values = [
                number(numbers["median"]) if (numbers := spread(point, contender, metric)) else "–"
                for point in result["points"]
            ]
            if set(values) != {"–"}:
                told.append(f"{name(contender)} {', '.join(values)}")
        if told:
            lines.append(f"- {unit(metric)}, in the order of the lines: {'; '.join(told)}.")
    return lines


def _accounts(result: dict, contenders: list[str]) -> list[str]:
    told = []
    for contender in contenders:
        accounts = [a for point in result["points"] if (a := point["contenders"].get(contender, {}).get("account"))]
        if accounts:
            offered, gone, lost = (sum(account[key] for account in accounts) for key in ("offered", "told", "lost"))
            fates = [f"{number(gone)} told as missing"] * bool(gone) + [
                f"**{number(lost)} lost without a word**"
            ] * bool(lost)
            told.append(f"{name(contender)} {number(offered)}" + (f" ({', '.join(fates)})" if fates else ""))
    return [f"- Offered, and all of it arrived but for what is in brackets: {'; '.join(told)}."] if told else []


def _growth(about: Scenario, result: dict, contenders: list[str]) -> list[str]:
    if (about.picture or {}).get("kind") != "curve" or not about.picture.get("fit", True):
        return []
    x, told = about.picture["x"], []
    for metric in about.metrics:
        for contender in contenders:
            points = [
                (point["params"][x], numbers["median"])
                for point in result["points"]
                if (numbers := spread(point, contender, metric))
            ]
            others = {tuple((k, v) for k, v in point["params"].items() if k != x) for point in result["points"]}
            fitted = exponent(points) if len(others) == 1 else None
            if fitted is not None:
                told.append(f"{unit(metric)} of {name(contender)} ∝ {x.replace('_', ' ')}^{fitted:.2f}")
    return [f"- Fitted: {'; '.join(told)}."] if told else []


def _clauses(about: Scenario, contenders: list[str]) -> list[str]:
    lines = []
    for contender in contenders:
        clauses = about.described[contender]
        if contender != OURS and (clauses.does_not or clauses.does_more):
            does_not = f"does not {clauses.does_not}" if clauses.does_not else "does all that senza does here"
            more = f"; does {clauses.does_more}, which senza does not" if clauses.does_more else ""
            lines.append(f"- {name(contender)} {does_not}{more}.")
    return lines


def _with_range(numbers: dict) -> str:
    middle, least, most = (number(numbers[key]) for key in ("median", "min", "max"))
    return middle if least == most else f"{middle} ({least}–{most})"


def _times(row: dict) -> str:
    return f"{number(row['ratio'])} ×" if row["ratio"] is not None else "–"


def _names(who) -> str:
    return ", ".join(name(contender) for contender in (who if isinstance(who, list) else [who]))
