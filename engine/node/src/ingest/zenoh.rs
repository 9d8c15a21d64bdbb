//! The Zenoh front door: puts and deletes below `in/<node>/`, acknowledged where they come as queries.

use senza_core::{AttributeId, Micros, SensorId, key};

use super::Admission;
use super::payload::{PayloadError, decode_many, decode_one};

/// Takes one put; `path` is `<sensor>` or `<sensor>/<attribute>` as it stands in the key. Answers the seq of its last
/// reading.
///
/// # Errors
/// [`PayloadError`] for a bad path, payload or bound; the caller counts it.
pub fn put(
    admission: &Admission,
    path: &str,
    encoding: &str,
    payload: &[u8],
    now: Micros,
) -> Result<u64, PayloadError> {
    let (sensor, attribute) = parse(path)?;
    let readings = match attribute {
        Some(attribute) => vec![(attribute, decode_one(encoding, payload)?)],
        None => decode_many(encoding, sensor.as_str(), payload, now)?,
    };
    admission.admit(&sensor, readings)
}

/// Takes one delete: of a sensor, not of an attribute. Answers whether it was registered here.
///
/// # Errors
/// As [`put`].
pub fn delete(admission: &Admission, path: &str) -> Result<bool, PayloadError> {
    match parse(path)? {
        (sensor, None) => Ok(admission.unregister(&sensor)),
        (_, Some(_)) => Err(PayloadError::rule(path, "a delete names a sensor, not an attribute")),
    }
}

/// The sensor, and the attribute if there is one, of a path below `in/<node>/`.
///
/// # Errors
/// As [`put`].
pub fn parse(path: &str) -> Result<(SensorId, Option<AttributeId>), PayloadError> {
    let (sensor, attribute) = match path.split_once('/') {
        None => (path, None),
        Some((sensor, attribute)) if !attribute.contains('/') => (sensor, Some(attribute)),
        Some(_) => return Err(PayloadError::rule(path, "must be <sensor> or <sensor>/<attribute>; encode / as %2F")),
    };
    let sensor = SensorId::new(key::decode_chunk(sensor)?)?;
    let attribute = attribute.map(|chunk| Ok::<_, PayloadError>(AttributeId::new(key::decode_chunk(chunk)?)?));
    Ok((sensor, attribute.transpose()?))
}
