//! The gray workload: rules as data, from which every system's own configuration is written, and the requests.
//!
//! Rules come in groups that are asked in this order: hospital codes, the list of users, cookies, paths (regexes), user
//! agents (regexes); within a group keys are distinct. Half of the rules are regexes. Who is in none of them is gray
//! for one in ten, by a hash of the user that every system brings itself.

use std::fmt::Write as _;

/// Versions a rule can choose, in turn; everyone else gets `release` or the percentage.
pub const VERSIONS: [&str; 2] = ["gray", "feat1"];
/// Share of those in no rule that get the first version.
pub const PERCENT: u32 = 10;
/// Of the listed users only these send requests: systems that hold the list in their configuration get no more.
pub const SEEN_USERS: usize = 1_000;
const REQUESTS: usize = 4_096;

pub struct Workload {
    pub rules: usize,
    pub users: usize,
}

#[derive(Clone)]
pub struct Request {
    pub path: String,
    pub hospital: String,
    pub user: String,
    pub cookie: String,
    pub agent: String,
    /// Which version; `None` where only the percentage says.
    pub expected: Option<&'static str>,
}

pub fn version(number: usize) -> &'static str {
    VERSIONS[number % VERSIONS.len()]
}

impl Workload {
    fn quarter(&self) -> usize {
        (self.rules / 4).max(1)
    }

    pub fn hospitals(&self) -> impl Iterator<Item = (String, &'static str)> {
        (0..self.quarter()).map(|n| (format!("h{n:05}"), version(n)))
    }

    pub fn cookies(&self) -> impl Iterator<Item = (String, &'static str)> {
        (0..self.quarter()).map(|n| (format!("c{n:05}"), version(n)))
    }

    /// Regexes over the whole path.
    pub fn paths(&self) -> impl Iterator<Item = (String, &'static str)> {
        (0..self.quarter()).map(|n| (format!("/clinic{n:05}/orders/[0-9]+(/.*)?"), version(n)))
    }

    /// Regexes over the whole user agent.
    pub fn agents(&self) -> impl Iterator<Item = (String, &'static str)> {
        (0..self.quarter()).map(|n| (format!("Mozilla.* Model{n:05}/[2-9]\\.[0-9]+.*"), version(n)))
    }

    pub fn user(number: usize) -> String {
        format!("member-{number:08}")
    }

    /// Four in ten requests are in no rule, and one or two in ten in each group.
    pub fn requests(&self) -> Vec<Request> {
        (0..REQUESTS)
            .map(|n| {
                let pick = n.wrapping_mul(2_654_435_761) >> 7;
                let mut request = Request {
                    path: format!("/patient/list/{}?page={}", pick % 977, n % 7),
                    hospital: format!("x{:05}", pick % 3_000),
                    user: format!("visitor-{:07}", pick % 500_000),
                    cookie: format!("o{:05}", pick % 5_000),
                    agent: format!("Mozilla/5.0 (Linux; Android 14) App/{}.{}", pick % 9, pick % 31),
                    expected: None,
                };
                let rule = pick % self.quarter();
                match n % 10 {
                    0 | 1 => {
                        (request.hospital, request.expected) = (format!("h{rule:05}"), Some(version(rule)))
                    }
                    2 => {
                        let listed = pick % SEEN_USERS.min(self.users.max(1));
                        (request.user, request.expected) = (Workload::user(listed), Some(VERSIONS[0]));
                    }
                    3 => (request.cookie, request.expected) = (format!("c{rule:05}"), Some(version(rule))),
                    4 => {
                        request.path = format!("/clinic{rule:05}/orders/{}/lines", pick % 10_000);
                        request.expected = Some(version(rule));
                    }
                    5 => {
                        let _ = write!(request.agent, " Model{rule:05}/{}.{}", 2 + pick % 8, pick % 20);
                        request.expected = Some(version(rule));
                    }
                    _ => {}
                }
                request
            })
            .collect()
    }
}

impl Request {
    pub fn headers(&self) -> [(&'static str, String); 4] {
        [
            ("x-hospital", self.hospital.clone()),
            ("x-user", self.user.clone()),
            ("cookie", format!("theme=dark; trial={}; lang=zh", self.cookie)),
            ("user-agent", self.agent.clone()),
        ]
    }
}

/// The script `wrk` cycles through the requests with; it prints one line of figures at the end.
pub fn script(requests: &[Request]) -> String {
    let mut text = String::from("local r = {}\nlocal n = 0\n");
    for (number, request) in requests.iter().enumerate() {
        let _ = write!(
            text,
            "r[{}] = \"GET {} HTTP/1.1\\r\\nhost: medical.example.com\\r\\n",
            number + 1,
            request.path
        );
        for (name, value) in request.headers() {
            let _ = write!(text, "{name}: {value}\\r\\n");
        }
        text.push_str("\\r\\n\"\n");
    }
    text + "request = function() n = n % #r + 1 return r[n] end\n" + DONE
}

/// Its end, which prints the figures.
pub const DONE: &str = "done = function(s, l)\n\
    local e = s.errors\n\
    print(string.format('figures %d %d %d %d %d %d', s.requests, s.duration, l:percentile(50), l:percentile(99),\n\
    l:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))\nend\n";
