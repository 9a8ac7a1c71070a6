//! `graygate demo`: the whole thing in one process on loopback, and what to type to see it work.
//!
//! Two services: `patient`, for rules to be tried on, and `orders`, which a plan moves under live traffic (`orders.rs`).

mod orders;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::Config;
use crate::echo;
use crate::node::{self, Start};
use graygate_control::client::Client;
use graygate_control::console;
use graygate_control::control::{NewToken, NewUser};
use graygate_control::people::{Grant, Principal, Role, Via, secret};
use graygate_control::run::Plane;
use graygate_control::settings;
use graygate_proxy::edge::CertificateSets;
use graygate_rules::documents::fields::Notes;

/// The sample documents, as they lie in `conf/documents`.
const SAMPLES: [(&str, &str); 6] = [
    ("routes/patient.yaml", include_str!("../../../conf/documents/routes/patient.yaml")),
    ("services/patient.yaml", include_str!("../../../conf/documents/services/patient.yaml")),
    ("rules/10-testers.yaml", include_str!("../../../conf/documents/rules/10-testers.yaml")),
    ("rules/20-pilot-users.yaml", include_str!("../../../conf/documents/rules/20-pilot-users.yaml")),
    ("rules/30-share.yaml", include_str!("../../../conf/documents/rules/30-share.yaml")),
    ("lists/pilot-users.txt", include_str!("../../../conf/documents/lists/pilot-users.txt")),
];

/// The upstreams, with the addresses they have in the samples.
const UPSTREAMS: [(&str, &str); 3] =
    [("127.0.0.1:9001", "release"), ("127.0.0.1:9002", "release"), ("127.0.0.1:9003", "gray")];
const PROXY: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9090";
const CONTROL: &str = "127.0.0.1:9180";

pub fn demo() -> anyhow::Result<ExitCode> {
    let mut samples: Vec<(&str, String)> =
        SAMPLES.iter().chain(&orders::DOCUMENTS).map(|(file, text)| (*file, (*text).to_owned())).collect();
    for (address, version) in UPSTREAMS {
        let listener = listen(address)?;
        let actual = listener.local_addr()?.to_string();
        for (_, text) in &mut samples {
            *text = text.replace(address, &actual);
        }
        std::thread::Builder::new()
            .name(format!("upstream {version}"))
            .spawn(move || upstream(listener, version))?;
    }
    let mut gray = None;
    for (address, version) in orders::ADDRESSES.iter().zip(["release", "gray"]) {
        let listener = listen(address)?;
        let actual = listener.local_addr()?;
        for (_, text) in &mut samples {
            *text = text.replace(address, &actual.to_string());
        }
        gray = Some(actual);
        beside("orders", orders::serve(listener, version))?;
    }
    let directory = std::env::temp_dir().join(format!("graygate-demo-{}", std::process::id()));
    write(&directory, &samples)?;
    let (proxy, admin) = (free(PROXY)?, free(ADMIN)?);
    let log = directory.with_extension("log");
    let text = format!(
        "listen: [{{address: \"{proxy}\"}}]\nadmin: {{address: \"{admin}\"}}\nrespond_version: always\n\
         documents: {{directory: {:?}}}\naccess_log: {{path: {:?}}}\n",
        directory.display().to_string(),
        log.display().to_string()
    );
    let config = Config::parse(&text, Notes::of("the demo's process file")).map_err(|problems| {
        anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<String>())
    })?;
    beside("traffic", orders::order(proxy))?;
    start_control(&directory, admin, gray)?;
    print_what_to_try(proxy, admin, &directory, &log);
    node::run(config, CertificateSets::default(), Start::Fresh, move || {
        // Best effort: the system clears its temporary folder anyway.
        let _ = std::fs::remove_dir_all(&directory);
        let _ = std::fs::remove_dir_all(directory.with_extension("control"));
    })
}

/// The control plane beside the proxy, over the same documents, and the link that signs in once.
fn start_control(directory: &Path, admin: SocketAddr, gray: Option<SocketAddr>) -> anyhow::Result<()> {
    let address = free(CONTROL)?;
    let state = directory.with_extension("control");
    let text = format!(
        "listen: {{address: \"{address}\"}}\ndocuments: {{directory: {:?}}}\nstate: {:?}\nproxies: [\"http://{admin}\"]\n",
        directory.display().to_string(),
        state.display().to_string()
    );
    let config =
        settings::Config::parse(&text, Notes::of("the demo's control file")).map_err(|problems| {
            anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<String>())
        })?;
    let (opened, told) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("control".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
        else {
            return;
        };
        runtime.block_on(async {
            // It ends with the process.
            let (_end, ended) = tokio::sync::watch::channel(false);
            match open_control(&config, ended).await {
                Ok((plane, way_in)) => {
                    if let Ok(client) = Client::new(&format!("http://{address}"), way_in.token.clone()) {
                        tokio::spawn(orders::start(client));
                    }
                    tokio::spawn(orders::tell(plane.control.clone()));
                    let _ = opened.send(Ok(way_in));
                    let _ = plane.serve(console::rooms()).await;
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
    })?;
    let way_in = told.recv().context("the control plane does not start")??;
    println!(
        "The control plane runs on http://{address}; this link signs in as `demo`, once:\n\n  \
         http://{address}/sign-in/once/{}\n\n\
         The plan `{}` widens the gray version of `orders` by itself, while two thousand people order. Follow it:\n\n  \
         GRAYGATE_URL=http://{address} GRAYGATE_TOKEN={} graygate plan watch {}\n",
        way_in.invitation,
        orders::PLAN,
        way_in.token,
        orders::PLAN,
    );
    if let Some(gray) = gray {
        println!(
            "Break the gray version, and within seconds the plan rolls it back and says here why:\n\n  \
             curl -s -X POST http://{gray}/break\n"
        );
    }
    Ok(())
}

/// How the demo's person comes in: once by a link, and by a token.
struct WayIn {
    invitation: String,
    token: String,
}

async fn open_control(
    config: &settings::Config,
    ended: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<(Plane, WayIn)> {
    let plane = Plane::open(config, ended).await.map_err(anyhow::Error::msg)?;
    let new = NewUser {
        name: "demo".into(),
        // It is never shown: the link is the way in.
        password: secret(),
        roles: vec![Grant::all(Role::Admin)],
    };
    let root = Principal::own("command", Via::Command);
    plane.control.add_user(&root, new).await?;
    let token = NewToken {
        name: "demo".into(),
        user: "demo".into(),
        role: Role::Operator,
        services: None,
        expires: None,
    };
    let token = plane.control.add_token(&root, token).await?.token;
    let invitation = plane.control.invite("demo");
    Ok((plane, WayIn { invitation, token }))
}

/// The address wanted, or any free one where it is taken.
fn listen(wanted: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .context("no free port on the loopback address")
}

fn free(wanted: &str) -> anyhow::Result<SocketAddr> {
    Ok(listen(wanted)?.local_addr()?)
}

/// Runs something on a thread of its own, which ends with the process.
fn beside(name: &str, work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work);
        }
    })?;
    Ok(())
}

fn upstream(listener: TcpListener, version: &'static str) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        if listener.set_nonblocking(true).is_ok()
            && let Ok(listener) = tokio::net::TcpListener::from_std(listener)
        {
            // It ends with the process.
            let _ = echo::serve(listener, version, std::future::pending()).await;
        }
    });
}

fn write(directory: &Path, samples: &[(&str, String)]) -> anyhow::Result<()> {
    for (file, text) in samples {
        let path: PathBuf = directory.join(file);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn print_what_to_try(proxy: SocketAddr, admin: SocketAddr, directory: &Path, log: &Path) {
    let documents = directory.display();
    println!(
        r#"
graygate runs on http://{proxy}, with two upstreams of the release and one of the gray version.
Documents: {documents}
Access log: {log}

Every answer says which version was decided, and why:

  # any user: the release
  curl -si http://{proxy}/patient/list -H 'x-user: user1' | grep -i '^x-gray'

  # a tester, by header: gray
  curl -si http://{proxy}/patient/list -H 'x-tester: yes' | grep -i '^x-gray'

  # a user of the list: gray
  curl -si http://{proxy}/patient/list -H 'x-user: alice' | grep -i '^x-gray'

  # twenty percent of the users: each of them always the same
  for i in 1 2 3 4 5 6 7 8 9 10; do curl -so /dev/null -w "user$i %header{{x-gray-version}}\n" http://{proxy}/patient/list -H "x-user: user$i"; done

  # why?
  curl -s http://{admin}/explain -d '{{"url": "http://localhost/patient/list", "headers": [["x-user", "user1"]]}}'

Now change a rule, and the next request follows:

  sed -i 's/gray: 20/gray: 100/' {documents}/rules/30-share.yaml

Make a mistake, and nothing changes but the problem list:

  echo 'verson: gray' > {documents}/rules/30-share.yaml; sleep 1; curl -s http://{admin}/status

Metrics: http://{admin}/metrics    End: Ctrl-C
"#,
        log = log.display(),
    );
}
