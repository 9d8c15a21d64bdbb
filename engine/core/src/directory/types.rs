//! The sensor types of the cluster, each stored once. They are few and never freed; reading them takes no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::TYPES_MAX;
use crate::error::{Error, Result};
use crate::hash::xxh64;
use crate::reading::SensorType;
use crate::sync::Mutex;

#[derive(Default)]
pub(super) struct Types {
    known: ArcSwap<Known>,
    /// Guards changes of `known`.
    change: Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    /// With the hash of the name that nodes agree on.
    list: Vec<(SensorType, u64)>,
    by_name: hashbrown::HashMap<SensorType, u16, foldhash::quality::RandomState>,
}

/// A type by its number, with the hash of its name that nodes agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) number: u16,
    pub(super) hash: u64,
}

/// The type asked for last: mostly that of the next claim too, which then costs one comparison.
#[derive(Debug, Default)]
pub(super) struct LastKind(Option<(SensorType, Kind)>);

impl LastKind {
    pub(super) fn get(&mut self, types: &Types, name: &SensorType) -> Result<Kind> {
        match &self.0 {
            Some((last, kind)) if last == name => Ok(*kind),
            _ => {
                let kind = types.intern(name.as_str())?;
                Ok(self.0.insert((name.clone(), kind)).1)
            }
        }
    }
}

impl Types {
    pub(super) fn get(&self, number: u16) -> SensorType {
        self.known.load().list.get(usize::from(number)).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    pub(super) fn hash(&self, number: u16) -> u64 {
        self.known.load().list.get(usize::from(number)).map_or(0, |(_, hash)| *hash)
    }

    pub(super) fn intern(&self, name: &str) -> Result<Kind> {
        let known = self.known.load();
        if let Some(number) = known.by_name.get(name) {
            return Ok(Kind { number: *number, hash: known.list[usize::from(*number)].1 });
        }
        drop(known);
        self.add(name)
    }

    #[cold]
    fn add(&self, name: &str) -> Result<Kind> {
        let _guard = self.change.lock();
        let mut known = Known::clone(&self.known.load());
        let hash = xxh64(name.as_bytes());
        if let Some(number) = known.by_name.get(name) {
            return Ok(Kind { number: *number, hash });
        }
        if known.list.len() >= TYPES_MAX {
            return Err(Error::Full { what: "sensor types", max: TYPES_MAX });
        }
        let sensor_type = SensorType::new(name)?;
        let number = known.list.len() as u16;
        known.by_name.insert(sensor_type.clone(), number);
        known.list.push((sensor_type, hash));
        self.known.store(Arc::new(known));
        Ok(Kind { number, hash })
    }
}
