//! A registry whose servers restart, flap, answer late, half or with nothing, against what must hold all the same.
//!
//! The world knows which providers live. The registry knows those that have told it since its last restart. The link
//! shows that, late. The belief sees the link alone, and is compared with the world second by second.

use super::*;

const SEEDS: u64 = 1_000;
const SECONDS: u64 = 900;
const PATIENCE: u64 = 60;
/// A provider tells a restarted registry within this time (the slowest seen in the wild is a heartbeat of 30 s).
const RETURNS_WITHIN: u64 = 30;
/// A registry that restarts does so again at the earliest after this time, so that its providers have all come back.
const CALM: u64 = 100;
const PROVIDERS: u16 = 6;

/// Chance from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Once in `times`.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Clone, Copy, Default)]
struct Provider {
    lives: bool,
    /// When it tells the registry that it is there; `None`: it has, or is gone.
    tells_at: Option<u64>,
    listed_since: Option<u64>,
    /// Since when it has lived, or been gone.
    since: u64,
    /// It was believed in while it lived, so nothing but its end may take it away.
    known: bool,
}

struct World {
    chance: Chance,
    providers: [Provider; PROVIDERS as usize],
    second: u64,
    link_up_since: Option<u64>,
    comes_up_at: u64,
    restarted_at: u64,
    /// Until when the server at the link shows nothing, while another shows everything.
    blank_until: u64,
    /// Answers on their way, oldest first: when they arrive, and what they show.
    on_the_way: Vec<(u64, BTreeSet<u16>)>,
    /// Whether the server that would be asked for a second look is away.
    second_server_away: bool,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port + 1))
}

fn shown(ports: &BTreeSet<u16>) -> Shown<u16> {
    Shown { instances: ports.iter().map(|port| (address(*port), *port)).collect(), ..Shown::default() }
}

impl World {
    fn new(seed: u64) -> World {
        let mut chance = Chance(seed);
        let mut providers = [Provider::default(); PROVIDERS as usize];
        for provider in &mut providers {
            provider.lives = !chance.one_in(3);
            provider.listed_since = provider.lives.then_some(0);
        }
        World {
            providers,
            second: 0,
            link_up_since: None,
            comes_up_at: chance.below(20),
            restarted_at: 0,
            blank_until: 0,
            on_the_way: Vec::new(),
            second_server_away: chance.one_in(2),
            chance,
        }
    }

    fn listed(&self) -> BTreeSet<u16> {
        (0..PROVIDERS).filter(|i| self.providers[*i as usize].listed_since.is_some()).collect()
    }

    fn cut(&mut self, belief: &mut Belief<u16>) {
        if self.link_up_since.take().is_some() {
            belief.down();
        }
        self.on_the_way.clear();
        self.comes_up_at = self.second + self.chance.below(15);
    }

    fn providers_come_and_go(&mut self) {
        for i in 0..self.providers.len() {
            let changes = self.chance.one_in(150);
            let late = 1 + self.chance.below(3);
            let provider = &mut self.providers[i];
            if changes && provider.lives {
                // A registry that is being restarted hears of no departure; the provider is simply not there later.
                *provider = Provider { since: self.second, ..Provider::default() };
            } else if changes {
                *provider = Provider {
                    lives: true,
                    since: self.second,
                    tells_at: Some(self.second + late),
                    ..Provider::default()
                };
            }
            if provider.tells_at.is_some_and(|at| at <= self.second) {
                (provider.listed_since, provider.tells_at) = (Some(self.second), None);
            }
        }
    }

    /// The registry dies and comes back with what its disk has: nothing, or a half.
    fn restart(&mut self, belief: &mut Belief<u16>) {
        self.restarted_at = self.second;
        self.cut(belief);
        let keeps_half = self.chance.one_in(3);
        for i in 0..self.providers.len() {
            let returns = self.chance.below(RETURNS_WITHIN);
            let keeps = keeps_half && self.chance.one_in(2);
            let comes_up_at = self.comes_up_at;
            let provider = &mut self.providers[i];
            if provider.listed_since.is_some() && !keeps {
                (provider.listed_since, provider.tells_at) = (None, Some(comes_up_at + returns));
            }
        }
    }

    fn step(&mut self, belief: &mut Belief<u16>, now: Instant) {
        self.providers_come_and_go();
        if self.second >= self.restarted_at + CALM && self.chance.one_in(200) {
            self.restart(belief);
        } else if self.chance.one_in(250) {
            self.cut(belief);
        }
        self.go_blank();
        if self.link_up_since.is_none() && self.second >= self.comes_up_at {
            self.link_up_since = Some(self.second);
            belief.up(now);
        }
        if self.link_up_since.is_some() {
            // An answer each second, up to four seconds late, but never before an older one.
            let earliest = self.on_the_way.last().map_or(0, |(at, _)| *at);
            let arrives = (self.second + self.chance.below(5)).max(earliest);
            let blank = self.second < self.blank_until;
            let listed = if blank { BTreeSet::new() } else { self.listed() };
            self.on_the_way.push((arrives, listed));
            while self.on_the_way.first().is_some_and(|(at, _)| *at <= self.second) {
                let (_, ports) = self.on_the_way.remove(0);
                belief.shows(&shown(&ports), now);
            }
        }
        if belief.passes(now) {
            match self.second_server_away {
                true => belief.second_look_failed(now),
                false => belief.second_look(&shown(&self.listed()), now),
            }
        }
    }

    /// Behind a link that holds, the state of a whole cluster is lost for some seconds.
    fn go_blank(&mut self) {
        let settled = |provider: &Provider| provider.listed_since.is_none_or(|at| at + 10 < self.second);
        let calm = self.providers.iter().all(settled) && self.second > self.blank_until + CALM;
        if calm && self.listed().len() > 1 && self.chance.one_in(100) {
            self.blank_until = self.second + 1 + self.chance.below(8);
        }
    }

    fn check(&mut self, belief: &Belief<u16>, now: Instant, seed: u64) {
        let believed: BTreeSet<u16> = belief.believed().map(|one| *one.values).collect();
        let link_age = self.link_up_since.map_or(0, |since| self.second - since);
        for (port, provider) in (0..).zip(&mut self.providers) {
            let place = format!("seed {seed}, second {}, provider {port}", self.second);
            let is_believed = believed.contains(&port);
            let for_long = |since: u64, seconds: u64| self.second > since + seconds;
            provider.known |= provider.lives && is_believed && for_long(provider.since, 10);
            assert!(is_believed || !provider.known, "lost a living one: {place}");
            let listed = provider.listed_since.is_some_and(|at| for_long(at.max(self.blank_until), 6));
            assert!(is_believed || !listed || link_age <= 6, "not found: {place}");
            // After the patience of a start and, for an empty answer, a second look no one is kept who is gone.
            let gone =
                !provider.lives && for_long(provider.since, PATIENCE + 6) && link_age > 2 * PATIENCE + 6;
            assert!(!is_believed || !gone, "kept a dead one: {place}");
            // On a steady link at once, unless an answer was empty.
            let steady_before = self.second - link_age + PATIENCE < provider.since;
            let at_once = !provider.lives && for_long(provider.since, 6) && steady_before;
            let of_this = belief.believed().find(|one| *one.values == port).and_then(|one| one.missing);
            // It may have been missing, and come back unseen, since before the link was steady.
            let link_was_new = now - Duration::from_secs(link_age.saturating_sub(PATIENCE));
            let doubted =
                of_this.is_some_and(|missing| missing.why == Why::Emptied || missing.since < link_was_new);
            assert!(!is_believed || !at_once || doubted, "not gone at once: {place}");
        }
    }
}

#[test]
fn a_thousand_registries_in_trouble() {
    let start = Instant::now();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let held = shown(&world.listed()).instances;
        let mut belief = Belief::new(Duration::from_secs(PATIENCE), held);
        while world.second < SECONDS {
            let now = start + Duration::from_secs(world.second);
            world.step(&mut belief, now);
            world.check(&belief, now, seed);
            world.second += 1;
        }
    }
}

/// The same trouble without the rule: what is shown is believed. It has to fail, or the simulation proves nothing.
#[test]
fn the_simulation_notices_a_belief_without_patience() {
    let start = Instant::now();
    let lost = (0..20).any(|seed| {
        let mut world = World::new(seed);
        let mut belief = Belief::new(Duration::ZERO, shown(&world.listed()).instances);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while world.second < SECONDS {
                let now = start + Duration::from_secs(world.second);
                world.step(&mut belief, now);
                world.check(&belief, now, seed);
                world.second += 1;
            }
        }))
        .is_err()
    });
    assert!(lost);
}
