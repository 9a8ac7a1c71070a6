//! `demo`: what it prints is run.

use std::process::{Child, Command, Stdio};

use crate::harness::proxy::{BINARY, until};

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One demo at a time: it takes the ports that its documentation names where they are free, and two that begin at once
/// would both find them so.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn shell(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_demo_prints_works() {
    let _one = ONE.lock().await;
    let place = tempfile::tempdir().unwrap();
    let printed = place.path().join("printed");
    let mut demo = Demo(
        Command::new(BINARY)
            .arg("demo")
            .env("TMPDIR", place.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let text = || std::fs::read_to_string(&printed).unwrap();
    until(async || text().contains("Ctrl-C")).await;
    let text = text();
    let url = |label: &str| {
        let after = text.split(label).nth(1).unwrap();
        after.split([',', ' ', '\n', '/']).next().unwrap().trim().to_string()
    };
    let admin = url("Metrics: http://");
    until(async || {
        Command::new("curl")
            .args(["-sf", &format!("http://{admin}/readyz")])
            .output()
            .unwrap()
            .status
            .success()
    })
    .await;
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| ["curl ", "for ", "sed ", "echo "].iter().any(|word| line.starts_with(word)))
        // Breaking the plan's version is a test of its own.
        .filter(|line| !line.contains("/break"))
        .collect();
    let curls: Vec<String> =
        commands.iter().filter(|line| line.starts_with("curl ")).map(|line| shell(line)).collect();
    assert!(curls[0].contains("release"), "{curls:?}");
    assert!(
        curls[1].contains("x-gray-version: gray") && curls[2].contains("x-gray-version: gray"),
        "{curls:?}"
    );
    assert!(curls[3].contains("\"trace\""), "{curls:?}");
    let share = commands.iter().find(|line| line.starts_with("for ")).unwrap();
    let before = shell(share);
    assert_eq!(before.lines().count(), 10);
    assert!(before.contains("release") && before == shell(share), "each of them always the same: {before}");
    shell(commands.iter().find(|line| line.starts_with("sed ")).unwrap());
    until(async || shell(share).matches("gray\n").count() == 10).await;
    let status = shell(commands.iter().find(|line| line.starts_with("echo ")).unwrap());
    assert!(status.contains("rules/30-share") && status.contains("did you mean `version`"), "{status}");
    assert_eq!(shell(share).matches("gray\n").count(), 10, "nothing changes but the problem list");
    assert!(shell(&format!("curl -s http://{admin}/metrics")).contains("graygate_requests_total"));
    let interrupt = Command::new("kill").args(["-INT", &demo.0.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    until(async || demo.0.try_wait().unwrap().is_some_and(|status| status.code() == Some(0))).await;
    let left: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| !name.to_str().unwrap().starts_with("graygate-demo")
            || name.to_str().unwrap().ends_with(".log")),
        "{left:?}"
    );
}

/// The seconds a person waits at most for the demo to show what it is for.
const SHOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_gray_version_is_rolled_back_before_ones_eyes() {
    let _one = ONE.lock().await;
    let place = tempfile::tempdir().unwrap();
    let printed = place.path().join("printed");
    let _demo = Demo(
        Command::new(BINARY)
            .arg("demo")
            .env("TMPDIR", place.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&printed).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let text = || std::fs::read_to_string(&printed).unwrap();
    until(async || text().contains("plan orders-2: ACTIVE")).await;
    let command = |start: &str| {
        let text = text();
        text.lines().map(str::trim).find(|line| line.starts_with(start)).unwrap().to_string()
    };
    // What it prints for following the plan works as well.
    let folder = std::path::Path::new(BINARY).parent().unwrap().display().to_string();
    let shown = command("GRAYGATE_URL=").replace("plan watch", "plan show");
    let shown = shell(&format!("export PATH={folder}:$PATH; {shown}"));
    assert!(shown.contains("orders-2  ACTIVE  orders gray"), "{shown}");
    shell(&command("curl -s -X POST"));
    let broken = std::time::Instant::now();
    until(async || text().contains("plan orders-2: ROLLBACK")).await;
    assert!(broken.elapsed() <= SHOWN_WITHIN, "{:?}", broken.elapsed());
    let why = command("plan orders-2: ROLLBACK");
    assert!(why.contains("errors"), "{why}");
}
