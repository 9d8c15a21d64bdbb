//! Sensors that this node lost to another lately: whose late readings to refuse, and which ones go to and fro.

use std::collections::VecDeque;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use senza_core::{Epoch, Micros, NodeName, SensorId};

/// Losses remembered; the oldest give way.
pub const LOSSES_MAX: usize = 100_000;
/// How long a loss is remembered, and within which losses of one sensor are counted, microseconds.
pub const LOSS_MEMORY_US: Micros = 60_000_000;
/// A sensor that this node lost so often within that time is flapping.
pub const FLAPPING_LOSSES: u32 = 3;

/// A sensor that was taken over by another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Which sensor.
    pub sensor: SensorId,
    /// This node's claim that was beaten.
    pub epoch: Epoch,
    /// Who took it.
    pub winner: NodeName,
    /// When this node heard of it, microseconds since 1970.
    pub at: Micros,
    /// How often it was lost here within the last minute.
    pub times: u32,
}

/// Times here are of the clock that never goes back, but for [`Lost::at`].
#[derive(Default)]
pub(super) struct Losses {
    by_sensor: HashMap<SensorId, (Micros, Lost), RandomState>,
    /// In order of time; an entry whose time is not the sensor's last is passed over.
    order: VecDeque<(Micros, SensorId)>,
}

impl Losses {
    pub(super) fn add(&mut self, sensor: &SensorId, claim: (Epoch, &NodeName), at: Micros, steady: Micros) -> Lost {
        self.forget(steady);
        let times = self.by_sensor.get(sensor).map_or(0, |(_, lost)| lost.times) + 1;
        let lost = Lost { sensor: sensor.clone(), epoch: claim.0, winner: claim.1.clone(), at, times };
        self.by_sensor.insert(sensor.clone(), (steady, lost.clone()));
        self.order.push_back((steady, sensor.clone()));
        lost
    }

    /// When a sensor was last lost.
    pub(super) fn lost_at(&self, sensor: &str) -> Option<Micros> {
        self.by_sensor.get(sensor).map(|(steady, _)| *steady)
    }

    /// Sensors lost so often lately that two devices seem to fight over each.
    pub(super) fn flapping(&self, steady: Micros) -> Vec<Lost> {
        let is_recent = |(at, lost): &&(Micros, Lost)| lost.times >= FLAPPING_LOSSES && steady - at < LOSS_MEMORY_US;
        let mut flapping: Vec<Lost> = self.by_sensor.values().filter(is_recent).map(|(_, lost)| lost.clone()).collect();
        flapping.sort_unstable_by(|a, b| a.sensor.cmp(&b.sensor));
        flapping
    }

    fn forget(&mut self, steady: Micros) {
        while let Some((at, sensor)) = self.order.front() {
            if steady - at < LOSS_MEMORY_US && self.order.len() < LOSSES_MAX {
                return;
            }
            if self.by_sensor.get(sensor).is_some_and(|(last, _)| last == at) {
                self.by_sensor.remove(sensor);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_within_their_minute_and_bounded() {
        let (mut losses, sensor) = (Losses::default(), SensorId::new("s").unwrap());
        let winner = NodeName::new("b").unwrap();
        for second in 0..3 {
            losses.add(&sensor, (1, &winner), 7, second * 1_000_000);
        }
        assert_eq!(losses.flapping(2_000_000).len(), 1);
        assert!(losses.flapping(70_000_000).is_empty());
        assert_eq!(losses.add(&sensor, (1, &winner), 7, 90_000_000).times, 1, "what is over is not counted");
        for number in 0..LOSSES_MAX + 10 {
            losses.add(&SensorId::new(format!("n{number}")).unwrap(), (1, &winner), 7, 90_000_001);
        }
        assert!(losses.by_sensor.len() <= LOSSES_MAX && losses.order.len() <= LOSSES_MAX);
    }
}
