//! Control messages: what is accepted is written again byte for byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use senza_core::codec::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok((incarnation, message)) = decode(bytes) {
        assert_eq!(encode(incarnation, &message), bytes);
    }
});
