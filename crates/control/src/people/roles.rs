//! Roles, and the one table of what each may do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person or a token is for. Each of the first five may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but people.
    Viewer,
    /// Writes drafts of plans, lists, documents and configuration values.
    Editor,
    /// Also moves plans.
    Operator,
    /// Also approves.
    Approver,
    /// Also people and tokens.
    Admin,
    /// Sends measurements, and nothing else.
    Reporter,
}

/// A kind of thing that can be allowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Permission {
    Read,
    Write,
    Move,
    Approve,
    Administer,
    Measure,
    /// What every known user may: leave, and ask who he is.
    Self_,
}

impl Role {
    pub const ALL: [Role; 6] =
        [Role::Viewer, Role::Editor, Role::Operator, Role::Approver, Role::Admin, Role::Reporter];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Admin => "admin",
            Role::Reporter => "reporter",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The table of who may what.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Self_ => true,
            Permission::Measure => matches!(self, Role::Reporter | Role::Admin),
            _ if self == Role::Reporter => false,
            Permission::Read => true,
            Permission::Write => self >= Role::Editor,
            Permission::Move => self >= Role::Operator,
            Permission::Approve => self >= Role::Approver,
            Permission::Administer => self >= Role::Admin,
        }
    }
}

impl Permission {
    /// The least role that has it, for those who are told what they would need.
    pub fn needs(self) -> &'static str {
        match self {
            Permission::Read | Permission::Self_ => "viewer",
            Permission::Write => "editor",
            Permission::Move => "operator",
            Permission::Approve => "approver",
            Permission::Administer => "admin",
            Permission::Measure => "reporter",
        }
    }
}

/// What can be done, under the names the audit and `GET /me` use, and what each takes.
pub const ACTIONS: [(&str, Permission); 36] = [
    ("read", Permission::Read),
    ("explain", Permission::Read),
    ("replay", Permission::Read),
    ("audit.read", Permission::Read),
    ("events", Permission::Read),
    ("document.put", Permission::Write),
    ("document.delete", Permission::Write),
    ("document.undo", Permission::Write),
    ("changes", Permission::Write),
    ("list.put", Permission::Write),
    ("list.members", Permission::Write),
    ("plan.put", Permission::Write),
    ("plan.delete", Permission::Write),
    ("config.put", Permission::Write),
    ("config.delete", Permission::Write),
    ("plan.start", Permission::Move),
    ("plan.pause", Permission::Move),
    ("plan.resume", Permission::Move),
    ("plan.advance", Permission::Move),
    ("plan.complete", Permission::Move),
    ("plan.rollback", Permission::Move),
    ("plan.promote", Permission::Move),
    ("channel.test", Permission::Move),
    ("plan.approve", Permission::Approve),
    ("plan.reject", Permission::Approve),
    ("proposal.approve", Permission::Approve),
    ("proposal.reject", Permission::Approve),
    ("message.read", Permission::Read),
    ("user.read", Permission::Administer),
    ("user.add", Permission::Administer),
    ("user.change", Permission::Administer),
    ("user.remove", Permission::Administer),
    ("token.read", Permission::Administer),
    ("token.add", Permission::Administer),
    ("token.remove", Permission::Administer),
    ("measure", Permission::Measure),
];

/// A role, for all services or for some.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub role: Role,
    /// Left out: all services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeSet<String>>,
}

impl Grant {
    pub fn all(role: Role) -> Grant {
        Grant { role, services: None }
    }

    fn covers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }
}

/// Which services an action concerns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Whatever services there are, and will be.
    All,
    /// These; none of them where it concerns no service at all.
    Services(BTreeSet<String>),
}

impl Touch {
    pub fn nothing() -> Touch {
        Touch::Services(BTreeSet::new())
    }

    pub fn one(service: impl Into<String>) -> Touch {
        Touch::Services(BTreeSet::from([service.into()]))
    }

    /// Both.
    pub fn and(self, other: Touch) -> Touch {
        match (self, other) {
            (Touch::Services(mut left), Touch::Services(right)) => {
                left.extend(right);
                Touch::Services(left)
            }
            _ => Touch::All,
        }
    }

    /// Whether these grants allow it: each service by one of them.
    pub fn allowed(&self, grants: &[Grant], permission: Permission) -> bool {
        let mut fit = grants.iter().filter(|grant| grant.role.may(permission));
        match self {
            Touch::All => fit.any(|grant| grant.services.is_none()),
            Touch::Services(services) if services.is_empty() => fit.next().is_some(),
            Touch::Services(services) => {
                let fit: Vec<_> = fit.collect();
                services.iter().all(|service| fit.iter().any(|grant| grant.covers(service)))
            }
        }
    }
}

/// Which services need a second person.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum FourEyes {
    #[default]
    None,
    Services(BTreeSet<String>),
    All,
}

impl FourEyes {
    pub fn concerns(&self, touch: &Touch) -> bool {
        match (self, touch) {
            (FourEyes::None, _) => false,
            (FourEyes::Services(named), _) if named.is_empty() => false,
            (_, Touch::All) => true,
            (FourEyes::All, Touch::Services(services)) => !services.is_empty(),
            (FourEyes::Services(named), Touch::Services(services)) => !named.is_disjoint(services),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_table_says() {
        use Permission::*;
        let table = [
            (Role::Viewer, vec![Read, Self_]),
            (Role::Editor, vec![Read, Write, Self_]),
            (Role::Operator, vec![Read, Write, Move, Self_]),
            (Role::Approver, vec![Read, Write, Move, Approve, Self_]),
            (Role::Admin, vec![Read, Write, Move, Approve, Administer, Measure, Self_]),
            (Role::Reporter, vec![Measure, Self_]),
        ];
        for (role, may) in table {
            for permission in [Read, Write, Move, Approve, Administer, Measure, Self_] {
                assert_eq!(role.may(permission), may.contains(&permission), "{role:?} {permission:?}");
            }
        }
    }

    #[test]
    fn a_bound_role_reaches_its_services_alone() {
        let services = |names: &[&str]| Touch::Services(names.iter().map(ToString::to_string).collect());
        let bound = |role, names: &[&str]| Grant {
            role,
            services: Some(names.iter().map(ToString::to_string).collect()),
        };
        let grants = [bound(Role::Editor, &["patient"]), bound(Role::Operator, &["portal"])];
        for (touch, permission, allowed) in [
            (services(&["patient"]), Permission::Write, true),
            (services(&["patient", "portal"]), Permission::Write, true),
            (services(&["patient"]), Permission::Move, false),
            (services(&["portal"]), Permission::Move, true),
            (services(&["other"]), Permission::Write, false),
            (services(&[]), Permission::Write, true),
            (Touch::All, Permission::Write, false),
        ] {
            assert_eq!(touch.allowed(&grants, permission), allowed, "{touch:?} {permission:?}");
        }
        assert!(Touch::All.allowed(&[Grant::all(Role::Editor)], Permission::Write));
    }
}
