use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use graygate_rules::vocab::{Name, Share};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// When the tests begin, as seconds since 1970.
const START: u64 = 1_764_125_000;

/// An observer, and a clock that is moved by hand.
struct World {
    observer: Arc<Observer>,
    begun: Instant,
}

/// A request that is counted.
struct Asked {
    sighting: Sighting,
    subject: Subject<'static>,
}

const GRAY: Subject<'static> = Subject {
    service: "patient",
    route: "portal",
    rule: Some("plan.patient-8.share"),
    share: Share::ALL,
    version: "gray",
};
const GOOD: Answered = Answered { is_error: false, is_warm: true, rest: Rest::Silent };
const BAD: Answered = Answered { is_error: true, ..GOOD };

impl World {
    fn new() -> World {
        let begun = Instant::now();
        let epoch = Epoch::new(begun, UNIX_EPOCH + Duration::from_secs(START));
        let identity = Identity { proxy: "edge".into(), boot: "b0".into() };
        World { observer: Arc::new(Observer::new(identity, epoch, begun)), begun }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.begun + Duration::from_secs_f64(seconds)
    }

    fn ask(&self, query: &str, seconds: f64) -> Value {
        let question = Question::parse(query).unwrap();
        serde_json::to_value(self.observer.ask(&question, self.at(seconds))).unwrap()
    }

    /// A request of `client` whose first try is at its own version, unless its service is not asked about.
    fn request(&self, subject: Subject<'static>, client: &str, seconds: f64) -> Option<Asked> {
        self.decided(subject, client, (seconds, Drawn::Yes)).map(|mut asked| {
            asked.sighting.tried(Tried::Own, &asked.subject, self.at(seconds));
            asked
        })
    }

    fn decided(
        &self,
        subject: Subject<'static>,
        client: &str,
        (seconds, drawn): (f64, Drawn),
    ) -> Option<Asked> {
        let client = Client::new(subject.service, client.as_bytes());
        let sighting = Sighting::new(self.observer.clone(), client, self.at(seconds), drawn);
        self.observer.counts(subject.service).then_some(Asked { sighting, subject })
    }

    fn answered(&self, client: &str, answered: Answered, (from, to): (f64, f64)) {
        if let Some(mut asked) = self.request(GRAY, client, from) {
            asked.sighting.answered(answered, self.at(to));
        }
    }
}

fn rows(answer: &Value) -> Vec<&Value> {
    answer["seconds"].as_array().unwrap().iter().collect()
}

fn only(answer: &Value) -> &Value {
    let rows = rows(answer);
    assert_eq!(rows.len(), 1, "{answer}");
    rows[0]
}

#[test]
fn nothing_is_counted_before_a_question_and_fifteen_seconds_after() {
    let world = World::new();
    world.answered("a", GOOD, (0.0, 0.1));
    assert_eq!(world.ask("services=patient", 1.0)["seconds"], serde_json::json!([]));
    for from in [1.1, 15.9, 16.1] {
        assert!(world.observer.counts("patient"));
        world.answered("a", GOOD, (from, from));
    }
    assert!(!world.observer.counts("patient"), "the first request that comes too late ends it");
    let answer = world.ask("services=patient", 40.0);
    let seconds: Vec<u64> = rows(&answer).iter().map(|row| row["second"].as_u64().unwrap()).collect();
    assert_eq!(seconds, [START + 1, START + 15]);
    assert_eq!(answer["counting_since"], START + 40, "what was not asked is told from silence");
}

#[test]
fn other_services_are_not_counted() {
    let world = World::new();
    world.ask("services=other,patients", 0.0);
    assert!(world.request(GRAY, "a", 0.1).is_none());
    assert!(world.observer.counts("other") && world.observer.counts("patients"));
}

#[test]
fn a_second_is_told_once_a_cursor_when_it_is_over() {
    let world = World::new();
    let first = world.ask("services=patient&salt=s", 0.0);
    world.answered("a", GOOD, (0.2, 0.3));
    let cursor = |answer: &Value| answer["cursor"].as_str().unwrap().to_owned();
    let early = world.ask(&format!("services=patient&after={}", cursor(&first)), 0.99);
    assert_eq!(rows(&early).len(), 0, "it lasts");
    let told = world.ask(&format!("services=patient&after={}", cursor(&early)), 1.0);
    assert_eq!(only(&told)["second"], START);
    assert_eq!(told["now"], START + 1);
    assert_eq!(rows(&world.ask(&format!("services=patient&after={}", cursor(&told)), 1.5)).len(), 0);
    assert_eq!(rows(&world.ask(&format!("services=patient&after={}", cursor(&early)), 1.5)).len(), 1);
    assert_eq!(rows(&world.ask("services=patient", 1.5)).len(), 1, "a new asker hears what is kept");
    assert_eq!(
        rows(&world.ask("services=patient&after=other.99", 1.5)).len(),
        1,
        "so does one of another boot"
    );
}

#[test]
fn two_minutes_are_kept_and_what_a_cursor_missed_is_lost() {
    let world = World::new();
    let first = world.ask("services=patient", 0.0);
    let cursor = first["cursor"].as_str().unwrap().to_owned();
    for second in 0..200 {
        world.ask("services=patient", f64::from(second));
        world.answered("a", GOOD, (f64::from(second) + 0.1, f64::from(second) + 0.2));
    }
    let answer = world.ask(&format!("services=patient&after={cursor}"), 200.0);
    assert_eq!(rows(&answer).len(), 120);
    assert_eq!(rows(&answer)[0]["second"], START + 80);
    assert_eq!(answer["lost"], 80);
    assert_eq!(world.ask("services=patient", 200.0)["lost"], 0, "without a cursor nothing was missed");
    // There was no question for a long time: what was counted before and is gone is lost, silence is not.
    let late = world.ask(&format!("services=patient&after={cursor}"), 5_000.0);
    assert_eq!((rows(&late).len(), &late["lost"]), (0, &serde_json::json!(216)));
}

#[test]
fn requests_fallbacks_and_errors_are_the_decided_versions() {
    use Tried::{Other, Own};
    #[derive(Clone, Copy)]
    enum End {
        Answered(Answered),
        Over,
        Left,
    }
    use End::{Answered as By, Left, Over};
    // Tries, each with whether it failed; the end; requests, fallbacks, errors, timed.
    type Case<'c> = (&'c [(Tried, bool)], End, [u64; 4]);
    let cases: &[Case<'_>] = &[
        (&[(Own, false)], By(GOOD), [1, 0, 0, 1]),
        (&[(Own, false)], By(BAD), [1, 0, 1, 1]),
        (&[(Own, true), (Own, false)], By(GOOD), [1, 0, 1, 1]),
        (&[(Own, true), (Other, false)], By(GOOD), [1, 1, 1, 1]),
        (&[(Own, true), (Other, false)], By(BAD), [1, 1, 1, 1]),
        (&[(Other, false)], By(GOOD), [0, 1, 0, 0]),
        (&[(Other, false)], By(BAD), [0, 1, 0, 0]),
        (&[(Other, true)], Over, [0, 0, 0, 0]),
        (&[(Own, true)], Over, [1, 0, 1, 1]),
        (&[(Own, true), (Own, true)], Over, [1, 0, 1, 1]),
        (&[(Own, false)], Over, [1, 0, 0, 1]),
        (&[(Own, false)], Left, [1, 0, 0, 1]),
        (&[(Own, true), (Other, false)], Left, [1, 0, 1, 1]),
        (&[(Own, false)], By(Answered { is_warm: false, ..GOOD }), [1, 0, 0, 0]),
        (&[], Left, [0, 0, 0, 0]),
    ];
    for (at, (tries, end, expected)) in cases.iter().enumerate() {
        let world = World::new();
        world.ask("services=patient", 0.0);
        let mut asked = world.decided(GRAY, "a", (0.1, Drawn::Yes)).unwrap();
        for (tried, is_bad) in *tries {
            asked.sighting.tried(*tried, &asked.subject, world.at(0.1));
            if *is_bad {
                asked.sighting.failed();
            }
        }
        match end {
            By(answered) => asked.sighting.answered(*answered, world.at(0.2)),
            Over => asked.sighting.over(world.at(0.2)),
            Left => {}
        }
        drop(asked);
        let answer = world.ask("services=patient", 1.0);
        let figure = |name: &str| rows(&answer).iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
        let seen = ["requests", "fallbacks", "errors", "timed"].map(figure);
        assert_eq!(seen, *expected, "case {at}");
        assert_eq!(rows(&answer).len(), usize::from(*expected != [0, 0, 0, 0]), "case {at}");
    }
}

#[test]
fn who_could_not_be_drawn_stands_apart() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    for answered in [GOOD, BAD] {
        let mut asked = world.decided(GRAY, "a", (0.1, Drawn::No)).unwrap();
        asked.sighting.tried(Tried::Own, &asked.subject, world.at(0.1));
        asked.sighting.answered(answered, world.at(0.2));
    }
    let answer = world.ask("services=patient", 1.0);
    let row = only(&answer);
    for (name, expected) in [("undrawn", 2), ("requests", 0), ("errors", 0), ("timed", 0), ("fallbacks", 0)] {
        assert_eq!(row[name], expected, "{name}");
    }
}

#[test]
fn who_waits_ten_seconds_is_counted_then_and_once() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    let mut slow = world.request(GRAY, "slow", 0.5).unwrap();
    let mut bad = world.request(GRAY, "bad", 0.5).unwrap();
    bad.sighting.failed();
    world.ask("services=patient", 9.0);
    let answer = world.ask("services=patient", 14.0);
    let row = only(&answer);
    assert_eq!(row["second"], START + 10, "in the second in which it had waited for so long");
    assert_eq!((&row["requests"], &row["timed"], &row["errors"]), (&2.into(), &2.into(), &1.into()));
    assert_eq!(row["slower"].as_array().unwrap().len(), 51, "10 s is above 1.2^50 ms");
    slow.sighting.answered(BAD, world.at(14.5));
    drop(bad);
    assert_eq!(rows(&world.ask("services=patient", 20.0)).len(), 1, "and not again");
}

#[test]
fn a_client_that_left_is_counted_with_the_time_it_waited() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    let mut asked = world.request(GRAY, "a", 0.1).unwrap();
    asked.sighting.over(world.at(3.1));
    let answer = world.ask("services=patient", 4.0);
    let row = only(&answer);
    assert_eq!((&row["second"], &row["errors"]), (&(START + 3).into(), &0.into()));
    // 3,000 ms lie between 1.2^43 and 1.2^44.
    assert_eq!(row["slower"].as_array().unwrap().len(), 44);
}

#[test]
fn only_the_first_request_of_a_client_is_timed() {
    let world = World::new();
    world.ask("services=patient,other", 0.0);
    for client in ["a", "a", "b", "a"] {
        world.answered(client, GOOD, (0.1, 0.2));
    }
    let mut other = world.request(Subject { service: "other", ..GRAY }, "a", 0.1).unwrap();
    other.sighting.answered(GOOD, world.at(0.2));
    world.answered("a", GOOD, (1.1, 1.2));
    let answer = world.ask("services=patient,other", 2.0);
    let figures: Vec<(u64, &str, u64, u64)> = rows(&answer)
        .iter()
        .map(|row| {
            let number = |name: &str| row[name].as_u64().unwrap();
            (number("second") - START, row["service"].as_str().unwrap(), number("requests"), number("timed"))
        })
        .collect();
    assert_eq!(figures, [(0, "other", 1, 1), (0, "patient", 4, 2), (1, "patient", 1, 1)]);
}

#[test]
fn trailers_tell_an_error_while_their_second_lasts() {
    for (header, trailers, errors) in [(0.1, 0.9, 1), (0.9, 1.1, 0)] {
        let world = World::new();
        world.ask("services=patient", 0.0);
        let mut asked = world.request(GRAY, "a", 0.05).unwrap();
        asked.sighting.answered(Answered { rest: Rest::Telling, ..GOOD }, world.at(header));
        asked.sighting.trailed(world.at(trailers));
        let answer = world.ask("services=patient&salt=x", 2.0);
        let row = only(&answer);
        assert_eq!((row["requests"].as_u64(), row["errors"].as_u64()), (Some(1), Some(errors)));
        assert_eq!(row["error_clients"].as_array().unwrap().len() as u64, errors);
    }
}

#[test]
fn clients_are_told_under_the_questions_salt_and_each_once() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    for client in ["a", "b", "a"] {
        world.answered(client, BAD, (0.1, 0.2));
    }
    for salt in ["", "one", "zwei%20%C3%A4"] {
        let answer = world.ask(&format!("services=patient&salt={salt}"), 1.0);
        let row = only(&answer);
        assert_eq!((&row["errors"], &row["sampled"]), (&3.into(), &0.into()));
        let salt = if salt.is_empty() || salt == "one" { salt } else { "zwei ä" };
        let mut expected =
            ["a", "b"].map(|client| format!("{:016x}", client::salted(salt, client.as_bytes())));
        expected.sort();
        assert_eq!(row["error_clients"], serde_json::json!(expected));
    }
}

/// What a salt's sample of `clients` has to be.
fn expected_sample(salt: &str, clients: &[String], bits: u64) -> Vec<String> {
    let hashes = clients.iter().map(|client| client::salted(salt, client.as_bytes()));
    let mut told: Vec<String> = hashes
        .filter(|hash| hash.trailing_zeros() as u64 >= bits)
        .map(|hash| format!("{hash:016x}"))
        .collect();
    told.sort();
    told
}

#[test]
fn above_256_clients_a_sample_is_told_of_every_row_of_the_service() {
    for count in [256, 257, 3_000, 20_000] {
        let world = World::new();
        world.ask("services=patient&salt=one", 0.0);
        world.ask("services=patient&salt=two", 0.0);
        let clients: Vec<String> = (0..count).map(|n| format!("client-{n}")).collect();
        for client in &clients {
            world.answered(client, BAD, (0.1, 0.2));
        }
        let mut release = world.request(Subject { version: "release", ..GRAY }, "client-7", 0.1).unwrap();
        release.sighting.answered(BAD, world.at(0.2));
        for salt in ["one", "two"] {
            let answer = world.ask(&format!("services=patient&salt={salt}"), 1.0);
            assert_eq!(answer["lost"], 0);
            let told = rows(&answer);
            let gray = told.iter().find(|row| row["version"] == "gray").unwrap();
            let release = told.iter().find(|row| row["version"] == "release").unwrap();
            let bits = gray["sampled"].as_u64().unwrap();
            assert_eq!(release["sampled"], bits, "the same of all rows");
            assert_eq!(gray["errors"], count);
            let listed = gray["error_clients"].as_array().unwrap();
            assert!(listed.len() <= 256, "{count}: {}", listed.len());
            assert_eq!(gray["error_clients"], serde_json::json!(expected_sample(salt, &clients, bits)));
            assert!(
                bits == 0 || expected_sample(salt, &clients, bits - 1).len() > 256,
                "{count}: no smaller than needed"
            );
        }
        let strange = world.ask("services=patient&salt=three", 1.0);
        let is_thinned = count > 4_096;
        assert_eq!(
            (rows(&strange).is_empty(), strange["lost"].as_u64() == Some(1)),
            (is_thinned, is_thinned)
        );
    }
}

#[test]
fn rows_above_the_limit_are_counted_and_not_kept() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    let words: Vec<&'static str> =
        (0..2_100).map(|n| &*Box::leak(format!("v{n}").into_boxed_str())).collect();
    for version in &words {
        let mut asked = world.request(Subject { version, ..GRAY }, "a", 0.1).unwrap();
        asked.sighting.answered(GOOD, world.at(0.2));
    }
    let answer = world.ask("services=patient", 1.0);
    assert_eq!(rows(&answer).len(), 2_000);
    assert_eq!(answer["left_out"], 100);
}

#[test]
fn the_answer_has_the_fields_that_are_promised() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    world.answered("a", BAD, (0.1, 0.1014));
    let answer = world.ask("services=patient&salt=x", 1.0);
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let mut expected =
        ["proxy", "boot", "cursor", "lost", "edges_ms", "now", "counting_since", "left_out", "seconds"];
    expected.sort_unstable();
    assert_eq!(keys(&answer), expected);
    let mut expected = [
        "second",
        "service",
        "route",
        "rule",
        "share",
        "version",
        "requests",
        "timed",
        "undrawn",
        "errors",
        "error_clients",
        "sampled",
        "fallbacks",
        "slower",
    ];
    expected.sort_unstable();
    assert_eq!(keys(only(&answer)), expected);
    assert_eq!(only(&answer)["share"].to_string(), "100");
    assert_eq!(only(&answer)["slower"], serde_json::json!([1, 1]), "1.4 ms is slower than 1 and 1.2");
    assert_eq!(answer["edges_ms"].as_array().unwrap().len(), 61);
    assert_eq!(answer["edges_ms"][1], 1.2);
}

#[test]
fn bad_questions_say_what_is_wrong() {
    for (query, expected) in [
        ("", BadQuestion::NoServices),
        ("services=", BadQuestion::NoServices),
        ("services=,,", BadQuestion::NoServices),
        ("services=a%20b", BadQuestion::NotAName("a b".into())),
        ("services=a&services=b", BadQuestion::Twice("services")),
        ("services=a&salt=1&salt=1", BadQuestion::Twice("salt")),
        ("services=a&since=1", BadQuestion::Unknown("since".into())),
        ("services=a&after=what", BadQuestion::BadCursor("what".into())),
        ("services=a&after=b0.-1", BadQuestion::BadCursor("b0.-1".into())),
        ("services=a&after=.7", BadQuestion::BadCursor(".7".into())),
        (
            "services=a&after=b0.99999999999999999999",
            BadQuestion::BadCursor("b0.99999999999999999999".into()),
        ),
    ] {
        assert_eq!(Question::parse(query), Err(expected), "{query}");
    }
    assert_eq!(Question::parse(&format!("services=a&salt={}", "x".repeat(257))), Err(BadQuestion::LongSalt));
    let many: Vec<String> = (0..5_000).map(|n| format!("s{n}")).collect();
    assert_eq!(Question::parse(&format!("services={}", many.join(","))), Err(BadQuestion::TooManyServices));
    let good = Question::parse("services=b,a,b&after=&salt=a%26b").unwrap();
    assert_eq!(good.services, ["a", "b"].map(|name| Name::parse(name).unwrap()));
    assert_eq!((good.after, &*good.salt), (None, "a&b"));
}

#[test]
fn a_cursor_from_the_future_is_only_a_cursor() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    let answer = world.ask(&format!("services=patient&after=b0.{}", START + 1_000), 2.0);
    assert_eq!(answer["cursor"], format!("b0.{}", START + 2));
}

#[test]
fn counts_of_many_threads_are_exact() {
    let world = World::new();
    world.ask("services=patient", 0.0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..1_000 {
                    world.answered(
                        &format!("{thread}-{n}"),
                        if n % 10 == 0 { BAD } else { GOOD },
                        (0.1, 0.2),
                    );
                }
            });
        }
    });
    let answer = world.ask("services=patient", 1.0);
    let row = only(&answer);
    assert_eq!(
        (&row["requests"], &row["errors"], &row["timed"]),
        (&8_000.into(), &800.into(), &8_000.into())
    );
}

proptest! {
    /// Whatever happens in whatever order: every request is counted once, in one second, and no row contradicts itself.
    #[test]
    fn every_request_is_counted_once(steps in prop::collection::vec((0_u32..4_000, 0_u32..15_000, 0_u8..5), 1..60)) {
        let world = World::new();
        let (mut clock, mut open, mut told, mut cursor) = (0.0, Vec::new(), Vec::new(), String::new());
        let expected = steps.len();
        let ask = |clock: f64, cursor: &mut String| {
            let answer = world.ask(&format!("services=patient&after={cursor}"), clock);
            *cursor = answer["cursor"].as_str().unwrap().to_owned();
            assert_eq!(answer["lost"], 0);
            rows(&answer).into_iter().cloned().collect::<Vec<Value>>()
        };
        told.extend(ask(0.0, &mut cursor));
        for (n, (pause, lasts, kind)) in steps.iter().enumerate() {
            clock += f64::from(*pause) / 1e3;
            told.extend(ask(clock, &mut cursor));
            open.push((clock + f64::from(*lasts) / 1e3, world.request(GRAY, &n.to_string(), clock).unwrap(), *kind));
            open.sort_by(|a: &(f64, Asked, u8), b| b.0.total_cmp(&a.0));
            while let Some((_, mut asked, kind)) = open.pop_if(|(at, ..)| *at <= clock) {
                match kind {
                    0 => asked.sighting.over(world.at(clock)),
                    1 => asked.sighting.answered(BAD, world.at(clock)),
                    _ => asked.sighting.answered(GOOD, world.at(clock)),
                }
            }
        }
        for _ in 0..5 {
            clock += 5.0;
            told.extend(ask(clock, &mut cursor));
        }
        drop(open);
        let sum = |name: &str| told.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>() as usize;
        prop_assert_eq!(sum("requests"), expected);
        prop_assert_eq!(sum("timed"), expected);
        let seconds: Vec<u64> = told.iter().map(|row| row["second"].as_u64().unwrap()).collect();
        prop_assert!(seconds.is_sorted_by(|a, b| a < b), "each second once");
        for row in &told {
            let slower: Vec<u64> = row["slower"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            prop_assert!(slower.is_sorted_by(|a, b| a >= b));
            prop_assert!(slower.first().is_none_or(|most| *most <= row["timed"].as_u64().unwrap()));
        }
    }
}
