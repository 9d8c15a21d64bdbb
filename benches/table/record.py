"""What is kept of a run: the machine, versions and commands beside all points, and the rows of the goals made of them.

A result file holds a machine's day. A scenario that is measured again replaces itself; each has its time and commit.
"""

import datetime
import json
import math
import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path
from statistics import median

from .measure import ROOT, which
from .scenarios import OURS, Scenario, matches

# Rivals that are crates: the versions come from the lock file.
CRATES = ["crossbeam-channel", "dashmap", "foldhash", "papaya", "parking_lot", "scc", "tokio", "zenoh"]
VERSIONS = {
    "nats": ["nats-server", "--version"],
    "redis": ["redis-server", "--version"],
    "mosquitto": ["mosquitto", "-h"],
    "elixir": ["elixir", "--short-version"],
    "rustc": ["rustc", "--version"],
    "otp": ["erl", "-noshell", "-eval", 'io:format("~s", [erlang:system_info(otp_release)]), halt().'],
}


# === the machine ===


def machine() -> dict:
    """What the numbers of this machine depend on."""
    cpu = _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) or platform.processor()
    memory = int(_first(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()) or 0)
    virtual = "hypervisor" in Path("/proc/cpuinfo").read_text()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": math.ceil(memory / 2**20),
        "virtual": virtual,
        "os": _first(r'PRETTY_NAME="(.+)"', Path("/etc/os-release").read_text()),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_name(told: dict) -> str:
    """A short name for a machine: `xeon-2c-24g`."""
    family = _first(r"(?i)(xeon|epyc|ryzen|core|neoverse|graviton|apple)", told["cpu"]) or "cpu"
    return f"{family.lower()}-{told['cores']}c-{told['memory_gib']}g"


def versions() -> dict[str, str]:
    """Of senza's toolchain and of every rival that is here."""
    with (ROOT / "Cargo.lock").open("rb") as file:
        packages = tomllib.load(file)["package"]
    found = {package["name"]: package["version"] for package in packages if package["name"] in CRATES}
    for name, command in VERSIONS.items():
        if program := which(command[0]):
            told = subprocess.run([program, *command[1:]], capture_output=True, text=True, cwd=ROOT)
            lines = (told.stdout or told.stderr).strip().splitlines()
            found[name] = (_first(r"v?=?(\d+\.\d+(?:\.\d+)*|^\d+)", lines[0]) or lines[0]) if lines else "?"
    return dict(sorted(found.items()))


def commit() -> str:
    """The commit that is measured; marked where the tree differs from it."""
    told = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "engine", "benches/contend", "benches/rivals", "benches/scenarios"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return told.stdout.strip() + ("+" if changed.stdout.strip() else "")


# === the file ===


def day(path: Path, told: dict, name: str) -> dict:
    """The result file of a machine's day, or a new one."""
    if path.exists():
        kept = json.loads(path.read_text())
        if "scenarios" in kept:
            return kept
    return {"machine": name, "date": path.stem, "hardware": told, "rows": {}, "scenarios": {}}


def note(kept: dict, scenario: Scenario, points: list[dict], command: str, profile: str) -> None:
    """Puts a scenario's points into a day's results."""
    kept["scenarios"][scenario.id] = {
        "what": scenario.what,
        "family": scenario.family or scenario.program,
        "metrics": list(scenario.metrics),
        "better": scenario.better,
        "commit": commit(),
        "profile": profile,
        "command": command,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "points": [{"params": point["params"], "contenders": _told(point["contenders"])} for point in points],
    }


def rows(kept: dict, goals: dict) -> dict:
    """The rows of the goals, from what is there: ours, each rival, ours over the best rival, and whether it is met."""
    told = {}
    for id, goal in goals.items():
        scenario = kept["scenarios"].get(goal["scenario"])
        point = scenario and _point(scenario, goal.get("at", {}))
        if not point or OURS not in point["contenders"]:
            continue
        metric = goal["metric"]
        ours = spread(point, OURS, metric)
        if ours is None:
            continue
        if "over" in goal and (base := _point(scenario, goal["over"])):
            beneath = spread(base, OURS, metric)["median"]
            ours = {key: round(number / beneath, 4) if beneath else 1.0 for key, number in ours.items()}
        # Where the only way in differs, a rival is measured at a point of its own.
        rival_point = _point(scenario, goal["rivals_at"]) if "rivals_at" in goal else point
        rivals = (
            {}
            if "over" in goal
            else {name: spread(rival_point, name, metric) for name in rival_point["contenders"] if name != OURS}
        )
        rivals = {name: numbers for name, numbers in rivals.items() if numbers}
        higher = goal["better"] == "higher"
        best = (max if higher else min)(rivals, key=lambda name: rivals[name]["median"], default=None)
        met, verdict = _verdict(ours, goal.get("target"), higher)
        told[id] = {
            "what": goal["what"],
            "ours": {"value": ours["median"], "min": ours["min"], "max": ours["max"], "unit": goal["unit"]},
            "rivals": {name: {"value": n["median"], "min": n["min"], "max": n["max"]} for name, n in rivals.items()},
            "best_rival": best,
            "ratio": best and _ratio(ours["median"], rivals[best]["median"]),
            "target": goal.get("target"),
            "better": goal["better"],
            "met": met,
            "verdict": verdict,
            "scenario": goal["scenario"],
            "at": scenario["at"],
            "commit": scenario["commit"],
        }
    return told


def points(kept: dict) -> list[dict]:
    """All measured points of a day, flat: `{"scenario", "contender", "params", "metrics": {name: median}}`."""
    flat = []
    for id, scenario in kept["scenarios"].items():
        for point in scenario["points"]:
            for contender, entry in point["contenders"].items():
                names = sorted({name for numbers in entry["rounds"] for name in numbers})
                metrics = {name: spread(point, contender, name)["median"] for name in names}
                flat.append({"scenario": id, "contender": contender, "params": point["params"], "metrics": metrics})
    return flat


def spread(point: dict, contender: str, metric: str) -> dict | None:
    """Median, least and most of a contender's rounds at a point."""
    entry = point["contenders"].get(contender)
    values = [numbers[metric] for numbers in entry["rounds"] if metric in numbers] if entry else []
    return {"median": median(values), "min": min(values), "max": max(values)} if values else None


def ratios(point: dict, rival: str, metric: str) -> dict | None:
    """Ours over a rival's, round by round: median, least and most."""
    ours, theirs = point["contenders"].get(OURS), point["contenders"].get(rival)
    if not ours or not theirs:
        return None
    pairs = [
        a[metric] / b[metric]
        for a, b in zip(ours["rounds"], theirs["rounds"], strict=False)
        if metric in a and b.get(metric)
    ]
    return {"median": median(pairs), "min": min(pairs), "max": max(pairs)} if pairs else None


def exponent(points: list[tuple[float, float]]) -> float | None:
    """How a cost grows: the slope of a straight line through the logarithms, by least squares."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(logs) < 3:
        return None
    x_mean, y_mean = (sum(axis) / len(logs) for axis in zip(*logs, strict=True))
    width = sum((x - x_mean) ** 2 for x, _ in logs)
    return sum((x - x_mean) * (y - y_mean) for x, y in logs) / width if width else None


def _told(contenders: dict) -> dict:
    # Histograms have files of their own.
    kept = {}
    for name, entry in contenders.items():
        details = {key: value for key, value in (entry["details"] or {}).items() if key != "histogram"}
        kept[name] = {"rounds": entry["rounds"], "account": entry["account"], "details": details}
    return kept


def _point(scenario: dict, at: dict) -> dict | None:
    return next((point for point in scenario["points"] if matches(point["params"], at)), None)


def _verdict(ours: dict, target: float | None, higher: bool) -> tuple[bool | None, str]:
    """Whether a goal is met, by the median; a row without a goal is there for the comparison."""
    if target is None:
        return None, "–"
    reached = ours["median"] >= target if higher else ours["median"] <= target
    straddled = ours["min"] < target < ours["max"]
    return reached, ("met" if reached else "missed") + (" by the median; the spread straddles it" if straddled else "")


def _ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 4) if theirs else None


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found and found.group(1).strip()
