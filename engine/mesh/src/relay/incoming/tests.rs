//! What changes in the middle of a frame.

use std::cell::Cell;

use senza_core::frame::DeliveryWriter;
use senza_core::reading::{Reading, SeriesKind};
use senza_core::subscription::{Contract, Taken, Want};
use senza_core::{AttributeId, Delivery, NodeName, SensorType};

use super::*;

fn reading(attribute: &str) -> Delivery {
    let kind = SeriesKind {
        attribute: AttributeId::new(attribute).unwrap(),
        sensor_type: SensorType::default(),
        node: NodeName::new("b").unwrap(),
        lossless: false,
    };
    let series = Arc::new(Series::new(SensorId::new("s").unwrap(), 1, kind.into()));
    let value = Value::Text(attribute.into());
    Delivery::Reading(Reading { series, value, source_time: 0, received_time: 0, seq: 1 })
}

fn of(attribute: &str) -> Vec<(Filter, Want)> {
    let attributes = vec![AttributeId::new(attribute).unwrap()];
    vec![(Filter { attributes, ..Filter::all() }, Want::EVERY)]
}

/// A subscription turns from one series to another while a frame with rows of both is read: each row arrives under its
/// own series.
#[test]
fn a_row_on_its_way_keeps_its_series() {
    let fanout = Fanout::default();
    let subscription = Arc::new(Subscription::new(Contract::default()));
    let id = fanout.add(of("x"), subscription.clone()).unwrap();
    let turned = Cell::new(false);
    // Asked for each series at its first row: in between, the subscription is revised.
    let fenced = |series: &Series| {
        if series.attribute.as_str() == "y" && !turned.replace(true) {
            fanout.replace(id, of("z"));
        }
        false
    };
    let moves = Moves::default();
    moves.life_changed();
    let (time, clock) = (0, ClockOffset::default());
    let local = Local { fanout: &fanout, moves: &moves, fenced: &fenced, time, clock };

    let mut frame = Vec::new();
    let mut deliveries = ["x", "y", "x", "z"].map(reading);
    let Delivery::Reading(second) = &mut deliveries[2] else { unreachable!("a reading") };
    second.seq = 2;
    DeliveryWriter::default().write(&deliveries, 10_000, &mut frame);
    let mut incoming = Incoming::new(Life { node: NodeName::new("b").unwrap(), incarnation: 1 });
    incoming.frame(&frame, &local, 0).unwrap();

    let (mut taken, mut got) = (Taken::default(), Vec::new());
    subscription.take(&mut taken, 10);
    taken.drain(|item| got.push((item.series.attribute.to_string(), item.value)));
    let expected = ["x", "z"].map(|attribute| (attribute.to_owned(), Some(Value::Text(attribute.into()))));
    assert_eq!(got, expected);
}
