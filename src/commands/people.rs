//! `graygate user` and `graygate token`: accounts, beside the store of a control plane or over its API.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use graygate_control::client::Client;
use graygate_control::control::{Control, NewToken, NewUser, SystemClock, UserChange};
use graygate_control::people::{Grant, Principal, Role, Via};
use graygate_control::run::open_state;
use graygate_control::settings::{Config, DocumentsFrom};
use graygate_control::state::Holder;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{block_on, print_problems};

#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Make an account; the password is asked for, or read from standard input
    Add {
        name: String,
        #[command(flatten)]
        grant: GrantArguments,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Set a new password, asked for or read from standard input; the person's sessions end
    Password {
        name: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Give other roles
    Role {
        name: String,
        #[command(flatten)]
        grant: GrantArguments,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Take an account away, with its sessions and tokens
    Remove {
        name: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Print all accounts
    List {
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Add {
        /// What it is for
        name: String,
        /// Whose rights bound it
        #[arg(long)]
        user: String,
        #[command(flatten)]
        grant: GrantArguments,
        /// When it ends, RFC 3339
        #[arg(long)]
        expires: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Take a token away
    Remove {
        id: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Print all tokens, without their secrets
    List {
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Args, Debug)]
pub struct GrantArguments {
    /// viewer, editor, operator, approver, admin or reporter
    #[arg(long, value_parser = role)]
    role: Role,
    /// The services it is for, with commas between them; all where left out
    #[arg(long, value_delimiter = ',')]
    services: Option<Vec<String>>,
}

/// Whatever is there.
const ANY: &str = "*";

#[derive(Args, Debug)]
pub struct PlaceArguments {
    /// The control plane's file, whose store is written itself; without it the API at GRAYGATE_URL is asked
    #[arg(long, value_name = "FILE")]
    control: Option<PathBuf>,
}

fn role(text: &str) -> Result<Role, String> {
    let names = Role::ALL.map(Role::as_str).join(", ");
    Role::parse(text).ok_or_else(|| format!("a role is one of {names}"))
}

impl GrantArguments {
    fn grant(&self) -> Grant {
        Grant { role: self.role, services: self.services.clone().map(BTreeSet::from_iter) }
    }
}

/// The store itself, with the rights of a person who can write it.
pub struct Beside {
    pub control: Control,
    pub who: Principal,
}

impl Beside {
    /// Opens the store of a control plane; the mistakes of its file are printed.
    pub async fn open(file: &Path) -> anyhow::Result<Beside> {
        let config = Config::load(file).map_err(|problems| {
            print_problems(&problems);
            anyhow::anyhow!("`{}` cannot be used", file.display())
        })?;
        let via = match config.documents {
            DocumentsFrom::Directory(_) => Via::File,
            DocumentsFrom::Etcd(_) => Via::Etcd,
        };
        let (_, shutdown) = watch::channel(false);
        let opened = open_state(&config, Holder::Command, shutdown).await.map_err(anyhow::Error::msg)?;
        let control = Control::new(opened.state, Arc::new(SystemClock), config.sessions);
        Ok(Beside { control, who: Principal::own("command", via) })
    }
}

pub fn user(command: UserCommand) -> anyhow::Result<ExitCode> {
    match command {
        UserCommand::Add { name, grant, place } => {
            let password = password()?;
            let body = json!({"name": name, "password": password, "roles": [grant.grant()]});
            block_on(async {
                match &place.control {
                    Some(file) => {
                        let beside = Beside::open(file).await?;
                        let new: NewUser = serde_json::from_value(body)?;
                        beside.control.add_user(&beside.who, new).await?;
                    }
                    None => drop(ask(Method::POST, "/users", Some(&body)).await?),
                }
                println!("{name} is {}", grant.role.as_str());
                Ok(())
            })?;
        }
        UserCommand::Password { name, place } => {
            let change = json!({"password": password()?});
            change_user(&name, &change, &place)?;
        }
        UserCommand::Role { name, grant, place } => {
            change_user(&name, &json!({"roles": [grant.grant()]}), &place)?;
        }
        UserCommand::Remove { name, place } => block_on(async {
            match &place.control {
                Some(file) => {
                    let beside = Beside::open(file).await?;
                    Ok(beside.control.remove_user(&beside.who, &name, Some(ANY)).await?)
                }
                None => ask_over(Method::DELETE, &format!("/users/{name}"), None).await,
            }
        })?,
        UserCommand::List { place } => print(&block_on(async {
            match &place.control {
                Some(file) => {
                    let beside = Beside::open(file).await?;
                    Ok(json!(beside.control.users(&beside.who).await?))
                }
                None => items(ask(Method::GET, "/users", None).await?),
            }
        })?),
    }
    Ok(ExitCode::SUCCESS)
}

fn change_user(name: &str, change: &Value, place: &PlaceArguments) -> anyhow::Result<()> {
    block_on(async {
        match &place.control {
            Some(file) => {
                let beside = Beside::open(file).await?;
                let change: UserChange = serde_json::from_value(change.clone())?;
                beside.control.change_user(&beside.who, name, change, Some(ANY)).await?;
                Ok(())
            }
            None => ask_over(Method::PUT, &format!("/users/{name}"), Some(change)).await,
        }
    })
}

pub fn token(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Add { name, user, grant, expires, place } => {
            let body = json!({
                "name": name, "user": user, "role": grant.role, "services": grant.services, "expires": expires,
            });
            let made = block_on(async {
                match &place.control {
                    Some(file) => {
                        let beside = Beside::open(file).await?;
                        let new: NewToken = serde_json::from_value(body)?;
                        Ok(json!(beside.control.add_token(&beside.who, new).await?))
                    }
                    None => ask(Method::POST, "/tokens", Some(&body)).await,
                }
            })?;
            println!("{}", made.get("token").and_then(Value::as_str).unwrap_or_default());
        }
        TokenCommand::Remove { id, place } => block_on(async {
            match &place.control {
                Some(file) => {
                    let beside = Beside::open(file).await?;
                    Ok(beside.control.remove_token(&beside.who, &id).await?)
                }
                None => ask(Method::DELETE, &format!("/tokens/{id}"), None).await.map(drop),
            }
        })?,
        TokenCommand::List { place } => print(&block_on(async {
            match &place.control {
                Some(file) => {
                    let beside = Beside::open(file).await?;
                    Ok(json!(beside.control.tokens(&beside.who).await?))
                }
                None => items(ask(Method::GET, "/tokens", None).await?),
            }
        })?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the API that the environment names.
pub async fn ask(method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let client = Client::from_env().map_err(anyhow::Error::msg)?;
    Ok(client.ask(method, path, body).await.map_err(anyhow::Error::msg)?.body)
}

/// Changes what is there, whatever it is: a command is one person's, and says what it wants as a whole.
async fn ask_over(method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<()> {
    let client = Client::from_env().map_err(anyhow::Error::msg)?;
    let asked = client.ask_with(method, path, (body, &[("if-match", ANY)])).await;
    asked.map(drop).map_err(anyhow::Error::msg)
}

fn items(page: Value) -> anyhow::Result<Value> {
    page.get("items").cloned().context("the answer has no items")
}

/// One JSON object a line, so that `grep` and `jq` read it.
fn print(items: &Value) {
    for item in items.as_array().into_iter().flatten() {
        println!("{item}");
    }
}

/// Asked for twice on a terminal, without showing it; one line of standard input elsewhere.
fn password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("password: ").context("the password cannot be read")?;
        let again = rpassword::prompt_password("again: ").context("the password cannot be read")?;
        anyhow::ensure!(first == again, "the two passwords differ");
        return Ok(first);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("the password cannot be read")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
