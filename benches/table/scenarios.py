"""Scenarios as data: reads `benches/scenarios/*.toml`, checks them, and expands each into its points.

A point is one set of parameters; every contender of the scenario that is not excepted there is measured at it.
"""

import fnmatch
import itertools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

OURS = "senza"
# What a scenario may say, and whether it must.
KEYS = {
    "id": True,
    "what": True,
    "family": False,
    "program": False,
    "args": False,
    "pick": False,
    "contenders": False,
    "params": False,
    "matrix": False,
    "except": False,
    "metrics": True,
    "better": True,
    "rounds": False,
    "quick": False,
    "picture": False,
}


class Wrong(Exception):
    """A scenario file that says something that cannot be; names the file, the scenario and the rule."""


@dataclass(frozen=True)
class Contender:
    """Who takes part in a file's scenarios, and in a clause each what sets it apart from senza."""

    name: str
    does_not: str = ""
    does_more: str = ""


@dataclass(frozen=True)
class Scenario:
    """One kind of work, measured at all its points by all its contenders."""

    id: str
    what: str
    metrics: tuple[str, ...]
    better: str
    family: str = ""
    # A benchmark of its own that measures all contenders in one run (in interleaved pairs); `pick` finds their numbers.
    program: str = ""
    args: tuple[str, ...] = ()
    pick: dict = field(default_factory=dict)
    contenders: tuple[str, ...] = (OURS,)
    params: dict = field(default_factory=dict)
    matrix: dict = field(default_factory=dict)
    excepted: tuple[dict, ...] = ()
    rounds: int = 3
    quick: dict = field(default_factory=dict)
    picture: dict | None = None
    described: dict[str, Contender] = field(default_factory=dict)
    file: str = ""

    def points(self, quick: bool) -> list[dict]:
        """The parameters of each point, matrix first. In a quick run each axis has its first value alone."""
        axes = {name: values[:1] if quick else values for name, values in self.matrix.items()}
        quicker = self.quick if quick else {}
        combined = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
        return [{**at, **self.params, **quicker} for at in combined]

    def takes_part(self, contender: str, point: dict) -> bool:
        """Whether a contender is measured at a point."""

        def holds(rule: dict) -> bool:
            where = {name: value for name, value in rule.items() if name not in ("contender", "why")}
            named = rule["contender"] if isinstance(rule["contender"], list) else [rule["contender"]]
            allowed = {name: value if isinstance(value, list) else [value] for name, value in where.items()}
            return contender in named and all(point.get(name) in values for name, values in allowed.items())

        return not any(holds(rule) for rule in self.excepted)

    def measurements(self, quick: bool) -> int:
        """How many times a contender is run."""
        runs = sum(self.takes_part(contender, point) for point in self.points(quick) for contender in self.contenders)
        return (1 if self.program else runs) * (1 if quick else self.rounds)


def load(folder: Path) -> list[Scenario]:
    """All scenarios, in the order of files and within them. Raises `Wrong`."""
    found: list[Scenario] = []
    for path in sorted(folder.glob("*.toml")):
        with path.open("rb") as file:
            try:
                told = tomllib.load(file)
            except tomllib.TOMLDecodeError as error:
                raise Wrong(f"{path.name}: {error}") from error
        described = {name: Contender(name, **clauses) for name, clauses in told.get("contenders", {}).items()}
        found += [_scenario(path.name, raw, described) for raw in told.get("scenario", [])]
    ids = [scenario.id for scenario in found]
    for repeated in {id for id in ids if ids.count(id) > 1}:
        raise Wrong(f"two scenarios are called {repeated}")
    return found


def chosen(scenarios: list[Scenario], only: list[str], rows: dict) -> list[Scenario]:
    """The scenarios that an id, a family, a program, a row or a pattern of these names; all where nothing is named."""
    wanted: set[str] = set()
    for name in only:
        hits = {s.id for s in scenarios if fnmatch.fnmatch(s.id, name) or name in (s.family, s.program)}
        hits |= {row["scenario"] for id, row in rows.items() if fnmatch.fnmatch(id, name)}
        if not hits:
            raise Wrong(f"--only {name}: no scenario, family or row is called so; --list shows them")
        wanted |= hits
    return [scenario for scenario in scenarios if not only or scenario.id in wanted]


def load_rows(path: Path, scenarios: list[Scenario]) -> dict:
    """The rows of the goals, by id. Raises `Wrong` where a row asks for what no scenario measures."""
    with path.open("rb") as file:
        rows = tomllib.load(file)
    by_id = {scenario.id: scenario for scenario in scenarios}
    for id, row in rows.items():
        scenario = by_id.get(row["scenario"])
        if scenario is None:
            raise Wrong(f"{path.name}: {id}: no scenario is called {row['scenario']}")
        if row["metric"] not in scenario.metrics:
            raise Wrong(f"{path.name}: {id}: {scenario.id} has no metric {row['metric']}")
        if not any(matches(point, row.get("at", {})) for point in scenario.points(quick=False)):
            raise Wrong(f"{path.name}: {id}: {scenario.id} has no point at {row['at']}")
    return rows


def matches(point: dict, at: dict) -> bool:
    """Whether a point has these parameters."""
    return all(point.get(name) == value for name, value in at.items())


def _scenario(file: str, raw: dict, described: dict[str, Contender]) -> Scenario:
    at = f"{file}: {raw.get('id', 'a scenario without id')}"
    for unknown in set(raw) - set(KEYS):
        raise Wrong(f"{at}: no such key: {unknown}")
    for missing in [key for key, must in KEYS.items() if must and key not in raw]:
        raise Wrong(f"{at}: {missing} is missing")
    if bool(raw.get("family")) == bool(raw.get("program")):
        raise Wrong(f"{at}: one of family and program")
    if raw["better"] not in ("higher", "lower"):
        raise Wrong(f"{at}: better is higher or lower")
    contenders = raw.get("contenders", list(raw.get("pick", {OURS: None})))
    for unknown in [name for name in contenders if name not in described]:
        raise Wrong(f"{at}: [contenders.{unknown}] is missing")
    for rule in raw.get("except", []):
        if not {"contender", "why"} <= set(rule):
            raise Wrong(f"{at}: an exception names its contender, and why")
    return Scenario(
        id=raw["id"],
        what=raw["what"],
        family=raw.get("family", ""),
        program=raw.get("program", ""),
        args=tuple(raw.get("args", [])),
        pick=raw.get("pick", {}),
        contenders=tuple(contenders),
        params=raw.get("params", {}),
        matrix=raw.get("matrix", {}),
        excepted=tuple(raw.get("except", [])),
        metrics=tuple(raw["metrics"]),
        better=raw["better"],
        rounds=raw.get("rounds", 3),
        quick=raw.get("quick", {}),
        picture=raw.get("picture"),
        described=described,
        file=file,
    )
