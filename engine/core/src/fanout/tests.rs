//! Subscriptions reach the series they match, whenever they come, once.

use super::*;
use crate::reading::{AttributeId, Delivery, NodeName, SensorType, SeriesKind, Value};
use crate::subscription::{Contract, Taken};

fn series(sensor: &str) -> Arc<Series> {
    let kind = SeriesKind {
        attribute: AttributeId::new("x").unwrap(),
        sensor_type: SensorType::default(),
        node: NodeName::new("a").unwrap(),
        lossless: false,
    };
    Arc::new(Series::new(SensorId::new(sensor).unwrap(), 1, kind.into()))
}

fn sample(seq: u64) -> Sample {
    Sample { value: Value::I64(0), source_time: 0, received_time: 0, seq }
}

fn subscription() -> Arc<Subscription> {
    Arc::new(Subscription::new(Contract::default()))
}

fn every(filter: Filter) -> Vec<Wanted> {
    vec![(filter, Want::EVERY)]
}

fn seqs(subscription: &Subscription, taken: &mut Taken) -> Vec<u64> {
    let mut out = Vec::new();
    subscription.take(taken, 100);
    taken.deliveries(&mut out);
    out.iter().map(|delivery| if let Delivery::Reading(reading) = delivery { reading.seq } else { 0 }).collect()
}

#[test]
fn broad_subscriptions_reach_series_resolved_before_them() {
    let fanout = Fanout::default();
    let (series, mut watchers) = (series("s"), Watchers::default());
    fanout.deliver(&series, &sample(1), &mut watchers, 0);
    let reader = subscription();
    let id = fanout.add(every(Filter::all()), reader.clone()).unwrap();
    fanout.deliver(&series, &sample(2), &mut watchers, 0);
    assert!(fanout.remove(id));
    fanout.deliver(&series, &sample(3), &mut watchers, 0);
    assert_eq!(seqs(&reader, &mut Taken::default()), [2]);
    assert!(reader.is_closed() && fanout.is_empty() && !fanout.remove(id));
}

#[test]
fn narrow_subscriptions_disturb_no_other_series() {
    let fanout = Fanout::default();
    let (s, t) = (series("s"), series("t"));
    let (mut of_s, mut of_t) = (Watchers::default(), Watchers::default());
    fanout.deliver(&s, &sample(1), &mut of_s, 0);
    fanout.deliver(&t, &sample(1), &mut of_t, 0);
    let resolved_at = of_t.generation;
    let (reader, mut taken) = (subscription(), Taken::default());
    let id = fanout.add(every(Filter::sensor(s.sensor.clone())), reader.clone()).unwrap();
    assert_eq!(fanout.named_sensors(id), vec![s.sensor.clone()]);
    of_s.reset();
    fanout.deliver(&s, &sample(2), &mut of_s, 0);
    fanout.deliver(&t, &sample(2), &mut of_t, 0);
    assert_eq!(of_t.generation, resolved_at);
    assert_eq!(seqs(&reader, &mut taken), [2]);
    assert!(fanout.replace(id, every(Filter::sensor(t.sensor.clone()))));
    of_s.reset();
    of_t.reset();
    fanout.deliver(&s, &sample(3), &mut of_s, 0);
    fanout.deliver(&t, &sample(3), &mut of_t, 0);
    assert_eq!(seqs(&reader, &mut taken), [3]);
}

#[test]
fn a_subscription_with_overlapping_filters_gets_a_reading_once_and_as_often_as_any_asks() {
    let fanout = Fanout::default();
    let (series, reader) = (series("s"), subscription());
    let slow = Want { pace: Pace::Interval(1_000_000), ..Want::EVERY };
    let wanted = vec![(Filter::all(), slow), (Filter::sensor(series.sensor.clone()), Want::EVERY)];
    fanout.add(wanted, reader.clone()).unwrap();
    let mut watchers = Watchers::default();
    (1..4).for_each(|seq| fanout.deliver(&series, &sample(seq), &mut watchers, 0));
    assert_eq!(seqs(&reader, &mut Taken::default()), [1, 2, 3]);
    assert_eq!(fanout.demand(&series, &mut watchers), Some(Want::EVERY));
}

#[test]
fn a_series_catches_up_with_what_changed_alone() {
    let fanout = Fanout::default();
    let (series, mut watchers) = (series("s"), Watchers::default());
    let readers: Vec<_> = (0..3).map(|_| subscription()).collect();
    let mut taken: Vec<Taken> = (0..3).map(|_| Taken::default()).collect();
    let mut ids = Vec::new();
    for (seq, reader) in (1..).zip(&readers) {
        ids.push(fanout.add(every(Filter::all()), reader.clone()).unwrap());
        fanout.deliver(&series, &sample(seq), &mut watchers, 0);
    }
    let numbers: Vec<_> = readers.iter().map(|reader| watchers.number_in(reader)).collect();
    fanout.remove(ids[1]);
    fanout.replace(ids[0], every(Filter::pattern("other/**").unwrap()));
    fanout.deliver(&series, &sample(4), &mut watchers, 0);
    let got: Vec<_> = readers.iter().zip(&mut taken).map(|(reader, taken)| seqs(reader, taken)).collect();
    assert_eq!(got, [vec![1, 2, 3], vec![2, 3], vec![3, 4]]);
    assert_eq!(watchers.number_in(&readers[2]), numbers[2], "its place stays");
    // More changes than are remembered: everything is held against it anew.
    (0..LOG_MAX).for_each(|_| {
        fanout.replace(ids[0], every(Filter::all()));
    });
    fanout.deliver(&series, &sample(5), &mut watchers, 0);
    assert_eq!(seqs(&readers[0], &mut taken[0]), [5]);
}

#[test]
fn an_outbox_keeps_the_order_of_every_queue_however_many_there_are() {
    let fanout = Fanout::default();
    let all: Vec<_> = (0..40).map(|n| series(&format!("s{n}"))).collect();
    let readers: Vec<_> = (0..40).map(|_| subscription()).collect();
    for (series, reader) in all.iter().zip(&readers) {
        fanout.add(every(Filter::sensor(series.sensor.clone())), reader.clone()).unwrap();
    }
    let everything = subscription();
    fanout.add(every(Filter::all()), everything.clone()).unwrap();
    let mut watchers: Vec<_> = (0..40).map(|_| Watchers::default()).collect();
    let mut outbox = Outbox::default();
    outbox.begin(0);
    for seq in 1..=5 {
        for (series, watchers) in all.iter().zip(&mut watchers) {
            fanout.collect(series, &sample(seq), watchers, &mut outbox);
        }
    }
    outbox.flush();
    for reader in &readers {
        assert_eq!(seqs(reader, &mut Taken::default()), [1, 2, 3, 4, 5]);
    }
    let mut taken = Taken::default();
    everything.take(&mut taken, usize::MAX);
    let mut next = std::collections::HashMap::new();
    taken.drain(|item| {
        let expected = next.entry(item.series.sensor.clone()).or_insert(1);
        assert_eq!(item.row.seq, *expected);
        *expected += 1;
    });
    assert_eq!(next.len(), 40);
}

#[test]
fn a_series_that_ends_gives_its_number_back_once_it_was_read() {
    let fanout = Fanout::default();
    let (reader, mut taken) = (subscription(), Taken::default());
    fanout.add(every(Filter::all()), reader.clone()).unwrap();
    for round in 1..100 {
        let (series, mut watchers) = (series(&format!("s{round}")), Watchers::default());
        fanout.deliver(&series, &sample(round), &mut watchers, 0);
        assert!(watchers.list()[0].series() <= 2, "numbers are used again");
        drop(watchers);
        if round % 2 == 0 {
            reader.take(&mut taken, 100);
            let mut got = Vec::new();
            taken.drain(|item| got.push((item.series.sensor.to_string(), item.row.seq)));
            let expected = [round - 1, round].map(|round| (format!("s{round}"), round));
            assert_eq!(got, expected);
        }
    }
}
