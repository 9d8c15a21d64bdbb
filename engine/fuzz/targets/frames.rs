//! Frames of one link: several in a row, each behind its length in two bytes, with one dictionary.

#![no_main]

use libfuzzer_sys::fuzz_target;
use senza_core::frame::{Dictionary, read_all};
use senza_core::{Delivery, NodeName};

fuzz_target!(|bytes: &[u8]| {
    let node = NodeName::new("a").expect("a node's name");
    let (mut dictionary, mut rest) = (Dictionary::new(), bytes);
    while let Some((length, following)) = rest.split_first_chunk() {
        let (body, after) = following.split_at(usize::from(u16::from_le_bytes(*length)).min(following.len()));
        rest = after;
        for delivery in read_all(body, &node, &mut dictionary).unwrap_or_default() {
            if let Delivery::Reading(reading) | Delivery::Start(reading, _) = delivery {
                assert_eq!(reading.value.check(), Ok(()));
            }
        }
    }
});
