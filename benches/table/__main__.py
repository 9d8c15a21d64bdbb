"""`benches/run`: reads the command line, measures what is chosen, records it, shows it."""

import argparse
import datetime
import json
import shlex
import signal
import sys
from pathlib import Path

from . import record, scaling, told
from .measure import ROOT, Bench, say
from .scenarios import Scenario, Wrong, chosen, load, load_rows

BENCHES = ROOT / "benches"
BEGIN, END = "<!-- begin of what benches/run wrote -->", "<!-- end of what benches/run wrote -->"


def main() -> int:
    args = _arguments()
    try:
        scenarios = load(BENCHES / "scenarios")
        goals = load_rows(BENCHES / "rows.toml", scenarios)
        wanted = chosen(scenarios, args.only, goals)
    except Wrong as wrong:
        print(f"benches/run: {wrong}", file=sys.stderr)
        return 2
    if args.list:
        # `benches/run --list | head` ends quietly. Who measures is told of a pipe that broke instead.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        return _list(wanted, goals)
    about = record.machine()
    name = args.machine or record.machine_name(about)
    results = BENCHES / "results" / name
    path = results / f"{datetime.date.today().isoformat()}.json"
    kept = record.day(path, about, name)
    failures: list[str] = []
    if not args.redraw:
        bench = Bench(args.quick, wanted)
        kept |= {"commit": record.commit(), "hardware": about, "versions": record.versions()}
        command = shlex.join(["benches/run", *sys.argv[1:]])
        for number, scenario in enumerate(wanted, 1):
            say(f"{scenario.id} ({number} of {len(wanted)}): {scenario.what}")
            points = bench.measure(scenario, 1 if args.quick or scenario.program else args.rounds or scenario.rounds)
            record.note(kept, scenario, points, command, bench.profile if scenario.family else "release")
            if not args.quick:
                _keep_histograms(results, path.stem, scenario, points)
                _write(kept, goals, path)
        failures = bench.failures
        kept["left_out"] = bench.missing
    kept["rows"] = record.rows(kept, goals)
    if args.json == "-":
        print(json.dumps(kept, ensure_ascii=False))
    elif args.json:
        Path(args.json).write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    if args.quick:
        print(told.goals(kept) if args.json != "-" else "", end="\n" if args.json != "-" else "")
    else:
        _write(kept, goals, path)
        _show(kept, [s for s in scenarios if s.id in kept["scenarios"]], path, args.docs)
        if args.json != "-":
            print(told.goals(kept))
    for failure in failures:
        print(f"benches/run: failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/run",
        description="senza and its rivals through the same work, on this machine",
    )
    parser.add_argument("--list", action="store_true", help="show the scenarios, and measure nothing")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a scenario, family or row; patterns too"
    )
    parser.add_argument("--quick", action="store_true", help="all once, tiny, unoptimised: only whether it works")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each point, instead of the scenario's own")
    parser.add_argument("--json", metavar="FILE", help="write the result there as well; - is standard output")
    parser.add_argument(
        "--machine", metavar="NAME", help="what to call this machine, instead of the name made of its parts"
    )
    parser.add_argument("--docs", action="store_true", help="put the table and the pictures into docs/ as well")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: today's table and pictures again")
    return parser.parse_args()


def _list(wanted: list[Scenario], goals: dict) -> int:
    for scenario in wanted:
        rows = [id for id, goal in goals.items() if goal["scenario"] == scenario.id]
        of_rows = f"  (rows: {', '.join(rows)})" if rows else ""
        print(f"{scenario.id}{of_rows}\n    {scenario.what}")
        contenders = ", ".join(told.name(contender) for contender in scenario.contenders)
        print(f"    {contenders}; {scenario.measurements(quick=False)} measurements")
        for axis, values in scenario.matrix.items():
            print(f"    {axis}: {', '.join(map(str, values))}")
    return 0


def _write(kept: dict, goals: dict, path: Path) -> None:
    """After every scenario, so that a run that is cut off has kept what it measured."""
    kept["rows"] = record.rows(kept, goals)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _keep_histograms(results: Path, date: str, scenario: Scenario, points: list[dict]) -> None:
    for point in points:
        for contender, entry in point["contenders"].items():
            if text := entry["details"].get("histogram"):
                varied = "-".join(f"{axis}{point['params'][axis]}" for axis in scenario.matrix)
                folder = results / "histograms" / date
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{'-'.join(filter(None, [scenario.id, varied, contender]))}.hgrm").write_text(text)


def _show(kept: dict, scenarios: list[Scenario], path: Path, docs: bool) -> None:
    from . import pictures

    hardware = kept["hardware"]
    caption = (
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB, {kept['date']}; "
        "medians of the rounds, from least to most"
    )
    folder = ROOT / "docs/pictures" if docs else path.parent / "pictures"
    pictures.overview(kept["rows"], folder, caption)
    drawn = {}
    for scenario in scenarios:
        if picture := pictures.draw(scenario, kept["scenarios"][scenario.id], folder, caption):
            drawn[scenario.id] = picture
    body = [f"# The rivals table of {kept['machine']}, {kept['date']}", "", _about(kept), "", told.goals(kept), ""]
    for scenario in scenarios:
        body.append(told.scenario(scenario, kept["scenarios"][scenario.id]))
        if scenario.id in drawn and not docs:
            body.append(f"![{scenario.id}](pictures/{scenario.id}.svg)\n")
    path.with_suffix(".md").write_text("\n".join(body))
    say(f"wrote {path.relative_to(ROOT)}, the .md beside it, {len(drawn)} pictures in {folder.relative_to(ROOT)}")
    if docs:
        _into_docs(kept, scenarios, drawn, path)


def _into_docs(kept: dict, scenarios: list[Scenario], drawn: dict, path: Path) -> None:
    page = ROOT / "docs/BENCHMARKS.md"
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"benches/run: docs/BENCHMARKS.md has no lines {BEGIN} and {END}")
    pictures = [f"![{scenario.what}](pictures/{scenario.id}.svg)" for scenario in scenarios if scenario.id in drawn]
    link = f"All points and accounts, and what each rival does not do: [{path.stem}]"
    link += f"(../{path.with_suffix('.md').relative_to(ROOT)})."
    overview = "![senza beside the best rival of each row](pictures/rows.svg)"
    written = "\n\n".join([_about(kept), overview, told.goals(kept), link, *pictures])
    try:
        scaling.put_into(ROOT / "docs/SCALING.md", scaling.tables(record.points(kept)))
    except ValueError as missing:
        say(f"docs/SCALING.md stays as it is: {missing}")
    page.write_text(f"{text.split(BEGIN)[0]}{BEGIN}\n{written}\n{END}{text.split(END)[1]}")


def _about(kept: dict) -> str:
    hardware, versions = kept["hardware"], ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    left_out = "".join(f" Left out: {name}: {why}." for name, why in kept.get("left_out", {}).items())
    return (
        f"{hardware['cpu']}{' (virtual)' if hardware['virtual'] else ''}, {hardware['cores']} cores, "
        f"{hardware['memory_gib']} GiB, {hardware['os']}, Linux {hardware['kernel']}; commit {kept['commit']}; "
        f"{versions}.{left_out}"
    )


if __name__ == "__main__":
    sys.exit(main())
