//! The filter of hospitals' gateways as rules, and back.
//!
//! Their filter asks one thing after another and keeps the last answer: customers, business users of the application (who
//! override what was found, both ways), the hospital, the domain, gray paths, release paths. Here the first rule that
//! matches decides, so the rules stand the other way round. Owns: names, priorities and conditions of `rules/hospital.*`.

use http::HeaderName;

use crate::documents::{Condition, Match, Operator, Outcome, Pattern, Rule};
use crate::vocab::{Attribute, Name};

/// Every rule of the filter begins with this.
pub const RULES: &str = "hospital.";
pub const RELEASE_PATHS: &str = "hospital.release-paths";
pub const GRAY_PATHS: &str = "hospital.gray-paths";
pub const DOMAINS: &str = "hospital.domains";
pub const HOSPITALS: &str = "hospital.hospitals";
pub const USERS: &str = "hospital.users";
pub const CUSTOMERS: &str = "hospital.customers";
pub const OTHERS: &str = "hospital.others";

/// The lists it asks; those of users have the application's name behind them.
pub const USER_LISTS: &str = "gray-users.";
pub const CUSTOMER_LIST: &str = "gray-customers";
pub const HOSPITAL_LIST: &str = "gray-hospitals";
pub const DOMAIN_LIST: &str = "gray-domains";

/// The application of a request that names none.
pub const DEFAULT_APP: &str = "JTP";
/// What divides an application from the rest of a sign.
pub const SIGN_DIVIDER: char = '_';
/// What the sign of a customer's request ends in.
pub const CUSTOMER_SIGN: &str = "CUST";

pub const SIGN: HeaderName = HeaderName::from_static("domain-sign");
pub const CUSTOMER: HeaderName = HeaderName::from_static("application-cust-id");
pub const USER: HeaderName = HeaderName::from_static("application-busi-id");
pub const HOSPITAL: HeaderName = HeaderName::from_static("application-hospital-source-code");

/// Below rules without a priority, above those of plans.
const FIRST: i32 = -100;
/// Patterns of one rule: as many as one condition may have.
const PATTERNS: usize = 64;

/// Whom the filter is for, and its words for the two versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// `None`: every service.
    pub services: Option<Vec<Name>>,
    pub gray: Name,
    pub release: Name,
}

/// A rule and its name.
pub type Named = (String, Rule);

impl Filter {
    /// The rules that are there whatever the setting says.
    pub fn fixed(&self) -> Vec<Named> {
        let customers = Condition::All(vec![
            of_header(SIGN, Operator::Suffix(CUSTOMER_SIGN.into())),
            of_header(CUSTOMER, in_list(CUSTOMER_LIST)),
        ]);
        let mut rules = vec![
            self.rule(DOMAINS, 3, Some(of(Attribute::Host, in_list(DOMAIN_LIST))), &self.gray),
            self.rule(HOSPITALS, 4, Some(of_header(HOSPITAL, in_list(HOSPITAL_LIST))), &self.gray),
            self.rule(USERS, 6, Some(is_user()), &self.release),
            self.rule(CUSTOMERS, 7, Some(customers), &self.gray),
        ];
        // Whom no rule decides gets `release` anyway.
        if self.release.as_str() != Name::RELEASE {
            rules.push(self.rule(OTHERS, 8, None, &self.release));
        }
        rules
    }

    /// The rule of an application's users; `None` where the name cannot be one.
    pub fn users(&self, app: &str) -> Option<Named> {
        let (rule, list) = user_names(app)?;
        let mut signs = vec![
            of_header(SIGN, Operator::Equals(app.into())),
            of_header(SIGN, Operator::Prefix(format!("{app}{SIGN_DIVIDER}"))),
        ];
        if app == DEFAULT_APP {
            signs.push(of_header(SIGN, Operator::Exists(false)));
            signs.push(of_header(SIGN, Operator::Equals(String::new())));
        }
        let when = Condition::All(vec![Condition::Any(signs), of_header(USER, in_list(&list))]);
        Some(self.rule(&rule, 5, Some(when), &self.gray))
    }

    /// The rules of gray paths, and the patterns that cannot be read, each with the reason.
    pub fn gray_paths(&self, patterns: &[String]) -> (Vec<Named>, Vec<(String, String)>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for text in patterns {
            match Pattern::parse(text, false) {
                Ok(pattern) => good.push(of(Attribute::Path, Operator::Regex(pattern))),
                Err(why) => bad.push((text.clone(), why)),
            }
        }
        let rules = good.chunks(PATTERNS).enumerate().map(|(number, chunk)| {
            let name =
                if number == 0 { GRAY_PATHS.to_owned() } else { format!("{GRAY_PATHS}.{:04}", number + 1) };
            self.rule(&name, 2, Some(Condition::Any(chunk.to_vec())), &self.gray)
        });
        (rules.collect(), bad)
    }

    pub fn release_paths(&self, paths: Vec<String>) -> Option<Named> {
        let when = of(Attribute::Path, Operator::In(paths.clone()));
        (!paths.is_empty()).then(|| self.rule(RELEASE_PATHS, 1, Some(when), &self.release))
    }

    fn rule(&self, name: &str, place: i32, when: Option<Condition>, version: &Name) -> Named {
        let rule = Rule {
            services: self.services.clone(),
            priority: FIRST - place * 10,
            enabled: true,
            starts: None,
            ends: None,
            when,
            outcome: Outcome::Version(version.clone()),
            by: None,
            salt: None,
            mirror: None,
        };
        (name.to_owned(), rule)
    }
}

/// The names of the rule and the list of an application's users.
pub fn user_names(app: &str) -> Option<(String, String)> {
    let names = (format!("{USERS}.{app}"), format!("{USER_LISTS}{app}"));
    let is_one = Name::is_name(app) && Name::is_name(&names.0) && !app.contains(SIGN_DIVIDER);
    is_one.then_some(names)
}

/// The application that a rule of users is for.
pub fn app_of(rule: &str) -> Option<&str> {
    rule.strip_prefix(USERS)?.strip_prefix('.')
}

/// The patterns of a rule of gray paths; `None` where it says more than that.
pub fn read_gray_paths(rule: &Rule) -> Option<Vec<String>> {
    let pattern = |condition: &Condition| match condition {
        Condition::Match(Match {
            attribute: Attribute::Path,
            operator: Operator::Regex(pattern),
            ignore_case: false,
        }) => Some(pattern.text.clone()),
        _ => None,
    };
    match rule.when.as_ref()? {
        Condition::Any(several) => several.iter().map(pattern).collect(),
        one => pattern(one).map(|pattern| vec![pattern]),
    }
}

/// The paths of a rule of release paths; `None` where it says more than that.
pub fn read_release_paths(rule: &Rule) -> Option<Vec<String>> {
    match rule.when.as_ref()? {
        Condition::Match(Match {
            attribute: Attribute::Path,
            operator: Operator::In(paths),
            ignore_case: false,
        }) => Some(paths.clone()),
        _ => None,
    }
}

/// A business user is there: an empty id counts as absent, as an identity does.
fn is_user() -> Condition {
    let is_empty = of_header(USER, Operator::Equals(String::new()));
    Condition::All(vec![of_header(USER, Operator::Exists(true)), Condition::Not(Box::new(is_empty))])
}

fn of(attribute: Attribute, operator: Operator) -> Condition {
    Condition::Match(Match { attribute, operator, ignore_case: false })
}

fn of_header(name: HeaderName, operator: Operator) -> Condition {
    of(Attribute::Header(name), operator)
}

/// The names are ours, or were checked by [`user_names`].
fn in_list(name: &str) -> Operator {
    Name::parse(name).map_or(Operator::In(Vec::new()), Operator::InList)
}
