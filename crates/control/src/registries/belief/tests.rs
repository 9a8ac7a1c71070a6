//! The rule, sentence by sentence.

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn shown(ports: &[u16]) -> Shown<&'static str> {
    Shown { instances: ports.iter().map(|port| (address(*port), "v1")).collect(), ..Shown::default() }
}

/// A belief, and a clock in whole seconds.
struct Case {
    belief: Belief<&'static str>,
    start: Instant,
    asked: usize,
}

impl Case {
    fn holding(ports: &[u16]) -> Case {
        Case { belief: Belief::new(PATIENCE, shown(ports).instances), start: Instant::now(), asked: 0 }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn passes(&mut self, second: u64) {
        let now = self.at(second);
        self.asked += usize::from(self.belief.passes(now));
    }

    fn up(&mut self, second: u64) {
        self.passes(second);
        let now = self.at(second);
        self.belief.up(now);
    }

    fn shows(&mut self, second: u64, ports: &[u16]) {
        self.passes(second);
        let now = self.at(second);
        self.belief.shows(&shown(ports), now);
    }

    #[track_caller]
    fn believes(&self, ports: &[u16]) {
        let believed: Vec<u16> = self.belief.believed().map(|one| one.address.port()).collect();
        assert_eq!(believed, ports);
    }

    fn held_back(&self) -> Vec<(u16, Why)> {
        self.belief.believed().filter_map(|one| Some((one.address.port(), one.missing?.why))).collect()
    }
}

/// A link that has been up for longer than the patience, with these instances.
fn steady(ports: &[u16]) -> Case {
    let mut case = Case::holding(ports);
    case.up(0);
    case.shows(0, ports);
    case.passes(100);
    case
}

#[test]
fn a_removal_on_a_steady_link_counts_at_once() {
    let mut case = steady(&[1, 2, 3]);
    case.shows(101, &[1, 3]);
    case.believes(&[1, 3]);
    case.shows(102, &[3]);
    case.believes(&[3]);
}

#[test]
fn the_last_instance_leaves_at_once() {
    let mut case = steady(&[1]);
    case.shows(101, &[]);
    case.believes(&[]);
    assert_eq!(case.belief.wakes_at(), None);
}

#[test]
fn an_addition_counts_at_once_also_just_after_a_start() {
    let mut case = Case::holding(&[1]);
    case.up(0);
    case.shows(0, &[1, 2]);
    case.believes(&[1, 2]);
}

#[test]
fn what_came_on_this_link_leaves_at_once_on_this_link() {
    let mut case = Case::holding(&[]);
    case.up(0);
    case.shows(0, &[1, 2]);
    case.shows(5, &[1]);
    case.believes(&[1]);
}

#[test]
fn fewer_after_a_start_are_believed_after_the_patience_alone() {
    let mut case = Case::holding(&[1, 2]);
    case.up(0);
    case.shows(1, &[1]);
    case.believes(&[1, 2]);
    assert_eq!(case.held_back(), [(2, Why::Reconnected)]);
    case.passes(60);
    case.believes(&[1, 2]);
    assert_eq!(case.belief.wakes_at(), Some(case.at(61)));
    case.passes(61);
    case.believes(&[1]);
}

#[test]
fn an_absence_that_ends_begins_again() {
    let mut case = Case::holding(&[1, 2]);
    case.up(0);
    case.shows(1, &[1]);
    case.shows(30, &[1, 2]);
    assert_eq!(case.held_back(), []);
    case.shows(40, &[1]);
    case.passes(99);
    case.believes(&[1, 2]);
    case.passes(100);
    case.believes(&[1]);
}

#[test]
fn a_restarted_registry_that_is_empty_takes_nothing_away_until_the_patience_ends() {
    let mut case = steady(&[1, 2]);
    case.belief.down();
    case.up(110);
    case.shows(110, &[]);
    case.passes(135);
    case.believes(&[1, 2]);
    assert_eq!(case.asked, 0, "the patience is the second look");
    case.shows(136, &[1]);
    case.shows(137, &[1, 2]);
    case.passes(1_000);
    case.believes(&[1, 2]);
}

#[test]
fn a_link_that_is_down_takes_nothing_away_for_ever() {
    let mut case = Case::holding(&[1, 2]);
    case.passes(1_000_000);
    case.believes(&[1, 2]);
    case.up(1_000_000);
    case.shows(1_000_000, &[]);
    case.belief.down();
    case.passes(2_000_000);
    case.believes(&[1, 2]);
    assert_eq!(case.belief.wakes_at(), None);
}

#[test]
fn an_answer_without_a_link_is_no_answer() {
    let mut case = Case::holding(&[1]);
    case.shows(0, &[]);
    case.shows(1, &[2]);
    case.believes(&[1]);
}

#[test]
fn an_empty_answer_is_asked_again_and_then_believed() {
    let mut case = steady(&[1, 2]);
    case.shows(101, &[]);
    case.believes(&[1, 2]);
    assert_eq!(case.held_back(), [(1, Why::Emptied), (2, Why::Emptied)]);
    case.passes(110);
    assert_eq!(case.asked, 0);
    case.passes(111);
    assert_eq!(case.asked, 1);
    let now = case.at(112);
    case.belief.second_look(&shown(&[]), now);
    case.believes(&[]);
}

#[test]
fn a_second_look_that_sees_them_keeps_them_and_asks_on() {
    let mut case = steady(&[1, 2, 3]);
    case.shows(101, &[]);
    case.passes(111);
    let now = case.at(112);
    case.belief.second_look(&shown(&[1, 2]), now);
    case.believes(&[1, 2]);
    case.passes(122);
    assert_eq!(case.asked, 2);
    let now = case.at(122);
    case.belief.second_look_failed(now);
    case.believes(&[1, 2]);
    case.passes(132);
    assert_eq!(case.asked, 3);
    // Two servers that contradict each other for as long as the patience: the link counts.
    case.passes(161);
    case.believes(&[]);
}

#[test]
fn an_empty_answer_that_is_taken_back_is_forgotten() {
    let mut case = steady(&[1, 2]);
    case.shows(101, &[]);
    case.shows(103, &[1, 2]);
    assert_eq!(case.held_back(), []);
    case.passes(1_000);
    assert_eq!(case.asked, 0);
    case.believes(&[1, 2]);
}

#[test]
fn a_late_second_look_means_nothing() {
    let mut case = steady(&[1, 2]);
    case.shows(101, &[]);
    case.passes(111);
    case.shows(112, &[1, 2]);
    let now = case.at(113);
    case.belief.second_look(&shown(&[]), now);
    case.believes(&[1, 2]);
}

#[test]
fn a_lost_link_begins_the_patience_again() {
    let mut case = Case::holding(&[1, 2]);
    case.up(0);
    case.shows(0, &[1]);
    case.passes(59);
    case.belief.down();
    case.up(59);
    case.shows(59, &[1]);
    case.passes(118);
    case.believes(&[1, 2]);
    case.passes(119);
    case.believes(&[1]);
}

#[test]
fn what_is_shown_but_not_understood_stays_as_it_was() {
    let mut case = steady(&[1, 2]);
    let mut half = shown(&[1]);
    half.unclear = [address(2), address(3)].into();
    let now = case.at(101);
    case.belief.shows(&half, now);
    case.believes(&[1, 2]);
    assert_eq!(case.held_back(), []);
}

#[test]
fn changed_values_are_believed_at_once() {
    let mut case = steady(&[1]);
    let changed = Shown { instances: [(address(1), "v2")].into(), ..Shown::default() };
    let now = case.at(101);
    case.belief.shows(&changed, now);
    assert_eq!(case.belief.believed().map(|one| *one.values).collect::<Vec<_>>(), ["v2"]);
}
