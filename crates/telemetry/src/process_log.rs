//! The process log: what operators read on stderr.
//!
//! Answers: which events are said, and in which form? Owns: the set-up of `tracing`, including what the framework
//! says through the `log` crate. Never: requests; they have the access log.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

/// Where operators say another filter than the configured one, for one start.
const FILTER_VARIABLE: &str = "GRAYGATE_LOG";

/// What is logged unless the operator asks for more.
///
/// The framework writes a line for every request that fails and for every handshake that breaks off. Strangers can
/// cause both at any rate, the access log and the counters have the requests already, and a line on stderr may block
/// a worker: these places are silent. The second also says when no more files can be opened, which
/// `graygate_connections` and `process_open_fds` show. A third says that a kept connection was just being closed when
/// it was wanted again: another one is opened, and on a busy machine that is many a second. What else the framework
/// calls an error is worth reading.
const DEFAULT_FILTER: &str = "warn,graygate=info,pingora_core=error,pingora_proxy=off,\
     pingora_core::services::listening=off,pingora_core::connectors=off";

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives as `tracing_subscriber::EnvFilter` reads them, `warn,graygate=debug`; the default where absent.
    pub filter: Option<String>,
}

/// What a level may be.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What a level can be set for, and what stands behind `graygate` in the names of the modules that are meant. `sources` and `proxy` are words of operators, older than
/// today's modules.
const ROOMS: [(&str, &str); 16] = [
    ("admin", "_proxy::admin"),
    ("commands", "::commands"),
    ("compile", "_rules::compile"),
    ("config", "::config"),
    ("control", "_control"),
    ("edge", "_proxy::edge"),
    ("judge", "_judge"),
    ("live", "_proxy::live"),
    ("node", "::node"),
    ("pools", "_proxy::pools"),
    ("proxy", "_proxy"),
    ("request", "_proxy::request"),
    ("rules", "_rules"),
    ("sources", "_store"),
    ("store", "_store"),
    ("telemetry", "_telemetry"),
];

impl LogSettings {
    /// Makes a filter of levels, `info,sources=debug`: the first word is for every room, the others for one.
    pub fn filter(levels: &str) -> Option<String> {
        let mut filter = DEFAULT_FILTER.to_owned();
        for word in levels.split(',').map(str::trim) {
            let (module, level) = match word.split_once('=') {
                Some((room, level)) => {
                    (ROOMS.iter().find(|(name, _)| *name == room).map(|(_, it)| *it), level)
                }
                None => (Some(""), word),
            };
            let module = module.filter(|_| LEVELS.contains(&level))?;
            filter.push_str(&format!(",graygate{module}={level}"));
        }
        Some(filter)
    }
}

#[derive(Error, Debug)]
pub enum LogError {
    #[error("`{text}` in {origin} is not a log filter: {cause}")]
    Filter {
        text: String,
        /// The setting or the environment variable it was read from.
        origin: &'static str,
        cause: String,
    },
    #[error("a log is running already")]
    Running,
}

/// Starts the log of this process; everything said before is lost.
pub fn start_log(settings: &LogSettings) -> Result<(), LogError> {
    let variable = std::env::var(FILTER_VARIABLE).ok();
    let filter = choose_filter(settings.filter.as_deref(), variable.as_deref())?;
    let builder = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say so on stderr, which is what has just failed, and panic when that fails too.
        .log_internal_errors(false);
    match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Running)
}

/// The environment before the setting before the default; an empty variable says nothing.
fn choose_filter(setting: Option<&str>, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let candidates =
        [(variable.unwrap_or_default(), FILTER_VARIABLE), (setting.unwrap_or_default(), "`log.level`")];
    let (text, origin) = candidates
        .into_iter()
        .find(|(text, _)| !text.trim().is_empty())
        .unwrap_or((DEFAULT_FILTER, "the default"));
    EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse(text)
        .map_err(|cause| LogError::Filter { text: text.to_owned(), origin, cause: cause.to_string() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check(filter: EnvFilter, expected: &[&str]) {
        let said = Said::default();
        let writer = said.clone();
        let subscriber = SubscriberBuilder::default()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_target(false)
            .with_level(false)
            .without_time()
            .with_ansi(false)
            .finish();
        with_default(subscriber, || {
            tracing::info!(target: "graygate_proxy::live", "own info");
            tracing::debug!(target: "graygate_proxy::live", "own debug");
            tracing::error!(target: "pingora_proxy", "failed request");
            tracing::error!(target: "pingora_core::services::listening", "failed handshake");
            tracing::error!(target: "pingora_core::connectors", "failed reuse");
            tracing::error!(target: "pingora_core::server", "failed bootstrap");
            tracing::warn!(target: "pingora_core::server", "framework warning");
            tracing::warn!(target: "notify", "library warning");
            tracing::info!(target: "notify", "library info");
        });
        let text = String::from_utf8(said.0.lock().clone()).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_default_says_what_operators_need() {
        check(choose_filter(None, Some(" ")).unwrap(), &["own info", "failed bootstrap", "library warning"]);
    }

    #[test]
    fn the_variable_overrules_the_setting() {
        let setting = Some("off,graygate=debug");
        check(choose_filter(setting, None).unwrap(), &["own info", "own debug"]);
        check(choose_filter(setting, Some("off,pingora_proxy=error")).unwrap(), &["failed request"]);
    }

    #[test]
    fn levels_are_of_all_rooms_or_of_one() {
        let filter = |levels| choose_filter(LogSettings::filter(levels).as_deref(), None).unwrap();
        check(filter("error"), &["failed bootstrap", "library warning"]);
        check(filter("info,live=debug"), &["own info", "own debug", "failed bootstrap", "library warning"]);
        check(filter("debug,live=off"), &["failed bootstrap", "library warning"]);
        for wrong in ["loud", "", "info,cellar=debug", "info,live", "pingora_proxy=error"] {
            assert_eq!(LogSettings::filter(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_filter_is_named_with_its_place() {
        let error = choose_filter(None, Some("graygate=loud")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`graygate=loud` in GRAYGATE_LOG is not a log filter: "), "{text}");
        assert!(choose_filter(Some("a=b=c"), None).is_err());
    }
}
