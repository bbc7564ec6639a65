//! Logs and metrics.

mod listener;
mod log;
pub mod meters;

pub use listener::listen;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config;

/// Where logs and metrics go. The default goes nowhere, for tests.
#[derive(Default)]
pub struct Telemetry {
    log: Option<log::LevelHandle>,
    metrics: Option<PrometheusHandle>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// From a warm look-up to one that waited for a busy directory, in seconds.
const BUCKETS: [f64; 12] = [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0];

impl Telemetry {
    /// Installs both for the whole process.
    ///
    /// # Errors
    /// They are installed already, or journald was asked for and is not there.
    pub fn install(config: &config::Log) -> Result<Self, String> {
        let log = log::install(config)?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| format!("cannot set up metrics: {error}"))?;
        Ok(Self { log: Some(log), metrics: Some(metrics) })
    }

    /// Logs more or less from now on.
    pub fn set_level(&self, level: config::LogLevel) {
        if let Some(log) = &self.log {
            log::set_level(log, level);
        }
    }

    /// The text of all metrics, these gauges included.
    #[must_use]
    pub fn render(&self, gauges: &[(&'static str, f64)]) -> String {
        for (name, value) in gauges {
            gauge!(*name).set(*value);
        }
        self.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Folds samples that have been recorded; call it every few seconds, or they pile up until somebody reads.
    pub fn upkeep(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.run_upkeep();
        }
    }
}
