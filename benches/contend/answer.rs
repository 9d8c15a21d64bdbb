//! What a measurement is asked and what it answers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::{Map, Value as Json, json};

/// The parameters of a scenario, by name.
pub(crate) struct Params {
    named: BTreeMap<String, String>,
    /// Which were asked for: one that nobody asks for is a mistake in the scenario.
    touched: RefCell<BTreeSet<String>>,
}

impl Params {
    /// Reads `name=value` words; answers the first that is none.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let split = |word: &String| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).ok_or(word.clone());
        Ok(Self { named: words.iter().map(split).collect::<Result<_, _>>()?, touched: RefCell::default() })
    }

    /// The value of a parameter, or what holds where it is not given.
    ///
    /// # Panics
    ///
    /// Where the value is of another kind.
    pub(crate) fn get<T: FromStr>(&self, name: &str, otherwise: T) -> T {
        self.touched.borrow_mut().insert(name.to_owned());
        let parsed = |value: &String| value.parse().unwrap_or_else(|_| panic!("{name}={value} is of another kind"));
        self.named.get(name).map_or(otherwise, parsed)
    }

    /// A given parameter that nothing asked for.
    pub(crate) fn untouched(&self) -> Option<&str> {
        self.named.keys().find(|name| !self.touched.borrow().contains(*name)).map(String::as_str)
    }

    /// For how long to measure, seconds (`seconds=`, 1 by default).
    pub(crate) fn seconds(&self) -> f64 {
        self.get("seconds", 1.0)
    }
}

/// The numbers of one measurement, and what became of everything that was offered in it.
#[derive(Default)]
pub(crate) struct Answer {
    metrics: BTreeMap<String, f64>,
    account: Option<Account>,
    details: Map<String, Json>,
}

/// What became of what was offered: `offered = arrived + told + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// What was put, times its receivers.
    pub(crate) offered: u64,
    /// What came, once each, in order.
    pub(crate) arrived: u64,
    /// What did not come, and its receiver was told which (a gap, a conflation by contract).
    pub(crate) told: u64,
    /// What did not come without a word.
    pub(crate) lost: u64,
}

impl Answer {
    /// Adds a number; its name ends with its unit: `readings_per_s`, `p99_us`, `bytes_per_sensor`.
    #[must_use]
    pub(crate) fn metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    /// Says what became of what was offered.
    ///
    /// # Panics
    ///
    /// Where that does not add up: then the measurement is wrong.
    #[must_use]
    pub(crate) fn account(mut self, account: Account) -> Self {
        let Account { offered, arrived, told, lost } = account;
        assert_eq!(offered, arrived + told + lost, "{account:?} does not add up");
        self.account = Some(account);
        self
    }

    /// Adds something that is no number of its own: a histogram, a curve, what was configured.
    #[must_use]
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The one JSON object.
    pub(crate) fn told(&self) -> Json {
        let account = self.account.map(
            |Account { offered, arrived, told, lost }| json!({ "offered": offered, "arrived": arrived, "told": told, "lost": lost }),
        );
        json!({ "metrics": self.metrics, "account": account, "details": self.details })
    }
}
