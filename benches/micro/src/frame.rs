//! Frames: rows ⇄ bytes, where the other side knows the series, and where it is told them.

use std::hint::black_box;
use std::sync::Arc;

use senza_core::frame::{Frame, FrameWriter};
use senza_core::history::Sample;
use senza_core::row::Row;
use senza_core::subscription::Item;
use senza_core::{NodeName, Seq, Series, Value};

use crate::{Case, life, series};

/// The sending side of a link, and a row of each series.
struct Written {
    writer: FrameWriter,
    series: Vec<Arc<Series>>,
    value: Value,
    seq: Seq,
    out: Vec<u8>,
    node: NodeName,
}

pub(crate) fn cases() -> Vec<Case> {
    let numbers = || Written::new(Value::F64(0.5));
    let texts = || Written::new(Value::Text("in order".into()));
    vec![
        Case::prepared("frame: write", numbers, Written::next, |frame, ()| frame.write()),
        Case::prepared("frame: write, with the series", numbers, Written::anew, |frame, ()| frame.write()),
        Case::prepared("frame: write texts", texts, Written::next, |frame, ()| frame.write()),
        Case::prepared("frame: read", numbers, Written::written, |frame, ()| frame.read()),
        Case::prepared("frame: read, with the series", numbers, Written::written_anew, |frame, ()| frame.read()),
        Case::prepared("frame: read texts", texts, Written::written, |frame, ()| frame.read()),
    ]
}

impl Written {
    fn new(value: Value) -> Self {
        let writer = FrameWriter::starting_at(1);
        let mut frame =
            Self { writer, series: series(|_| "imu"), value, seq: 0, out: Vec::new(), node: life("a").node };
        frame.next();
        frame.write();
        frame
    }

    fn next(&mut self) {
        self.seq += 1;
        self.out.clear();
    }

    fn anew(&mut self) {
        self.next();
        self.writer = FrameWriter::starting_at(1);
    }

    fn written(&mut self) {
        self.next();
        self.write();
    }

    fn written_anew(&mut self) {
        self.anew();
        self.write();
    }

    fn write(&mut self) {
        for (number, series) in (0..).zip(&self.series) {
            let value = self.value.clone();
            // Times differ from row to row, as they do.
            let time = 1_795_000_000_000_000 + i64::from(number);
            let sample = Sample { value, source_time: time, received_time: time + 100, seq: self.seq };
            let row = Row::reading(number, &sample);
            self.writer.add(&Item { series, row, value: Some(sample.value), position: None });
        }
        self.writer.finish(1_795_000_000_100_000, &mut self.out);
    }

    fn read(&mut self) -> Seq {
        let frame = Frame::parse(&self.out, &self.node).expect("it was written here");
        assert_eq!(frame.len(), self.series.len());
        let mut sum: Seq = 0;
        let visit = |row: Row, value: Option<Value>| {
            black_box(&value);
            sum = sum.wrapping_add(black_box(row).seq);
        };
        frame.rows(visit).expect("it was written here");
        sum
    }
}
