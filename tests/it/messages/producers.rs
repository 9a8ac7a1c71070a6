//! Producers of the proof, and what became of each message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use graygate_testing::messages::Client;

use super::checks::{Fate, Time};
use super::scene::{LOOK_EVERY, ROWS, Scene, TOPIC, blocking};

/// What became of each message, and when the broker was known to have it.
#[derive(Default)]
pub struct Sent {
    pub fates: BTreeMap<String, Fate>,
    pub stored: BTreeMap<String, Time>,
}

/// Producers of base and of both lanes at both gateways, and of rows.
pub struct Producers {
    all: Vec<Client>,
    asked: Vec<String>,
}

impl Producers {
    pub async fn start(scene: &Scene) -> Producers {
        let (zero, one) = (&scene.gateways[0], &scene.gateways[1]);
        let places = [
            ("producer", zero.base, TOPIC),
            ("producer", one.base, TOPIC),
            ("producer", zero.lanes[0], TOPIC),
            ("node-producer", one.lanes[1], TOPIC),
            ("node-producer", one.base, ROWS),
            ("producer", zero.lanes[0], ROWS),
        ];
        let starting = places.map(|(kind, at, topic)| {
            blocking(move || Client::start(kind, &[&at.to_string(), topic, "once"]))
        });
        let mut all = Vec::new();
        for one in starting {
            all.push(one.await);
        }
        Producers { all, asked: Vec::new() }
    }

    /// One message: in twenty, one fails once; in a hundred, one is delayed and one ends a transaction.
    pub fn send(&mut self, number: usize) {
        let (line, by) = match number % 100 {
            7 => (format!("later late-{number} 5"), number / 100 % 3),
            13 if number % 200 < 100 => (format!("half half-{number}"), number / 100 % 3),
            13 => (format!("half back-{number}"), number / 100 % 3),
            31 => (format!("ordered row-{}-{number} group{}", number % 3, number % 3), 4 + number / 100 % 2),
            32..40 => (format!("ordered row-{}-{number} group{}", number % 3, number % 3), 4 + number % 2),
            // Some of base name a lane by themselves.
            17 => (format!("send plain-{number} feat1"), 0),
            rest if rest % 20 == 3 => (format!("send once-{number}"), number % 4),
            _ => (format!("send plain-{number}"), number / 3 % 4),
        };
        self.asked.push(line.split(' ').nth(1).unwrap().to_owned());
        self.all[by].say(&line);
    }

    /// One of the first lane whose handler takes long.
    pub fn long(&mut self, number: usize) {
        self.asked.push(format!("long-{number}"));
        self.all[2].say(&format!("send long-{number}"));
    }

    /// One of the second lane.
    pub fn of_second_lane(&mut self, number: usize) {
        self.asked.push(format!("plain-{number}"));
        self.all[3].say(&format!("send plain-{number}"));
    }

    /// What became of each, once all producers have said so.
    pub async fn sent(&self, limit: Duration) -> Sent {
        let until = Instant::now() + limit;
        loop {
            let mut sent = Sent::default();
            for told in self.all.iter().flat_map(Client::told) {
                let fate = match told.word.as_str() {
                    "sent" if told.id.starts_with("back") => Fate::RolledBack,
                    "sent" => Fate::Committed,
                    "lost" => Fate::Unknown,
                    _ => continue,
                };
                if fate == Fate::Committed {
                    sent.stored.insert(told.id.clone(), told.more[0].parse().unwrap());
                }
                sent.fates.insert(told.id, fate);
            }
            if sent.fates.len() == self.asked.len() || Instant::now() > until {
                return sent;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
