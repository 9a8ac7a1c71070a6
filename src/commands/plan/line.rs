//! A plan, as the API answers it, in words for a terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// What the API answered.
#[derive(Clone, Copy)]
pub struct Plan<'a>(pub &'a Value);

impl<'a> Plan<'a> {
    fn text(self, field: &str) -> &'a str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(self, field: &str) -> u64 {
        self.0.get(field).and_then(Value::as_u64).unwrap_or_default()
    }

    fn items(self, field: &str) -> impl Iterator<Item = &'a Value> {
        self.0.get(field).and_then(Value::as_array).into_iter().flatten()
    }

    pub fn state(self) -> &'a str {
        self.text("state")
    }

    pub fn is_promoted(self) -> bool {
        self.0.get("promoted").and_then(Value::as_bool).unwrap_or_default()
    }

    pub fn version(self) -> &'a str {
        self.text("version")
    }

    pub fn services(self) -> Vec<&'a str> {
        self.items("services").filter_map(Value::as_str).collect()
    }

    pub fn why(self) -> &'a str {
        self.text("why")
    }

    /// What changes only when something happened.
    pub fn place(self) -> (String, u64, u64, Vec<String>) {
        // What is waited for, without its figures: `12 more gray requests` is no news each second.
        let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let waits = self.items("waiting_for").filter_map(Value::as_str).map(plain).collect();
        (self.state().to_owned(), self.number("run"), self.number("steps_begun"), waits)
    }

    fn step(self) -> String {
        let steps = self.items("steps").count();
        let share = self.0.get("share").and_then(Value::as_f64).unwrap_or_default();
        match self.number("steps_begun") {
            0 => format!("no step of {steps}"),
            begun => format!("step {begun}/{steps} ({share} %)"),
        }
    }

    fn hold(self) -> String {
        let begun = usize::try_from(self.number("steps_begun")).unwrap_or_default();
        let step = begun.checked_sub(1).and_then(|step| self.items("steps").nth(step));
        let hold = step.and_then(|step| step.get("hold_seconds")).and_then(Value::as_u64).unwrap_or_default();
        let held = seconds(self.number("held_seconds"));
        match self.state() {
            "ACTIVE" => format!("held {held} of {}", seconds(hold)),
            "COMPLETED" if !self.is_promoted() => format!("watched {held}"),
            _ => String::new(),
        }
    }

    fn evidence(self) -> String {
        let guards = self.0.get("guards").and_then(Value::as_object).into_iter().flatten();
        let shown = guards.filter_map(|(name, guard)| {
            if guard.get("verdict").and_then(Value::as_str) == Some("regression") {
                return Some(format!("{name} REGRESSION"));
            }
            let e = guard.get("log10_e")?.as_f64()?;
            let limit = guard.get("log10_threshold")?.as_f64()?;
            Some(format!("{name} {e:.1}/{limit:.1}"))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn waits(self) -> String {
        self.items("waiting_for").filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    }

    /// One line, for a list.
    pub fn summary(self) -> String {
        let state = if self.is_promoted() { "PROMOTED" } else { self.state() };
        let run = match self.number("run") {
            0 => String::new(),
            run => format!("  run {run}, {}", self.step()),
        };
        let waits = self.waits();
        let waits = if waits.is_empty() { waits } else { format!("  waits for {waits}") };
        let of = format!("{} {}", self.services().join(","), self.version());
        format!("{}  {state}  {}{run}{waits}", self.text("name"), of.trim())
    }

    /// The line that lives.
    pub fn line(self, figures: &Figures) -> String {
        let evidence = self.evidence();
        let waits = self.waits();
        let parts = [
            format!("{} {}", self.text("name"), self.state()),
            self.step(),
            self.hold(),
            figures.line(),
            if evidence.is_empty() { evidence } else { format!("evidence {evidence}") },
            if waits.is_empty() { waits } else { format!("waits for {waits}") },
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }

    /// Everything.
    pub fn page(self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        line(self.summary());
        if !self.text("title").is_empty() {
            line(format!("  {}", self.text("title")));
        }
        if !self.why().is_empty() {
            line(format!("  why: {}", self.why()));
        }
        for (number, step) in self.items("steps").enumerate() {
            let begun = step.get("has_begun").and_then(Value::as_bool).unwrap_or_default();
            let share = step.get("share").and_then(Value::as_f64).map(|share| format!(" {share} %"));
            let name = step.get("name").and_then(Value::as_str).map(|name| format!(" {name}"));
            let hold = step.get("hold_seconds").and_then(Value::as_u64).unwrap_or_default();
            let approval = step.get("approval").and_then(Value::as_bool).unwrap_or_default();
            line(format!(
                "  {} step {number}{}{}, hold {}{}",
                if begun { "x" } else { "-" },
                name.unwrap_or_default(),
                share.unwrap_or_default(),
                seconds(hold),
                if approval { ", approval" } else { "" }
            ));
        }
        let evidence = self.evidence();
        if !evidence.is_empty() {
            line(format!("  evidence: {evidence}"));
        }
        let requests = |side: &str| self.0.pointer(&format!("/requests/{side}")).and_then(Value::as_u64);
        if let (Some(gray), Some(release)) = (requests("gray"), requests("release")) {
            line(format!("  requests of the run: {gray} gray, {release} release"));
        }
        if self.0.get("edited").and_then(Value::as_bool).unwrap_or_default() {
            line("  the document differs from the running copy".to_owned());
        }
        out
    }
}

/// As people read a stretch of time: `3m12s`.
fn seconds(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said }
}

/// What `/services` said of the last ten seconds.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Figures {
    pub gray: Side,
    pub others: Side,
}

/// Requests a second, and the share of them that failed.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Side {
    pub rate: f64,
    errors: f64,
}

impl Side {
    fn add(&mut self, live: &Value) {
        let number = |field: &str| live.get(field).and_then(Value::as_f64).unwrap_or_default();
        self.rate += number("requests_per_second");
        self.errors += number("errors") / 10.0;
    }

    pub fn error_share(self) -> Option<f64> {
        (self.rate > 0.0).then(|| self.errors / self.rate)
    }

    fn percent(self) -> String {
        self.error_share().map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0))
    }
}

impl Figures {
    /// Of a plan's services and version.
    pub fn of(plan: Plan<'_>, services: &Value) -> Figures {
        let mut figures = Figures::default();
        let ours = plan.services();
        for service in services.get("items").and_then(Value::as_array).into_iter().flatten() {
            let name = service.get("name").and_then(Value::as_str).unwrap_or_default();
            if !ours.contains(&name) {
                continue;
            }
            for version in service.get("versions").and_then(Value::as_array).into_iter().flatten() {
                let is_gray = version.get("version").and_then(Value::as_str) == Some(plan.version());
                let live = version.pointer("/live/10s").unwrap_or(&Value::Null);
                if is_gray { figures.gray.add(live) } else { figures.others.add(live) }
            }
        }
        figures
    }

    fn line(&self) -> String {
        let all = self.gray.rate + self.others.rate;
        if all <= 0.0 {
            return "no requests".to_owned();
        }
        format!(
            "{:.1} of {all:.1} requests/s · errors {} gray, {} release",
            self.gray.rate,
            self.gray.percent(),
            self.others.percent()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> Value {
        json!({
            "name": "patient-8", "title": "Patient 8", "state": "ACTIVE", "run": 2, "steps_begun": 2, "share": 5.0,
            "services": ["patient"], "version": "gray", "held_seconds": 192, "waiting_for": ["12 more gray requests"],
            "steps": [
                {"name": "pilots", "share": null, "hold_seconds": 1800, "approval": false, "has_begun": true},
                {"name": null, "share": 5.0, "hold_seconds": 600, "approval": false, "has_begun": true},
                {"name": null, "share": 100.0, "hold_seconds": 0, "approval": true, "has_begun": false}],
            "guards": {
                "errors": {"log10_e": 0.31, "log10_threshold": 2.1, "verdict": "none"},
                "latency": {"log10_e": 3.0, "log10_threshold": 2.7, "verdict": "regression"},
                "orders": {"log10_e": null, "log10_threshold": null, "verdict": "none"}},
            "requests": {"gray": 88, "release": 1700}, "edited": true, "promoted": false, "why": "5 % since 09:12"
        })
    }

    #[test]
    fn a_line_says_where_a_plan_is() {
        let services = json!({"items": [
            {"name": "patient", "versions": [
                {"version": "gray", "live": {"10s": {"requests_per_second": 41.2, "errors": 4}}},
                {"version": "release", "live": {"10s": {"requests_per_second": 800.0, "errors": 24}}}]},
            {"name": "portal", "versions": [{"version": "gray", "live": {"10s": {"requests_per_second": 9.0, "errors": 1}}}]},
        ]});
        let plan = plan();
        let figures = Figures::of(Plan(&plan), &services);
        assert_eq!(
            Plan(&plan).line(&figures),
            "patient-8 ACTIVE · step 2/3 (5 %) · held 3m12s of 10m · 41.2 of 841.2 requests/s · errors 0.97 % gray, \
             0.30 % release · evidence errors 0.3/2.1, latency REGRESSION · waits for 12 more gray requests"
        );
        assert_eq!(Figures::default().line(), "no requests");
    }

    #[test]
    fn a_page_has_the_steps() {
        let plan = plan();
        let page = Plan(&plan).page();
        for part in [
            "patient-8  ACTIVE  patient gray  run 2, step 2/3 (5 %)  waits for 12 more gray requests\n",
            "  x step 0 pilots, hold 30m\n",
            "  - step 2 100 %, hold 0s, approval\n",
            "  requests of the run: 88 gray, 1700 release\n",
            "  the document differs from the running copy\n",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn counting_down_is_no_news() {
        let (one, mut two) = (plan(), plan());
        two["waiting_for"] = json!(["11 more gray requests"]);
        assert_eq!(Plan(&one).place(), Plan(&two).place());
        two["steps_begun"] = json!(3);
        assert_ne!(Plan(&one).place(), Plan(&two).place());
    }
}
