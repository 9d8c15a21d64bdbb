"""Runs contenders: builds their programs, installs what is missing, interleaves rounds, checks every account.

A contender that is missing is left out with its reason; one that fails or hangs fails the run, after all others.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .scenarios import OURS, Scenario

ROOT = Path(__file__).resolve().parents[2]
# The status with which a contender's program says that it is not installed.
MISSING = 3
# No measurement takes longer; benchmarks that measure in pairs do.
DEADLINE_S, PROGRAM_DEADLINE_S = 180, 1500
# Debian's packages of the rivals that are programs, and what shows that one is there.
PACKAGES = {
    "nats": ("nats-server", "nats-server"),
    "redis": ("redis-server", "redis-server"),
    "mosquitto": ("mosquitto", "mosquitto"),
    "beam": ("elixir", "elixir"),
}


def say(line: str) -> None:
    """Progress, beside the result."""
    print(line, file=sys.stderr, flush=True)


class Bench:
    """Programs that are built and can be run."""

    def __init__(self, quick: bool, scenarios: list[Scenario]):
        self.quick, self.missing, self.failures = quick, {}, []
        self._install({name for scenario in scenarios for name in scenario.contenders})
        # What is recorded is measured as it is shipped: link-time optimised.
        self.profile = "dev" if quick else "dist"
        self.contend = self._build(self.profile, ["--bin", "contend"])["contend"]
        programs = sorted({scenario.program for scenario in scenarios if scenario.program})
        arguments = [word for program in programs for word in ("--bench", program)]
        self.programs = self._build("dev" if quick else "release", arguments) if programs else {}

    def measure(self, scenario: Scenario, rounds: int) -> list[dict]:
        """All points of a scenario, each `{"params", "contenders": {name: {"rounds", "account", "details"}}}`."""
        if scenario.program:
            return self._program(scenario)
        points = scenario.points(self.quick)
        results = [{"params": point, "contenders": {}} for point in points]
        begin, done, all_runs = time.monotonic(), 0, scenario.measurements(self.quick)
        for number in range(rounds):
            for point, result in zip(points, results, strict=True):
                # Who begins takes turns, so that none is always measured on the cooler machine.
                order = (
                    scenario.contenders[number % len(scenario.contenders) :]
                    + scenario.contenders[: number % len(scenario.contenders)]
                )
                for contender in order:
                    if contender in self.missing or not scenario.takes_part(contender, point):
                        continue
                    answer = self._one(scenario, contender, point)
                    done += 1
                    if answer is not None:
                        _add(result["contenders"], contender, answer)
                say(f"  {done}/{all_runs} {time.monotonic() - begin:.0f} s  {_brief(scenario, point, result)}")
        return results

    def _one(self, scenario: Scenario, contender: str, point: dict) -> dict | None:
        program = [str(ROOT / "benches/rivals/beam/run")] if contender == "beam" else [str(self.contend)]
        words = [f"{name}={_word(value)}" for name, value in point.items()]
        name = [] if contender == "beam" else [contender]
        command = [*program, scenario.family, *name, *words]
        status, out, err = _run(command, DEADLINE_S)
        if status == MISSING:
            self.missing[contender] = err.strip().splitlines()[-1] if err.strip() else "it is not installed"
            say(f"!!! SKIPPED: {contender}: {self.missing[contender]}")
            return None
        try:
            if status != 0:
                raise ValueError(f"status {status}: {err.strip()[-600:]}")
            answer = json.loads(out.strip().splitlines()[-1])
            _check(answer, scenario)
            return answer
        except (ValueError, IndexError, KeyError) as error:
            self.failures.append(f"{scenario.id}: {' '.join(command[len(program) - 1 :])}: {error}")
            say(f"!!! FAILED: {self.failures[-1]}")
            return None

    def _program(self, scenario: Scenario) -> list[dict]:
        # Told that it is to measure; without this flag it only shows that it works.
        args = [] if self.quick else ["--bench", *scenario.args]
        status, out, err = _run([str(self.programs[scenario.program]), *args], PROGRAM_DEADLINE_S)
        contenders: dict = {}
        try:
            if status != 0:
                raise ValueError(f"status {status}: {err.strip()[-600:]}")
            told = json.loads(out)
            for contender, pointers in scenario.pick.items():
                picked = {name: _picked(told, pointer) for name, pointer in pointers.items()}
                # A ratio of pairs comes with its interval: least, middle, most, as three rounds would.
                for at in range(max((len(values) for values in picked.values()), default=0)):
                    metrics = {name: values[at] for name, values in picked.items() if at < len(values)}
                    _add(contenders, contender, {"metrics": metrics, "account": None, "details": {}})
            contenders.setdefault(OURS, {"rounds": [], "account": None, "details": {}})["details"] = {"all": told}
        except ValueError as error:
            self.failures.append(f"{scenario.id}: {scenario.program}: {error}")
            say(f"!!! FAILED: {self.failures[-1]}")
        result = {"params": scenario.params, "contenders": contenders}
        say(f"  {_brief(scenario, {}, result)}")
        return [result]

    def _build(self, profile: str, targets: list[str]) -> dict[str, Path]:
        say(f"building ({profile}): {' '.join(word for word in targets if not word.startswith('-'))}")
        command = ["cargo", "build", "--locked", "--profile", profile, "-p", "senza-benches", *targets]
        built = subprocess.run(
            [*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if built.returncode != 0:
            raise SystemExit("benches/run: it does not build, see above")
        artifacts = [json.loads(line) for line in built.stdout.splitlines()]
        found = {a["target"]["name"]: Path(a["executable"]) for a in artifacts if a.get("executable")}
        return found

    def _install(self, contenders: set[str]) -> None:
        wanted = {name: PACKAGES[name] for name in sorted(contenders) if name in PACKAGES}
        packages = [package for package, program in wanted.values() if not which(program)]
        if packages and os.geteuid() == 0 and shutil.which("apt-get"):
            say(f"apt-get install {' '.join(packages)}")
            _apt(packages)
        for name, (package, program) in wanted.items():
            if not which(program):
                self.missing[name] = f"{program} is missing: apt-get install {package}"
                say(f"!!! SKIPPED: {name}: {self.missing[name]}")


def which(program: str) -> str | None:
    """Where a program is; Debian keeps some servers out of a user's path."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _apt(packages: list[str]) -> None:
    """Installs packages. Their services are not to start: the contenders start servers of their own."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        if ours:
            policy.unlink()


def _run(command: list[str], deadline_s: float) -> tuple[int, str, str]:
    """Runs a program in a process group of its own, which ends with it."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=deadline_s)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return -1, out, f"it took more than {deadline_s} s; {err}"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _check(answer: dict, scenario: Scenario) -> None:
    """An answer without the scenario's number, or whose account does not add up, is none."""
    missing = [metric for metric in scenario.metrics[:1] if metric not in answer["metrics"]]
    if missing:
        raise ValueError(f"it did not answer {missing[0]}, but {', '.join(answer['metrics'])}")
    account = answer.get("account")
    if account and account["offered"] != account["arrived"] + account["told"] + account["lost"]:
        raise ValueError(f"its account does not add up: {account}")


def _add(contenders: dict, name: str, answer: dict) -> None:
    entry = contenders.setdefault(name, {"rounds": [], "account": None, "details": {}})
    entry["rounds"].append(answer["metrics"])
    entry["details"] = answer.get("details") or entry["details"]
    if answer.get("account"):
        before = entry["account"] or {}
        entry["account"] = {key: before.get(key, 0) + value for key, value in answer["account"].items()}


def _picked(told, pointer: str) -> list[float]:
    """The number at a JSON pointer, where `*` stands for every part, of which the largest counts.

    For a ratio of pairs with its interval: the middle first, so that it also stands where other numbers have one round.
    """
    found = [told]
    for part in pointer.strip("/").split("/"):
        parts = []
        for value in found:
            if part == "*":
                parts += list(value.values()) if isinstance(value, dict) else list(value)
            elif isinstance(value, list) and re.fullmatch(r"\d+", part):
                parts += value[int(part) : int(part) + 1]
            elif isinstance(value, dict) and part in value:
                parts.append(value[part])
        found = parts
    # Too few pairs have no interval, and nothing that moved has no ratio.
    ratios = [value for value in found if isinstance(value, dict) and value["ratio"] is not None]
    intervals = [(value["ratio"], *(value["interval_95"] or [])) for value in ratios]
    if intervals:
        return list(max(intervals))
    numbers = [value for value in found if isinstance(value, (int, float))]
    return [max(numbers)] if numbers else []


def _word(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _brief(scenario: Scenario, point: dict, result: dict) -> str:
    metric = scenario.metrics[0]
    varied = " ".join(f"{name}={point[name]}" for name in scenario.matrix if name in point)
    numbers = [
        f"{name} {entry['rounds'][-1][metric]:.4g}"
        + (f" LOST {entry['account']['lost']}" if (entry["account"] or {}).get("lost") else "")
        for name, entry in result["contenders"].items()
        if entry["rounds"] and metric in entry["rounds"][-1]
    ]
    return f"{scenario.id} {varied}: {metric}: {', '.join(numbers)}"
