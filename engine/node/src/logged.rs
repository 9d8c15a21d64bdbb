//! One thing that was logged, as values: what whoever binds the library to a language hands to that one's log.

use std::fmt::{self, Write};

use senza_core::Micros;
use senza_mesh::clock::{Clock, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

/// Bytes of text that a record keeps, all its fields together; what is cut off ends with `…`.
pub const TEXT_MAX: usize = 4_096;

/// One thing that was logged.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its level, target and place.
    pub about: &'static Metadata<'static>,
    /// When.
    pub time: Micros,
    /// The name of the thread that logged it.
    pub thread: Option<String>,
    /// What happened.
    pub message: String,
    /// What belongs to it, in order.
    pub fields: Vec<(&'static str, Shown)>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A number with a sign.
    Integer(i64),
    /// A number without.
    Natural(u64),
    /// A number with a fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Anything else, as it shows itself.
    Text(String),
}

// === impl Record ===

impl Record {
    /// What an event says, on the thread that logs it. What a field shows itself as is others' code, and may log: not to
    /// be called under a lock.
    pub fn of(event: &Event<'_>) -> Self {
        let mut written = Written { message: String::new(), fields: Vec::new(), left: TEXT_MAX };
        event.record(&mut written);
        Self {
            about: event.metadata(),
            time: SystemClock.now(),
            thread: std::thread::current().name().map(str::to_owned),
            message: written.message,
            fields: written.fields,
        }
    }
}

/// A record's message and fields as they are written, and how many bytes more may be.
struct Written {
    message: String,
    fields: Vec<(&'static str, Shown)>,
    left: usize,
}

impl Visit for Written {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded { text: String::new(), left: &mut self.left };
        // An error says that it was cut off, which its last character shows.
        let _cut_off = write!(text, "{value:?}");
        let text = text.text;
        if field.name() == "message" {
            self.message = text
        } else {
            self.fields.push((field.name(), Shown::Text(text)))
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), Shown::Integer(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), Shown::Natural(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), Shown::Float(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), Shown::Bool(value)));
    }
}

/// Text that ends with `…` where there is no room for more of it.
struct Bounded<'a> {
    text: String,
    left: &'a mut usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= *self.left {
            *self.left -= text.len();
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(&text[..text.floor_char_boundary(*self.left)]);
        self.text.push('…');
        *self.left = 0;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(Record::of(event));
        }
    }

    fn logged(log: impl FnOnce()) -> Vec<Record> {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), log);
        std::mem::take(&mut kept.0.lock())
    }

    #[test]
    fn a_record_has_its_message_and_its_fields_by_kind() {
        let node = "b";
        let records = logged(|| tracing::warn!(%node, natural = 7u64, integer = -7, float = 0.5, truth = true, "up"));
        let [record] = &records[..] else { panic!("one was logged: {records:?}") };
        assert_eq!((record.message.as_str(), record.about.target()), ("up", module_path!()));
        assert_eq!(
            record.fields,
            [
                ("node", Shown::Text("b".to_owned())),
                ("natural", Shown::Natural(7)),
                ("integer", Shown::Integer(-7)),
                ("float", Shown::Float(0.5)),
                ("truth", Shown::Bool(true)),
            ]
        );
    }

    #[test]
    fn text_of_all_fields_together_is_bounded() {
        let text = "ä".repeat(TEXT_MAX);
        let records = logged(|| tracing::info!(text, more = "more", "so"));
        let [(_, Shown::Text(text)), (_, Shown::Text(more))] = &records[0].fields[..] else { panic!("{records:?}") };
        assert_eq!(records[0].message.len() + text.len() + more.len(), TEXT_MAX + 2 * "…".len());
        assert!(text.ends_with("ä…") && more == "…");
    }
}
