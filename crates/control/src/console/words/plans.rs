//! Plans: states, steps, actions and what they will do.

use super::{sentences, words};

words! {
    new_plan "New plan" "新建计划"
    state "State" "状态"
    step "Step" "步骤"
    share "Share" "比例"
}

sentences! {
    plan_named(name) "Plan {name}" "计划 {name}"
}
