//! The real sensors of this machine: processors, memory, load, disks, network, temperatures where there are any.

use std::sync::Arc;

use senza_core::Micros;
use serde_json::json;
use sysinfo::{Components, Disks, Networks, System};

use super::{Feed, FeedReading, FeedSensor};

/// How often everything is read: what the operating system's own counters allow.
const PERIOD_US: Micros = 200_000;

/// This machine as a feed.
pub struct SystemFeed {
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    sensors: Vec<FeedSensor>,
    next: Micros,
    /// When the network's counters were read before.
    before: Micros,
}

impl SystemFeed {
    /// Looks what this machine has. Things that come later are not carried.
    pub fn new() -> Self {
        let mut system = System::new();
        system.refresh_cpu_all();
        system.refresh_memory();
        let mut feed = Self {
            system,
            disks: Disks::new_with_refreshed_list(),
            networks: Networks::new_with_refreshed_list(),
            components: Components::new_with_refreshed_list(),
            sensors: Vec::new(),
            next: 0,
            before: 0,
        };
        // What is there shows in a first reading of everything.
        feed.sensors = feed.read(1.0).into_iter().map(|(sensor, _)| sensor).collect();
        feed
    }

    fn read(&self, seconds: f64) -> Vec<(FeedSensor, Vec<(&'static str, f64)>)> {
        let host = System::host_name().unwrap_or_else(|| "host".to_owned());
        let sensor = |path: String, sensor_type, units| FeedSensor {
            id: format!("{host}/{path}"),
            sensor_type,
            meta: json!({ "host": host, "units": units }),
        };
        let mut read = Vec::new();
        for (at, cpu) in self.system.cpus().iter().enumerate() {
            let values = vec![("usage_percent", f64::from(cpu.cpu_usage())), ("frequency_mhz", cpu.frequency() as f64)];
            read.push((
                sensor(format!("cpu/{at}"), "cpu", json!({ "usage_percent": "%", "frequency_mhz": "MHz" })),
                values,
            ));
        }
        let memory = vec![
            ("used_bytes", self.system.used_memory() as f64),
            ("available_bytes", self.system.available_memory() as f64),
            ("swap_used_bytes", self.system.used_swap() as f64),
        ];
        read.push((sensor("memory".to_owned(), "memory", json!("B")), memory));
        let load = System::load_average();
        let load = vec![("one_minute", load.one), ("five_minutes", load.five), ("fifteen_minutes", load.fifteen)];
        read.push((sensor("load".to_owned(), "load", json!("processes")), load));
        for disk in self.disks.list() {
            let path = format!("disk{}", disk.mount_point().display());
            let values =
                vec![("available_bytes", disk.available_space() as f64), ("total_bytes", disk.total_space() as f64)];
            if !read.iter().any(|(known, _): &(FeedSensor, _)| known.id == format!("{host}/{path}")) {
                read.push((sensor(path, "disk", json!("B")), values));
            }
        }
        let mut networks: Vec<_> = self.networks.iter().collect();
        networks.sort_by_key(|(name, _)| name.as_str());
        for (name, network) in networks {
            let values = vec![
                ("received_bytes_per_s", network.received() as f64 / seconds),
                ("sent_bytes_per_s", network.transmitted() as f64 / seconds),
            ];
            read.push((sensor(format!("network/{name}"), "network", json!("B/s")), values));
        }
        for component in self.components.list() {
            if let Some(celsius) = component.temperature() {
                let path = format!("temperature/{}", component.label());
                read.push((sensor(path, "temperature", json!("Cel")), vec![("celsius", f64::from(celsius))]));
            }
        }
        read
    }
}

impl Default for SystemFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed for SystemFeed {
    fn sensors(&self) -> &[FeedSensor] {
        &self.sensors
    }

    fn poll(&mut self, now: Micros, out: &mut Vec<FeedReading>) -> Micros {
        if now < self.next {
            return self.next;
        }
        self.next = now + PERIOD_US;
        self.system.refresh_cpu_all();
        self.system.refresh_memory();
        self.disks.refresh(false);
        self.networks.refresh(false);
        self.components.refresh(false);
        let seconds = ((now - std::mem::replace(&mut self.before, now)) as f64 / 1e6).clamp(0.01, 60.0);
        for (sensor, values) in self.read(seconds) {
            let Some(at) = self.sensors.iter().position(|known| known.id == sensor.id) else { continue };
            for (attribute, value) in values {
                out.push(FeedReading { sensor: at, attribute: Arc::from(attribute), value, source_time: now });
            }
        }
        self.next
    }

    fn about(&self) -> String {
        format!("this machine's own sensors ({}), five times a second", self.sensors.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_795_000_000_000_000;

    #[test]
    fn a_machine_has_processors_and_memory_read_at_their_time() {
        let mut feed = SystemFeed::new();
        let types: Vec<&str> = feed.sensors().iter().map(|sensor| sensor.sensor_type).collect();
        assert!(types.contains(&"cpu") && types.contains(&"memory"), "{types:?}");
        let mut out = Vec::new();
        let next = feed.poll(NOW, &mut out);
        assert!(out.len() >= feed.sensors().len());
        assert!(out.iter().all(|reading| reading.source_time == NOW && reading.value.is_finite()));
        let memory = feed.sensors().iter().position(|sensor| sensor.sensor_type == "memory").unwrap();
        let used = out.iter().find(|r| r.sensor == memory && &*r.attribute == "used_bytes").unwrap();
        assert!(used.value > 1e6, "{}", used.value);
        out.clear();
        assert_eq!(feed.poll(NOW + 1, &mut out), next);
        assert!(out.is_empty(), "nothing is due twice");
    }
}
