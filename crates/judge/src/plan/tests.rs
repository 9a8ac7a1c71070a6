//! Plans that widen, wait and turn back.

use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn step(audience: Audience) -> Step {
    Step { audience, hold: MINUTE, min_requests: None, approval: false, tolerate: None }
}

/// Pilots, five percent, a quarter after approval, every user.
fn plan() -> Plan {
    Plan {
        steps: vec![
            step(Audience::Chosen),
            step(Audience::Share(5.0)),
            Step { approval: true, ..step(Audience::Share(25.0)) },
            step(Audience::Share(100.0)),
        ],
        on_regression: OnRegression::Rollback,
        on_unknown: OnUnknown::Hold,
        watch: 60 * MINUTE,
        promote: Promotion::Manual,
    }
}

fn at(state: State, begun: usize, held: Duration) -> Progress {
    Progress { state, begun, held, ..Progress::draft() }
}

fn well() -> Observed {
    Observed {
        regressions: vec![],
        instances: Instances { gray: true, release: true },
        behind: vec![],
        behind_for: Duration::ZERO,
        unreadable: vec![],
        gray_requests: 100,
        without_evidence: vec![],
        lists: vec![],
        window: Window::Open,
        disturbed: None,
    }
}

fn regressed() -> Observed {
    Observed { regressions: vec!["errors".into()], ..well() }
}

#[test]
fn a_plan_goes_from_its_first_step_to_its_end() {
    let plan = plan();
    let mut progress = at(State::Active, 0, Duration::ZERO);
    let mut seen = Vec::new();
    for _ in 0..20 {
        match decide(&plan, &progress, &well()) {
            Decision::Begin(step) => {
                assert_eq!(step, progress.begun);
                progress = progress.begin();
            }
            Decision::Wait(waiting) => {
                seen.push(waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "));
                if let [Waiting::Approval { .. }] = *waiting {
                    let Ok(Done::Progress(next)) = act(&plan, &progress, Action::Approve, &well()) else {
                        panic!()
                    };
                    assert_eq!(next.begun, 3);
                    progress = next;
                } else {
                    progress.hold(MINUTE);
                }
            }
            Decision::Complete => progress = progress.enter(State::Completed),
            other => panic!("{other:?}"),
        }
        if progress.state == State::Completed {
            break;
        }
    }
    let held = "1m more of the step's hold";
    assert_eq!(seen, [held, held, "approval of step 2", held, held]);
    assert_eq!(progress, Progress { begun: 4, ..at(State::Completed, 4, Duration::ZERO) });
}

#[test]
fn what_is_missing_is_said_in_order() {
    let all = Observed {
        instances: Instances { gray: false, release: true },
        behind: vec!["edge-1".into()],
        behind_for: Duration::from_secs(31),
        unreadable: vec!["edge-2".into()],
        gray_requests: 40,
        without_evidence: vec!["latency".into()],
        ..well()
    };
    let expected = vec![
        Waiting::NoGrayInstance,
        Waiting::Fleet { behind: 1, named: vec!["edge-1".into()] },
        Waiting::Unreadable(vec!["edge-2".into()]),
        Waiting::Hold { left: MINUTE },
        Waiting::Requests { seen: 40, wanted: 100 },
        Waiting::Evidence(vec!["latency".into()]),
    ];
    let progress = at(State::Active, 2, Duration::ZERO);
    assert_eq!(decide(&plan(), &progress, &all), Decision::Wait(expected));
}

#[test]
fn the_unknown_never_becomes_good_by_waiting_unless_it_was_written() {
    let unknown = Observed { gray_requests: 0, without_evidence: vec!["errors".into()], ..well() };
    let progress = at(State::Active, 1, 1000 * MINUTE);
    assert!(matches!(decide(&plan(), &progress, &unknown), Decision::Wait(_)));
    let bold = Plan { on_unknown: OnUnknown::Advance, ..plan() };
    assert_eq!(decide(&bold, &progress, &unknown), Decision::Begin(1));
}

#[test]
fn steps_of_chosen_people_want_one_request() {
    let one = Observed { gray_requests: 1, ..well() };
    assert_eq!(decide(&plan(), &at(State::Active, 1, MINUTE), &one), Decision::Begin(1));
    assert!(matches!(decide(&plan(), &at(State::Active, 2, MINUTE), &one), Decision::Wait(_)));
}

#[test]
fn a_regression_counts_in_every_state_with_an_audience() {
    let back = Decision::RollBack(Because::Regression(vec!["errors".into()]));
    let blocked = Observed {
        behind: vec!["edge-1".into()],
        window: Window::Closed("tomorrow".into()),
        disturbed: Some(Disturbance::DocumentDeleted),
        ..regressed()
    };
    for state in [State::Active, State::Paused, State::Completed] {
        assert_eq!(decide(&plan(), &at(state, 2, Duration::ZERO), &blocked), back, "{state:?}");
    }
    // While it waits for approval as well.
    assert_eq!(decide(&plan(), &at(State::Active, 2, MINUTE), &regressed()), back);
    for state in [State::Draft, State::Rollback] {
        assert_eq!(decide(&plan(), &at(state, 0, MINUTE), &regressed()), Decision::Wait(vec![]));
    }
    // Once the watch ended, and once it was promoted, nothing is rolled back any more.
    let late = at(State::Completed, 4, 60 * MINUTE);
    assert_eq!(decide(&plan(), &late, &regressed()), Decision::Wait(vec![Waiting::Promote]));
    let promoted = Progress { promoted: true, ..at(State::Completed, 4, MINUTE) };
    assert_eq!(decide(&plan(), &promoted, &regressed()), Decision::Wait(vec![]));
}

#[test]
fn nothing_is_rolled_back_to_a_release_that_is_not_there() {
    let gone = Observed { instances: Instances { gray: true, release: false }, ..regressed() };
    let because = Because::RegressionWithoutRelease(vec!["errors".into()]);
    assert_eq!(decide(&plan(), &at(State::Active, 2, MINUTE), &gone), Decision::Pause(because));
    let waits = Decision::Wait(vec![Waiting::Regression(vec!["errors".into()])]);
    assert_eq!(decide(&plan(), &at(State::Paused, 2, MINUTE), &gone), waits);
    assert_eq!(decide(&plan(), &at(State::Completed, 4, MINUTE), &gone), waits);
}

#[test]
fn a_plan_that_shall_pause_pauses() {
    let careful = Plan { on_regression: OnRegression::Pause, ..plan() };
    let because = Because::Regression(vec!["errors".into()]);
    assert_eq!(decide(&careful, &at(State::Active, 2, MINUTE), &regressed()), Decision::Pause(because));
}

#[test]
fn a_hand_is_not_fought() {
    let disturbance = Disturbance::Rules(vec!["rules/plan.p.share".into()]);
    let disturbed = Observed { disturbed: Some(disturbance.clone()), ..well() };
    let pause = Decision::Pause(Because::Disturbed(disturbance));
    assert_eq!(decide(&plan(), &at(State::Active, 1, MINUTE), &disturbed), pause);
    for state in [State::Paused, State::Completed] {
        let Decision::Wait(waiting) = decide(&plan(), &at(state, 1, 90 * MINUTE), &disturbed) else {
            panic!()
        };
        assert_eq!(waiting[0].to_string(), "a person: someone changed rules/plan.p.share");
    }
}

#[test]
fn a_step_waits_for_its_window_and_its_lists() {
    let shut = Observed {
        window: Window::Closed("Mon 09:00 Asia/Shanghai".into()),
        lists: vec!["pilots".into()],
        ..well()
    };
    let waits =
        vec![Waiting::Window("Mon 09:00 Asia/Shanghai".into()), Waiting::Lists(vec!["pilots".into()])];
    assert_eq!(decide(&plan(), &at(State::Active, 0, Duration::ZERO), &shut), Decision::Wait(waits));
    let refused = act(&plan(), &at(State::Active, 0, Duration::ZERO), Action::Advance, &shut);
    assert_eq!(refused, Err(Refusal("step 0 waits for its window: Mon 09:00 Asia/Shanghai".into())));
}

#[test]
fn an_approval_is_never_skipped() {
    let early = at(State::Active, 2, Duration::ZERO);
    let first = Err(Refusal("step 2 has to be approved first".into()));
    assert_eq!(act(&plan(), &early, Action::Advance, &well()), first);
    assert_eq!(act(&plan(), &early, Action::Complete, &well()), first);
    assert_eq!(act(&plan(), &at(State::Paused, 1, MINUTE), Action::Complete, &well()), first);
    let not_yet = Err(Refusal("the plan does not wait for approval".into()));
    assert_eq!(act(&plan(), &early, Action::Approve, &well()), not_yet);
    assert_eq!(act(&plan(), &early, Action::Reject, &well()), not_yet);

    let waits = at(State::Active, 2, MINUTE);
    assert_eq!(act(&plan(), &waits, Action::Reject, &well()), Ok(Done::Progress(waits.enter(State::Paused))));
    // Approved while a window is shut: it begins once that opens, and not before.
    let shut = Observed { window: Window::Closed("Mon".into()), ..well() };
    let Ok(Done::Progress(approved)) = act(&plan(), &waits, Action::Approve, &shut) else { panic!() };
    assert_eq!((approved.begun, approved.approved), (2, Some(2)));
    assert_eq!(decide(&plan(), &approved, &well()), Decision::Begin(2));
    // A resumed plan asks again.
    assert_eq!(approved.enter(State::Paused).approved, None);
}

#[test]
fn advance_skips_the_hold_and_ends_a_plan_of_all() {
    let early = at(State::Active, 1, Duration::ZERO);
    let little = Observed { gray_requests: 0, ..well() };
    assert_eq!(act(&plan(), &early, Action::Advance, &little), Ok(Done::Progress(early.begin())));
    let last = at(State::Active, 4, Duration::ZERO);
    assert_eq!(
        act(&plan(), &last, Action::Advance, &well()),
        Ok(Done::Progress(last.enter(State::Completed)))
    );
    let short = Plan { steps: vec![step(Audience::Share(5.0))], ..plan() };
    let last = at(State::Active, 1, 2 * MINUTE);
    assert_eq!(decide(&short, &last, &well()), Decision::Wait(vec![Waiting::Complete]));
    assert!(act(&short, &last, Action::Advance, &well()).is_err());
    let done = act(&short, &last, Action::Complete, &well());
    assert_eq!(done, Ok(Done::Progress(last.enter(State::Completed))));
}

#[test]
fn the_watch_ends_in_a_promotion_where_it_was_written() {
    let automatic = Plan { promote: Promotion::Automatic, ..plan() };
    let left = Waiting::Watch { left: MINUTE };
    let watched = |minutes| at(State::Completed, 4, minutes * MINUTE);
    assert_eq!(decide(&automatic, &watched(59), &well()), Decision::Wait(vec![left]));
    assert_eq!(decide(&automatic, &watched(60), &well()), Decision::Promote);
    assert!(matches!(decide(&automatic, &watched(60), &regressed()), Decision::Wait(_)));
    assert_eq!(decide(&plan(), &watched(60), &well()), Decision::Wait(vec![Waiting::Promote]));
    let Ok(Done::Progress(promoted)) = act(&plan(), &watched(1), Action::Promote, &well()) else { panic!() };
    assert!(promoted.promoted && act(&plan(), &promoted, Action::Promote, &well()).is_err());
}

#[test]
fn held_time_counts_where_something_is_held() {
    for (state, begun, counts) in [
        (State::Draft, 0, false),
        (State::Active, 0, false),
        (State::Active, 1, true),
        (State::Paused, 1, false),
        (State::Completed, 4, true),
        (State::Rollback, 1, false),
    ] {
        let mut progress = at(state, begun, MINUTE);
        progress.hold(MINUTE);
        assert_eq!(progress.held == 2 * MINUTE, counts, "{state:?}");
    }
    let Ok(Done::Progress(resumed)) = act(&plan(), &at(State::Paused, 2, MINUTE), Action::Resume, &well())
    else {
        panic!()
    };
    assert_eq!(resumed, at(State::Active, 2, Duration::ZERO), "the hold begins again");
}

#[test]
fn a_new_run_begins_with_nothing() {
    let Ok(Done::Progress(run)) = act(&plan(), &at(State::Rollback, 3, MINUTE), Action::Start, &well())
    else {
        panic!()
    };
    assert_eq!(run, at(State::Active, 0, Duration::ZERO));
    assert_eq!(act(&plan(), &at(State::Rollback, 3, MINUTE), Action::Rollback, &well()), Ok(Done::Again));
}
