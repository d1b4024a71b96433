//! Counters, gauges and histograms under their Prometheus names, and their text.
//!
//! The registry is `prometheus-client`'s; this page adds what we need of it in one place. Handles
//! are cached by whoever counts: a lookup by label costs ten times the count itself.

use std::sync::Arc;

use parking_lot::Mutex;
pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// All metrics of one program. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Adds a metric under `name`; counters get `_total` added by the format.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.0.lock().register(name, help, metric);
    }

    /// Adds something that is asked for its values at each scrape.
    pub fn register_collector(&self, collector: Box<dyn Collector>) {
        self.0.lock().register_collector(collector);
    }

    /// The text a scraper reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.0.lock()) {
            Ok(()) => text,
            // Writing to a String fails only where a metric's own encoder does.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
