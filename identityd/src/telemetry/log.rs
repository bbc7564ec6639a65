//! Where logs go: journald's native protocol, text or JSON on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

pub(super) type LevelHandle = reload::Handle<Targets, Registry>;

pub(super) fn install(config: &Log) -> Result<LevelHandle, String> {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let text = || fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let layer: Box<dyn Layer<_> + Send + Sync> = match config.format {
        LogFormat::Text => text().boxed(),
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .map_err(|error| format!("journald was asked for in [log] and is not there: {error}"))?
            .boxed(),
        // systemd says so when standard error goes to the journal (systemd.exec(5), JOURNAL_STREAM).
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => {
            tracing_journald::layer().map_or_else(|_| text().boxed(), Layer::boxed)
        }
        LogFormat::Auto => text().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|error| format!("cannot set up the log: {error}"))?;
    Ok(handle)
}

pub(super) fn set_level(handle: &LevelHandle, level: LogLevel) {
    let _ = handle.reload(targets(level));
}

/// Libraries speak only when something is wrong: at `debug`, sqlx would print every statement.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("identityd", level)
}
