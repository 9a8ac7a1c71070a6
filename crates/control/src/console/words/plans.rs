//! Plans: states, steps, actions and what they will do.

use graygate_judge::plan::Action;

use super::{sentences, words};
use crate::report::Language;

words! {
    new_plan "New plan" "新建计划"
    state "State" "状态"
    step "Step" "步骤"
    steps "Steps" "步骤"
    share "Share" "比例"
    all_states "all states" "全部状态"
    draft "draft" "草稿"
    active "active" "进行中"
    paused "paused" "已暂停"
    completed "completed" "已完成"
    rolled "rolled back" "已回滚"
    promoted "promoted" "已转正"
    edited "edited meanwhile" "文档已更改"
    evidence "Evidence" "证据"
    waits_for "Waits for" "等待"
    no_plans "There are no plans." "没有计划。"
    regression "regression" "劣化"
    pass "pass" "通过"
    no_evidence_yet "no evidence yet" "暂无证据"
    because "Because" "因为"
    actions "Actions" "操作"
    side_by_side "Versions side by side" "版本对比"
    other_values "other values" "其他值"
    edited_while_running "The document was changed during the run. The running copy counts until the run ends; this is the difference:" "运行期间文档已更改。运行中的副本在结束前有效；差异如下："
    chosen_people "chosen people" "选定人群"
    holds "holds" "保持"
    needs_approval "asks for approval first" "开始前需审批"
    no_approval_waits "No approval is waited for." "没有等待审批。"
    promoted_already "It is promoted already." "已经转正。"
    own_plan "You wrote or started it: another person approves." "您编写或启动了它：须由他人审批。"
    although_others "although some requests are still release" "即使仍有请求是 release"
    are_relabelled "the instances were relabelled" "实例已重新标记"
    rejects "Pauses the plan instead of beginning the next step." "不进入下一步，而是暂停计划。"
    runs "Runs" "运行记录"
    no_runs "It never ran." "从未运行。"
    report "report" "报告"
    evidence_lines "evidence, line by line" "逐行证据"
    stragglers "Proxies that have not confirmed yet" "尚未确认的代理"
    lost_proxies "Proxies that are gone and cannot be asked" "已失联、无法询问的代理"
    start "Start" "启动"
    pause "Pause" "暂停"
    resume "Resume" "继续"
    advance "Advance" "推进"
    complete "Complete" "完成"
    roll_back "Roll back" "回滚"
    promote "Promote" "转正"
    guard_errors "Errors beside release" "与 release 相比的错误"
    guard_latency "Latency beside release" "与 release 相比的延迟"
    guard_error_rate "Error rate" "错误率上限"
    guard_latency_p99 "Latency p99" "延迟 p99 上限"
    guard_fallback "Fallbacks" "回退上限"
    waits_instance "an instance of the version that takes requests" "该版本有可用实例"
    waits_complete "Complete: the last share is below 100 %" "完成：最后一步低于 100 %"
    waits_promote "Promote, or Roll back" "转正或回滚"
    plan_title "Title" "标题"
    plan_name "Name" "名称"
    of_services "Services, with commas" "服务，以逗号分隔"
    to_version "Version its audience gets" "目标版本"
    first_list "First the members of a list" "先给名单成员"
    no_list "no list" "不用名单"
    shares "Shares in percent, with commas" "比例（百分比），以逗号分隔"
    hold_each "Hold of each step" "每步保持时间"
    approve_last "Ask for approval before the last step" "最后一步前需审批"
    make_text "Make the text of these fields" "由以上字段生成内容"
    as_text "The document" "文档内容"
    save_plan "Save this draft" "保存此草稿"
    move_by_step "Who would move, step by step" "逐步影响人数"
    plans_under_way "Plans under way" "进行中的计划"
    all_plans "all plans" "全部计划"
    app "Application" "应用"
    group "Group" "分组"
    key "Key" "键"
    gray_value "Gray value" "灰度值"
    value "Value" "值"
    configs_note "The values of applications, and what plans give to some instances instead; applications ask for them by the API." "应用的配置值，以及计划发给部分实例的灰度值；应用通过 API 获取。"
    no_items "There are no such values." "没有这样的配置值。"
    new_item "New value" "新建配置值"
    config_item "Value of" "配置值"
    users_moved "of the users move" "用户改变"
}

sentences! {
    removes_item(bytes, plans) "Takes the value of {bytes} bytes away: applications that ask for it get 404. Plans that give some another value: {plans}." "删除这个 {bytes} 字节的值：应用再问时得到 404。正在发放灰度值的计划：{plans} 个。"
    plan_named(name) "Plan {name}" "计划 {name}"
    plans_count(count) "Plans: {count}" "{count} 个计划"
    plan_sentence(version, services, share, begun, steps, gray, release) "{share} of {services} gets {version}: step {begun} of {steps}; {gray} gray and {release} release requests were judged." "{services} 的 {share} 得到 {version}：第 {begun} 步，共 {steps} 步；已评判灰度请求 {gray} 个、release 请求 {release} 个。"
    held_of(held, hold) "{held} of {hold}" "已保持 {held}，共 {hold}"
    not_in_state(state) "Not while it is {state}." "“{state}”状态下不可用。"
    type_the_name(name) "Type {name}" "请输入 {name}"
    rolls_back(share, services, count) "rolls back {share} of {services}, about {count} requests a minute" "回滚 {services} 的 {share}，每分钟约 {count} 个请求"
    starts(share) "gives the version to {share} first" "首先给 {share}"
    pauses(share) "the audience stays at {share}; guards go on looking" "受众保持在 {share}；守护继续观察"
    resumes(step) "goes on in step {step}; its hold begins again" "从第 {step} 步继续；保持时间重新计算"
    advances(from, to) "from {from} to {to} now, whatever the hold says" "立即从 {from} 到 {to}，不等保持时间"
    approves(to) "lets the next step begin: {to}" "允许下一步开始：{to}"
    completes(version, services, count) "gives {version} to everyone of {services}, about {count} requests a minute, in one step" "一步把 {version} 给 {services} 的所有人，每分钟约 {count} 个请求"
    promotes(version, services) "{version} becomes the release of {services}, and the plan's rules go" "{version} 成为 {services} 的 release，计划的规则被移除"
    rolled_back(confirmed, all) "Rolled back: {confirmed} of {all} proxies confirmed that they run without the plan's rules." "已回滚：{all} 个代理中有 {confirmed} 个确认已不再运行该计划的规则。"
    run_number(number) "Run {number}" "第 {number} 次运行"
    waits_regression(guards) "a person: {guards} says regression" "人工处理：{guards} 判定劣化"
    waits_person(why) "a person: {why}" "人工处理：{why}"
    waits_fleet(count) "the fleet: proxies that are behind: {count}" "代理：{count} 个落后"
    waits_fleet_named(names) "the fleet: behind for long are {names}" "代理：长时间落后的有 {names}"
    waits_unreadable(names) "proxies that cannot be asked: {names}" "无法询问的代理：{names}"
    waits_hold(left) "time: {left} more of the hold" "时间：还需保持 {left}"
    waits_requests(seen, wanted) "traffic: {seen} of {wanted} gray requests were seen" "流量：已见 {seen} / {wanted} 个灰度请求"
    waits_evidence(guards) "proof: nothing to compare yet for {guards}" "证据：{guards} 暂无可比数据"
    waits_approval(step) "approval of step {step}" "第 {step} 步的审批"
    waits_window(opens) "its window: {opens}" "时间窗口：{opens}"
    waits_lists(lists) "lists that are missing or have problems: {lists}" "缺失或有问题的名单：{lists}"
    waits_watch(left) "time: {left} more of the watch" "时间：观察期还有 {left}"
    approval_of(plan) "Approve a step of {plan}" "审批 {plan} 的步骤"
}

impl Language {
    pub fn state_name(self, state: &str) -> &'static str {
        match state {
            "DRAFT" => self.draft(),
            "ACTIVE" => self.active(),
            "PAUSED" => self.paused(),
            "COMPLETED" => self.completed(),
            _ => self.rolled(),
        }
    }

    /// What a button says.
    pub fn action_name(self, action: Action) -> &'static str {
        match action {
            Action::Start => self.start(),
            Action::Pause => self.pause(),
            Action::Resume => self.resume(),
            Action::Advance => self.advance(),
            Action::Approve => self.approve(),
            Action::Reject => self.reject(),
            Action::Complete => self.complete(),
            Action::Rollback => self.roll_back(),
            Action::Promote => self.promote(),
        }
    }

    /// A guard by its name in documents; measures have names of their operators'.
    pub fn guard_name(self, name: &str) -> &str {
        match name {
            "errors" => self.guard_errors(),
            "latency" => self.guard_latency(),
            "error_rate" => self.guard_error_rate(),
            "latency_p99" => self.guard_latency_p99(),
            "fallback" => self.guard_fallback(),
            other => other,
        }
    }
}
