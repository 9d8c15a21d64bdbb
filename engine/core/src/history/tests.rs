//! A history against a sorted list of what was inserted.

use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        1 => Just(Value::F64(-0.0)),
        1 => any::<i64>().prop_map(Value::I64),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[a-z]{0,3}".prop_map(|text| Value::Text(text.into())),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| Value::Bytes(bytes.into())),
        1 => prop::collection::vec(any::<f32>(), 0..3).prop_map(|vector| Value::Vector(vector.into())),
    ]
}

/// Mostly some seconds on, sometimes back, sometimes anywhere.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0i64..3_000_000, 2 => -9_000_000i64..0, 8 => -4i64..6, 1 => any::<i64>(), 1 => Just(1 << 33)]
}

fn check(history: &History, stage: &Stage, store: &Store, model: &[Sample]) -> Result<(), TestCaseError> {
    prop_assert_eq!(&history.range(Micros::MIN, Micros::MAX, usize::MAX, stage, store), model);
    prop_assert_eq!(history.latest(store), model.last().cloned());
    let Some(middle) = model.get(model.len() / 2) else { return Ok(()) };
    let (from, to) = (middle.source_time.saturating_sub(4_000_000), middle.source_time.saturating_add(1_000_000));
    let within = |sample: &&Sample| (from..=to).contains(&sample.source_time);
    let mut expected: Vec<Sample> = model.iter().filter(within).cloned().collect();
    expected.drain(..expected.len().saturating_sub(3));
    prop_assert_eq!(history.range(from, to, 3, stage, store), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn keeps_the_newest_in_order_and_every_bit(
        steps in prop::collection::vec((step(), step(), value(), 0usize..2, 0..40), 1..150),
        bound in 1usize..40,
    ) {
        let mut store = Store::new(bound);
        let mut histories = [History::default(), History::default()];
        let mut stages = [Stage::default(); 2];
        let mut models: [Vec<Sample>; 2] = Default::default();
        let (mut source, mut now, mut seqs) = (0i64, 0i64, [0; 2]);
        for (on, lag, value, at, clears) in steps {
            if clears == 0 {
                histories[at].clear(&mut stages[at], &mut store);
                (models[at], seqs[at]) = (Vec::new(), 0);
            }
            if clears == 1 {
                histories[at].touch(now, &mut store);
            }
            (source, now) = (source.wrapping_add(on), now.wrapping_add(lag));
            seqs[at] += 1;
            let sample = Sample { value, source_time: source, received_time: now, seq: seqs[at] };
            histories[at].insert(&sample, &mut stages[at], &mut store);
            prop_assert_eq!((histories[at].last_seq(), histories[at].touched()), (seqs[at], now));
            models[at].push(sample);
            models[at].sort_by_key(|sample| (sample.source_time, sample.seq));
            if models[at].len() > bound {
                models[at].remove(0);
            }
            for ((history, stage), model) in histories.iter().zip(&stages).zip(&models) {
                check(history, stage, &store, model)?;
            }
        }
        histories.iter_mut().zip(&mut stages).for_each(|(history, stage)| history.clear(stage, &mut store));
        prop_assert_eq!(store.spilled_now(), 0, "nothing stays behind");
    }
}

#[test]
fn a_number_in_order_needs_nothing_but_its_cell() {
    let mut store = Store::new(16);
    let (mut history, mut stage) = (History::default(), Stage::default());
    for seq in 1..100i64 {
        let hour = 3_600_000_000 * seq;
        let sample =
            Sample { value: Value::I64(seq), source_time: hour, received_time: hour + 40 * seq % 90, seq: seq as Seq };
        history.insert(&sample, &mut stage, &mut store);
        assert_eq!(store.spilled_now(), 0, "{seq}");
    }
    assert_eq!((size_of::<History>(), size_of::<Cell>()), (40, 16));
}

#[test]
fn a_reading_from_the_future_stays_newest_and_those_behind_it_are_kept() {
    let mut store = Store::new(4);
    let (mut history, mut stage) = (History::default(), Stage::default());
    for seq in 1..1000 {
        let source_time = if seq == 5 { Micros::MAX } else { seq };
        let value = Value::I64(seq);
        history.insert(&Sample { value, source_time, received_time: seq, seq: seq as Seq }, &mut stage, &mut store);
        assert_eq!(history.touched(), seq);
        assert!(store.spilled_now() <= 3, "{seq}");
    }
    let kept: Vec<_> = history.newest_first(&stage, &store).map(|sample| (sample.seq, sample.received_time)).collect();
    assert_eq!(kept, [(5, 5), (999, 999), (998, 998), (997, 997)]);
}
