use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::places::{Place, Places};
use super::*;
use crate::settings::ProxiesFrom;

/// What a proxy does with a question.
#[derive(Clone)]
enum Act {
    Answer(u16, String),
    /// Never anything.
    Hang,
    /// More and more, without an end.
    Flood,
    Close,
    Redirect(SocketAddr),
}

type Script = dyn Fn(&str) -> Act + Send + Sync;

/// A proxy's admin address that answers as told, and remembers heads.
struct Fake {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Fake {
    async fn scripted(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
            connections: Arc::default(),
        };
        let (heads, connections, script): (_, _, Arc<Script>) =
            (fake.heads.clone(), fake.connections.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock() += 1;
                tokio::spawn(converse(stream, heads.clone(), script.clone()));
            }
        });
        fake
    }

    /// Tells the rows of every second behind the cursor, as a proxy does whose clock stands at `now`.
    async fn counting(id: &'static str, now: Arc<Mutex<(String, u64)>>) -> Fake {
        Fake::scripted(move |head| {
            let (boot, now) = now.lock().clone();
            let after = parameter(head, "after").and_then(|cursor| {
                let (of, next) = cursor.rsplit_once('.')?;
                (of == boot).then(|| next.parse::<u64>().unwrap())
            });
            let rows = (after.unwrap_or(now - 2)..now).map(|second| row(second, "gray"));
            Act::Answer(200, answer(id, &boot, now, &rows.collect::<Vec<_>>()))
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn last_head(&self) -> String {
        self.heads.lock().last().unwrap().clone()
    }
}

async fn converse(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>, script: Arc<Script>) {
    let mut unread = Vec::new();
    loop {
        while !unread.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read_buf(&mut unread).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
        let head = String::from_utf8(std::mem::take(&mut unread)).unwrap();
        let act = script(&head);
        heads.lock().push(head);
        let said = match act {
            Act::Hang => return std::future::pending().await,
            Act::Close => return,
            Act::Flood => {
                let piece = [b' '; 1 << 16];
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n").await;
                while stream.write_all(&piece).await.is_ok() {}
                return;
            }
            Act::Redirect(to) => {
                format!(
                    "HTTP/1.1 302 Found\r\nLocation: http://{to}/observations\r\nContent-Length: 0\r\n\r\n"
                )
            }
            Act::Answer(status, body) => {
                format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
        };
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn parameter<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let query = head.split(' ').nth(1)?.split_once('?')?.1;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn row(second: u64, version: &str) -> String {
    format!(
        r#"{{"second":{second},"service":"s","route":"r","rule":null,"share":0,"version":"{version}","requests":1,"timed":1,"slower":[1]}}"#
    )
}

fn answer(id: &str, boot: &str, now: u64, rows: &[String]) -> String {
    format!(
        r#"{{"proxy":"{id}","boot":"{boot}","cursor":"{boot}.{now}","lost":0,"edges_ms":[1,1.2],"now":{now},"counting_since":1,"left_out":0,"seconds":[{}]}}"#,
        rows.join(",")
    )
}

fn question() -> Question {
    Question { services: vec!["s".into(), "t".into()], salt: "a b&c".into() }
}

fn named(fakes: &[&Fake]) -> Gatherer {
    let urls = fakes.iter().map(|fake| fake.url()).collect();
    Gatherer::of(Places::new(ProxiesFrom::Named(urls), None), None)
}

fn keyed(fakes: &[(&str, &Fake)]) -> Gatherer {
    let place = |(id, fake): &(&str, &Fake)| Place { id: Some((*id).to_owned()), url: Some(fake.url()) };
    Gatherer::of(Places::keyed(fakes.iter().map(place).collect()), None)
}

fn clock(boot: &str, now: u64) -> Arc<Mutex<(String, u64)>> {
    Arc::new(Mutex::new((boot.to_owned(), now)))
}

fn seconds(gathered: &Gathered) -> Vec<(&str, u64)> {
    gathered.rows.iter().flatten().map(|row| (&*row.key.teller.proxy, row.key.second)).collect()
}

#[tokio::test]
async fn every_second_of_every_proxy_comes_once() {
    let (one, two) = (clock("a", 100), clock("b", 200));
    let (first, second) = (Fake::counting("p1", one.clone()).await, Fake::counting("p2", two.clone()).await);
    let gatherer = keyed(&[("p1", &first), ("p2", &second)]);
    let mut cursors = Cursors::default();
    let gathered = gatherer.gather(&question(), &mut cursors).await;
    assert_eq!(seconds(&gathered), [("p1", 98), ("p1", 99), ("p2", 198), ("p2", 199)]);
    assert_eq!((gathered.read, gathered.of, gathered.nows["p2"]), (2, 2, 200));
    assert_eq!(parameter(&first.last_head(), "salt"), Some("a+b%26c"));
    assert_eq!(parameter(&first.last_head(), "services"), Some("s,t"));
    one.lock().1 = 101;
    assert_eq!(seconds(&gatherer.gather(&question(), &mut cursors).await), [("p1", 100)]);
    assert_eq!(*first.connections.lock(), 1, "the connection is kept");
    // What was kept with a run goes on where it was, also for another process.
    let text = serde_json::to_string(&cursors).unwrap();
    let mut kept: Cursors = serde_json::from_str(&text).unwrap();
    one.lock().1 = 103;
    let later = named(&[&first, &second]).gather(&question(), &mut kept).await;
    assert_eq!(seconds(&later), [("p1", 101), ("p1", 102)], "also where ids are only known from answers");
}

#[tokio::test]
async fn another_boot_begins_again() {
    let state = clock("a", 100);
    let fake = Fake::counting("p", state.clone()).await;
    let gatherer = keyed(&[("p", &fake)]);
    let mut cursors = Cursors::default();
    gatherer.gather(&question(), &mut cursors).await;
    *state.lock() = ("b".into(), 90);
    let gathered = gatherer.gather(&question(), &mut cursors).await;
    assert_eq!(seconds(&gathered), [("p", 88), ("p", 89)]);
    assert_eq!(cursors.of("p").map(|cursor| (&*cursor.boot, cursor.told)), Some(("b", 90)));
    assert_eq!(gathered.late, 0, "a boot that was not heard before is not late");
}

#[tokio::test]
async fn one_bad_proxy_costs_the_others_nothing() {
    let good = Fake::counting("good", clock("a", 100)).await;
    let elsewhere = Fake::counting("bad", clock("a", 100)).await;
    let redirected_to = elsewhere.address;
    let acts: Vec<(&str, Act)> = vec![
        ("hangs", Act::Hang),
        ("floods", Act::Flood),
        ("closes", Act::Close),
        ("redirects", Act::Redirect(redirected_to)),
        ("refuses", Act::Answer(401, "this path asks for a token".into())),
        ("fails", Act::Answer(500, String::new())),
        ("is garbage", Act::Answer(200, "<html>".into())),
        ("is another", Act::Answer(200, answer("other", "a", 100, &[row(99, "gray")]))),
    ];
    for (what, act) in acts {
        let bad = Fake::scripted(move |_| act.clone()).await;
        let gatherer = keyed(&[("good", &good), ("bad", &bad)]);
        let mut cursors = Cursors::default();
        let begun = Instant::now();
        let gathered = gatherer.gather(&question(), &mut cursors).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}");
        assert_eq!((gathered.read, gathered.of), (1, 2), "{what}");
        assert_eq!(seconds(&gathered), [("good", 98), ("good", 99)], "{what}");
        assert_eq!(gathered.unreadable.len(), 1, "{what}");
        assert_eq!(gathered.unreadable[0].0, "bad");
        assert!(cursors.of("bad").is_none() && cursors.of("other").is_none(), "{what}");
    }
    assert!(elsewhere.heads.lock().is_empty(), "redirects are not followed");
}

#[tokio::test]
async fn how_long_a_proxy_was_not_read_is_told_and_ends() {
    let is_well = Arc::new(Mutex::new(false));
    let told = is_well.clone();
    let fake = Fake::scripted(move |_| match *told.lock() {
        true => Act::Answer(200, answer("p", "a", 100, &[])),
        false => Act::Close,
    })
    .await;
    let gatherer = keyed(&[("p", &fake)]);
    let mut cursors = Cursors::default();
    let first = gatherer.gather(&question(), &mut cursors).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let second = gatherer.gather(&question(), &mut cursors).await;
    assert!(second.unreadable[0].1 >= first.unreadable[0].1 + Duration::from_millis(30));
    *is_well.lock() = true;
    assert_eq!(gatherer.gather(&question(), &mut cursors).await.unreadable, []);
}

#[tokio::test]
async fn a_proxy_that_lags_is_asked_for_what_it_knows() {
    let fake = Fake::scripted(|head| match parameter(head, "services") {
        Some("s") => Act::Answer(200, answer("p", "a", 100, &[row(99, "gray")])),
        Some("s,t") => Act::Answer(404, "there is no service `t`\n".into()),
        _ => Act::Answer(404, "there is no service `u`\n".into()),
    })
    .await;
    let gatherer = keyed(&[("p", &fake)]);
    let mut cursors = Cursors::default();
    let gathered = gatherer.gather(&question(), &mut cursors).await;
    assert_eq!((gathered.read, seconds(&gathered)), (1, vec![("p", 99)]));
    let unknown = Question { services: vec!["u".into()], salt: String::new() };
    let gathered = gatherer.gather(&unknown, &mut cursors).await;
    assert_eq!(
        (gathered.read, gathered.of, gathered.rows.iter().flatten().count()),
        (1, 1, 0),
        "it is well, and has none of them"
    );
}

#[tokio::test]
async fn two_addresses_of_one_proxy_count_once() {
    let state = clock("a", 100);
    let (one, two) = (Fake::counting("p", state.clone()).await, Fake::counting("p", state).await);
    let gathered = named(&[&one, &two]).gather(&question(), &mut Cursors::default()).await;
    assert_eq!((gathered.read, gathered.of, gathered.rows.iter().flatten().count()), (1, 2, 2));
}

#[tokio::test]
async fn a_proxy_that_restarts_at_its_address_is_heard_under_its_new_name() {
    let names = Arc::new(Mutex::new("p-1"));
    let told = names.clone();
    let fake =
        Fake::scripted(move |_| Act::Answer(200, answer(*told.lock(), "a", 100, &[row(99, "gray")]))).await;
    let gatherer = named(&[&fake]);
    let mut cursors = Cursors::default();
    gatherer.gather(&question(), &mut cursors).await;
    *names.lock() = "p-2";
    let gathered = gatherer.gather(&question(), &mut cursors).await;
    assert_eq!((gathered.read, seconds(&gathered)), (1, vec![("p-2", 99)]));
}

#[tokio::test]
async fn late_seconds_are_counted_for_proxies_that_were_heard() {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let told = rows.clone();
    let fake = Fake::scripted(move |_| Act::Answer(200, answer("p", "a", 100, &told.lock()))).await;
    let gatherer = keyed(&[("p", &fake)]);
    let mut cursors = Cursors::default();
    for (seconds, expected) in [(vec![90, 96], 0), (vec![97, 98, 99], 0), (vec![95, 95, 96, 97], 2)] {
        *rows.lock() = seconds
            .into_iter()
            .zip(["a", "b", "c", "d"])
            .map(|(second, version)| row(second, version))
            .collect();
        assert_eq!(gatherer.gather(&question(), &mut cursors).await.late, expected);
    }
    // Another process asks for the same with cursors of his own: they were late once.
    let mut others = cursors.clone();
    for expected in [0, 0] {
        assert_eq!(gatherer.gather(&question(), &mut others).await.late, expected);
    }
}

#[tokio::test]
async fn the_token_goes_to_loopback_and_is_read_each_time() {
    let fake = Fake::counting("p", clock("a", 100)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let places = Places::new(ProxiesFrom::Named(vec![fake.url()]), None);
    let gatherer = Gatherer::of(places, Some(file.path().into()));
    let mut cursors = Cursors::default();
    for token in ["one", "two"] {
        std::fs::write(file.path(), format!("{token}\nnot this\n")).unwrap();
        gatherer.gather(&question(), &mut cursors).await;
        let head = fake.last_head().to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: bearer {token}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn what_may_not_be_asked_is_told_as_unreadable() {
    let place = Place { id: Some("p".into()), url: None };
    let gatherer = Gatherer::of(Places::keyed(vec![place]), None);
    let gathered = gatherer.gather(&question(), &mut Cursors::default()).await;
    assert_eq!((gathered.read, gathered.of, &*gathered.unreadable[0].0), (0, 1, "p"));
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced() {
    let turns = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
    let told = turns.clone();
    // Every second question of a connection finds it closed.
    let fake = Fake::scripted(move |_| {
        let mut turns = told.lock();
        let turn = turns.entry(0).or_default();
        *turn += 1;
        if *turn % 3 == 2 { Act::Close } else { Act::Answer(200, answer("p", "a", 100, &[])) }
    })
    .await;
    let gatherer = keyed(&[("p", &fake)]);
    let mut cursors = Cursors::default();
    for _ in 0..6 {
        assert_eq!(gatherer.gather(&question(), &mut cursors).await.read, 1);
    }
}
