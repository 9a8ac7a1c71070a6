//! One try to get notices to one channel.
//!
//! Owns: connecting, time limits, secrets as their files say now, and whether it was taken. Addresses come from
//! control.yaml alone, redirects are not followed, and what the other side says is neither logged nor kept.

use std::path::Path;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use time::OffsetDateTime;

use super::chat;
use super::notice::Notice;
use super::post::post;
use super::wording::Letter;
use crate::settings::{Channel, ChannelKind, Mail, MailSecurity, Webhook};

/// A whole try, connecting included.
const TRY: Duration = Duration::from_secs(15);

/// Why a try failed.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nothing else would get there either.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It was understood and not taken.
    #[error("{0}")]
    Refused(String),
}

/// Sends one notice to one channel, in its language; no one tries again.
pub async fn try_once(
    channel: &Channel,
    notice: &Notice,
    (base, audit): (&str, &str),
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let letter = Letter { notice, base, audit, tongue: channel.tongue };
    send(channel, &[letter], now).await
}

/// Sends; the letters are as many as go into one message.
pub async fn send(channel: &Channel, letters: &[Letter<'_>], now: OffsetDateTime) -> Result<(), Failure> {
    let ca = channel.ca.as_deref();
    let tried = tokio::time::timeout(TRY, async {
        match &channel.kind {
            ChannelKind::Mail(mail) => {
                for letter in letters {
                    send_mail(mail, letter, ca).await?;
                }
                Ok(())
            }
            ChannelKind::Webhook(webhook) => send_webhook(webhook, letters, (ca, now)).await,
        }
    });
    let late = || Failure::Unreachable(format!("no answer within {} seconds", TRY.as_secs()));
    tried.await.unwrap_or_else(|_| Err(late()))
}

async fn send_webhook(
    webhook: &Webhook,
    letters: &[Letter<'_>],
    (ca, now): (Option<&Path>, OffsetDateTime),
) -> Result<(), Failure> {
    let secret = webhook.secret_file.as_deref().map(secret).transpose()?;
    let parcel = chat::pack(webhook, letters, (secret.as_deref(), now)).map_err(Failure::Refused)?;
    let mut request = http::Request::builder();
    for (name, value) in parcel.headers {
        request = request.header(name, value);
    }
    let said = post(&parcel.to, request, (parcel.body, ca)).await.map_err(Failure::Unreachable)?;
    match chat::is_taken(webhook.format, said.status.as_u16(), &said.body) {
        true => Ok(()),
        false => Err(Failure::Refused(format!("not taken (status {})", said.status.as_u16()))),
    }
}

/// The first line of a file, as it is now: secrets are replaced while the process runs.
fn secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Unreachable(format!("`{}`: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

async fn send_mail(mail: &Mail, letter: &Letter<'_>, ca: Option<&Path>) -> Result<(), Failure> {
    let message = message(mail, letter).map_err(Failure::Refused)?;
    let transport = transport(mail, ca)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.status() {
            Some(code) => Failure::Refused(format!("not taken (status {code})")),
            // Without a status it is an error of the connection; the server's own words are never in it.
            None if error.is_client() || error.is_tls() || error.is_timeout() => {
                Failure::Unreachable(error.to_string())
            }
            None => Failure::Unreachable("the connection failed".to_owned()),
        }),
    }
}

fn transport(mail: &Mail, ca: Option<&Path>) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let server = &mail.server;
    let unusable = |error: lettre::transport::smtp::Error| Failure::Unreachable(error.to_string());
    let parameters = || {
        let mut builder = TlsParameters::builder(server.host.clone());
        if let Some(path) = ca {
            let pem = std::fs::read(path);
            let pem = pem.map_err(|error| Failure::Unreachable(format!("`{}`: {error}", path.display())))?;
            let certificate = Certificate::from_pem(&pem).map_err(unusable)?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(unusable)
    };
    let tls = match server.security {
        MailSecurity::Plain => Tls::None,
        MailSecurity::StartTls => Tls::Required(parameters()?),
        MailSecurity::Tls => Tls::Wrapper(parameters()?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.clone())
        .port(server.port)
        .timeout(Some(TRY))
        .tls(tls);
    if let Some(login) = &mail.login {
        let password = secret(&login.password_file)?;
        builder = builder.credentials(Credentials::new(login.username.clone(), password));
    }
    Ok(builder.build())
}

fn message(mail: &Mail, letter: &Letter<'_>) -> Result<Message, String> {
    // Out-of-office robots and mailing lists leave such mail alone (RFC 3834).
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
    let domain = mail.from.email.domain();
    let mut builder = Message::builder()
        .from(mail.from.clone())
        .message_id(Some(format!("<{}@{domain}>", letter.notice.id)))
        .date(letter.notice.time.into())
        .subject(letter.subject())
        .header(ContentType::TEXT_PLAIN)
        .raw_header(automatic);
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    builder.body(letter.mail()).map_err(|error| error.to_string())
}
