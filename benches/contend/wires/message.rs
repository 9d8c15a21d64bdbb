//! What a message of a rival holds: one reading beside its topic, or many that name their sensors.
//!
//! Knows no protocol. A reading is its number and its time, eight bytes each, little-endian, and its value; where a
//! message carries many, each stands behind its sensor's number of four bytes.

use super::{Came, Put, Shape};

/// What stands before a value.
pub(super) const HEAD: usize = 16;

/// Makes messages of readings.
pub(super) struct Packer {
    value: Vec<u8>,
    batch: usize,
    open: Vec<u8>,
    count: usize,
}

impl Packer {
    pub(super) fn new(shape: &Shape) -> Self {
        let Shape { bytes, batch, .. } = *shape;
        assert!(bytes >= 8, "a value is at least a number");
        Self { value: vec![0x5a; bytes], batch, open: Vec::new(), count: 0 }
    }

    /// Whether each reading is a message of its own.
    pub(super) fn is_single(&self) -> bool {
        self.batch == 1
    }

    /// Bytes of one reading without its sensor.
    pub(super) fn len(&self) -> usize {
        HEAD + self.value.len()
    }

    /// Writes one reading without its sensor.
    pub(super) fn write(&mut self, put: &Put, out: &mut Vec<u8>) {
        out.extend_from_slice(&put.seq.to_le_bytes());
        out.extend_from_slice(&put.at_us.to_le_bytes());
        self.value[..8].copy_from_slice(&(put.seq as f64).to_le_bytes());
        out.extend_from_slice(&self.value);
    }

    /// Adds a reading to the open message; answers whether that is full.
    pub(super) fn add(&mut self, put: &Put) -> bool {
        let mut open = std::mem::take(&mut self.open);
        open.extend_from_slice(&put.sensor.to_le_bytes());
        self.write(put, &mut open);
        self.open = open;
        self.count += 1;
        self.count == self.batch
    }

    /// The open message, where there is one; the next begins.
    pub(super) fn close(&mut self) -> Option<Closed<'_>> {
        (std::mem::take(&mut self.count) > 0).then_some(Closed(&mut self.open))
    }
}

/// A message that is ready. Dropping it makes room for the next.
pub(super) struct Closed<'a>(&'a mut Vec<u8>);

impl std::ops::Deref for Closed<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Reads messages of readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker {
    len: usize,
}

impl Unpacker {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { len: HEAD + shape.bytes }
    }

    /// The reading of a message that carries one.
    pub(super) fn one(&self, sensor: u32, message: &[u8]) -> Came {
        assert_eq!(message.len(), self.len, "a reading of sensor {sensor} has another length");
        let (seq, rest) = message.split_first_chunk().expect("it is long enough");
        let at_us = rest.first_chunk().expect("it is long enough");
        Came::Reading { sensor, seq: u64::from_le_bytes(*seq), at_us: i64::from_le_bytes(*at_us) }
    }

    /// Those of one that carries many.
    pub(super) fn many(&self, message: &[u8], mut each: impl FnMut(Came)) {
        let readings = message.chunks_exact(4 + self.len);
        assert!(readings.remainder().is_empty(), "a message of {} bytes is cut", message.len());
        for reading in readings {
            let (sensor, rest) = reading.split_first_chunk().expect("it is long enough");
            each(self.one(u32::from_le_bytes(*sensor), rest));
        }
    }
}

/// The number at the end of a topic, `r.17`.
pub(super) fn sensor_of(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Writes a number in decimal.
pub(super) fn write_number(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}
