//! `graygate override`: a signed word for a tester, and the link that sets it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use graygate_rules::decide::{Grant, OVERRIDE_PARAMETER, Overrides};
use graygate_rules::vocab::{Name, parse_duration};

use super::version_name;

/// Who gets which version, and for how long.
#[derive(Args, Debug)]
pub struct OverrideArguments {
    /// The file of keys that the proxies have
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    #[arg(long, value_parser = version_name)]
    version: Name,
    /// The services it is for, several with commas between them; without it all
    #[arg(long, value_name = "NAME", value_parser = version_name, value_delimiter = ',')]
    service: Vec<Name>,
    /// How long it holds, such as `2h`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasting: Duration,
    /// Who gets it, as `explain` names the holder
    #[arg(long, value_name = "HOLDER")]
    user: String,
    /// The page that the link opens
    #[arg(long)]
    url: Option<String>,
}

pub fn sign(arguments: OverrideArguments) -> anyhow::Result<ExitCode> {
    let OverrideArguments { secret_file, version, service, lasting, user, url } = arguments;
    let text = std::fs::read_to_string(&secret_file)
        .with_context(|| format!("reading `{}`", secret_file.display()))?;
    let overrides = Overrides::read(&text).with_context(|| format!("reading `{}`", secret_file.display()))?;
    let until = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.saturating_add(lasting);
    let expires = i64::try_from(until.as_secs())?;
    let word = overrides.sign(&Grant { version, services: service, expires, holder: user })?;
    println!("{word}");
    println!("{}", link(url.as_deref().unwrap_or_default(), &word));
    Ok(ExitCode::SUCCESS)
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).filter(|duration| !duration.is_zero());
    read.ok_or_else(|| "a duration is `30m`, `2h`, `7d`".into())
}

/// The page with the parameter behind its query, before a fragment.
fn link(url: &str, word: &str) -> String {
    let (page, fragment) = match url.split_once('#') {
        Some((page, fragment)) => (page, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let mark = if page.contains('?') { '&' } else { '?' };
    format!("{page}{mark}{OVERRIDE_PARAMETER}={word}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn the_parameter_goes_behind_the_query() {
        for (url, expected) in [
            ("", "?gg-override=w"),
            ("http://a/b", "http://a/b?gg-override=w"),
            ("http://a/b?c=d#e", "http://a/b?c=d&gg-override=w#e"),
        ] {
            assert_eq!(link(url, "w"), expected);
        }
    }
}
