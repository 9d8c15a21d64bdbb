"""The driver of the rivals table: what it refuses, and what it makes of measurements."""

import json
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
sys.path.insert(0, str(BENCHES))

from table import measure, record, scenarios, told  # noqa: E402

SCENARIO = """
[contenders.senza]
[contenders.rival]
does_not = "tell a loss"

[[scenario]]
id = "work"
what = "Some work"
family = "relay"
contenders = ["senza", "rival"]
params = { seconds = 2 }
matrix = { sensors = [10, 100], batch = [1, 8] }
except = [ { contender = "rival", sensors = 100, batch = [1, 2], why = "it takes minutes" } ]
metrics = ["readings_per_s"]
better = "higher"
quick = { seconds = 0.1, sensors = 5 }
picture = { kind = "curve", x = "sensors" }
"""


def loaded(folder, text=SCENARIO):
    (folder / "work.toml").write_text(text)
    return scenarios.load(folder)


def measured(ours, theirs, lost=0):
    account = {"offered": 10, "arrived": 10 - lost, "told": 0, "lost": lost}
    entry = lambda values: {"rounds": [{"readings_per_s": v} for v in values], "account": account, "details": {}}  # noqa: E731
    return {"senza": entry(ours), "rival": entry(theirs)}


def test_the_scenarios_of_the_table_fit_its_rows():
    found = scenarios.load(BENCHES / "scenarios")
    rows = scenarios.load_rows(BENCHES / "rows.toml", found)
    assert found and rows
    for scenario in found:
        assert scenario.contenders[0] == "senza", scenario.id
        assert scenario.measurements(quick=True) > 0, scenario.id
        for rival in scenario.contenders[1:]:
            clauses = scenario.described[rival]
            assert clauses.does_not or clauses.does_more, f"{scenario.file}: {rival}: in what does it differ?"


def test_a_scenario_becomes_its_points(tmp_path):
    (scenario,) = loaded(tmp_path)
    points = scenario.points(quick=False)
    assert [(p["sensors"], p["batch"], p["seconds"]) for p in points] == [
        (10, 1, 2),
        (10, 8, 2),
        (100, 1, 2),
        (100, 8, 2),
    ]
    assert scenario.points(quick=True) == [{"sensors": 5, "batch": 1, "seconds": 0.1}]
    assert [scenario.takes_part("rival", point) for point in points] == [True, True, False, True]
    assert scenario.measurements(quick=False) == (4 + 3) * 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('id = "work"', 'id = "work"\ncolour = "red"'), "work.toml: work: no such key: colour"),
        (('better = "higher"', 'better = "more"'), "work.toml: work: better is higher or lower"),
        (('family = "relay"', ""), "work.toml: work: one of family and program"),
        (("[contenders.rival]", "[contenders.other]"), "work.toml: work: [contenders.rival] is missing"),
        ((', why = "it takes minutes"', ""), "work.toml: work: an exception names its contender, and why"),
        (('metrics = ["readings_per_s"]', ""), "work.toml: work: metrics is missing"),
    ],
)
def test_a_wrong_scenario_is_refused_by_name(tmp_path, change, complaint):
    with pytest.raises(scenarios.Wrong) as refused:
        loaded(tmp_path, SCENARIO.replace(*change))
    assert str(refused.value) == complaint


def test_only_names_what_is_there(tmp_path):
    found = loaded(tmp_path)
    rows = {"relay-row": {"scenario": "work"}}
    for name in ("work", "wo*", "relay", "relay-row"):
        assert scenarios.chosen(found, [name], rows) == found
    with pytest.raises(scenarios.Wrong, match="--only other"):
        scenarios.chosen(found, ["other"], rows)


def test_a_row_is_ours_over_the_best_rival(tmp_path):
    (scenario,) = loaded(tmp_path)
    kept = {"scenarios": {}}
    point = {"params": {"sensors": 10, "batch": 1}, "contenders": measured([30.0, 20.0, 22.0], [11.0, 10.0, 9.0])}
    record.note(kept, scenario, [point], "benches/run", "dist")
    goal = {
        "what": "w", "scenario": "work", "at": {"sensors": 10}, "metric": "readings_per_s", "better": "higher",
        "unit": "readings/s", "target": 21,
    }  # fmt: skip
    row = record.rows(kept, {"row": goal})["row"]
    assert (row["ours"]["value"], row["rivals"]["rival"]["value"], row["ratio"]) == (22.0, 10.0, 2.2)
    assert row["met"] and row["verdict"] == "met by the median; the spread straddles it"
    assert not record.rows(kept, {"row": goal | {"target": 50}})["row"]["met"]
    # Less is better: the same number misses a goal of 21.
    assert not record.rows(kept, {"row": goal | {"better": "lower"}})["row"]["met"]
    assert record.rows(kept, {"row": goal | {"at": {"sensors": 11}}}) == {}


def test_ratios_are_of_rounds_that_ran_side_by_side():
    point = {"contenders": measured([10.0, 40.0], [5.0, 10.0])}
    assert record.ratios(point, "rival", "readings_per_s") == {"median": 3.0, "min": 2.0, "max": 4.0}


def test_an_exponent_is_the_slope_of_the_logarithms():
    assert record.exponent([(10, 5), (100, 50), (1000, 500)]) == pytest.approx(1)
    assert record.exponent([(10, 7), (100, 7), (1000, 7)]) == pytest.approx(0)
    assert record.exponent([(10, 100 / 10**0.5), (100, 100 / 100**0.5), (1000, 100 / 1000**0.5)]) == pytest.approx(-0.5)
    assert record.exponent([(10, 5), (100, 50)]) is None


def test_losses_without_a_word_stand_in_the_table(tmp_path):
    (scenario,) = loaded(tmp_path)
    point = {"params": {"sensors": 10, "batch": 1}, "contenders": measured([2e6], [1e6], lost=3)}
    text = told.scenario(scenario, {"points": [point]})
    assert "**3 lost without a word**" in text and "rival does not tell a loss." in text
    assert "| 2 M | 1 M | 2 rival |" in text


def test_numbers_have_three_digits():
    shown = {0: "0", 0.63: "0.63", 1234: "1234", 13_160_000: "13.2 M", 440_100: "440 k", 2.5e9: "2.5 G"}
    assert {value: told.number(value) for value in shown} == shown


def test_an_answer_must_add_up(tmp_path):
    (scenario,) = loaded(tmp_path)
    answer = {"metrics": {"readings_per_s": 1}, "account": {"offered": 3, "arrived": 1, "told": 1, "lost": 0}}
    with pytest.raises(ValueError, match="does not add up"):
        measure._check(answer, scenario)
    with pytest.raises(ValueError, match="did not answer readings_per_s"):
        measure._check({"metrics": {"other": 1}, "account": None}, scenario)


def test_numbers_are_picked_from_benchmarks_of_pairs():
    result = json.loads(
        '{"a": [{"p99": {"ratio": 1.1, "interval_95": [1, 2]}}, {"p99": {"ratio": 1.3, "interval_95": [1, 3]}}]}'
    )
    assert measure._picked(result, "/a/*/p99") == [1.3, 1, 3]
    assert measure._picked(result, "/a/0/p99/ratio") == [1.1]
    assert measure._picked(result, "/b") == []
    few = {"p99": {"ratio": 1.2, "interval_95": None}, "p50": {"ratio": None, "interval_95": None}}
    assert (measure._picked(few, "/p99"), measure._picked(few, "/p50")) == ([1.2], [])
