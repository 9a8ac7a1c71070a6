//! Users and tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::change::matches_tag;
use super::clock::rfc3339;
use super::plane::Control;
use super::sign_in::{described, user_name};
use super::write::Plan;
use crate::audit::{Deed, Text};
use crate::error::{Error, Result};
use crate::people::{Grant, Permission, Principal, Role, Token, TokenSecret, Touch, User, user_name_is_good};
use crate::state::{Range, Revision, Slot, StateError, read_json, to_json};

const USERS: &str = "users/";
const TOKENS: &str = "tokens/";
/// Sessions of every user that are looked through when one person's end.
const SESSIONS: &str = "sessions/";
/// Most roles of one person.
const ROLE_LIMIT: usize = 100;
/// Most tokens of every user.
const TOKEN_LIMIT: usize = 1_000;

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub name: String,
    pub password: String,
    pub roles: Vec<Grant>,
}

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub roles: Option<Vec<Grant>>,
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct UserShown {
    pub name: String,
    pub roles: Vec<Grant>,
    pub created: String,
    /// Whether the identity provider answers for this person.
    pub oidc: bool,
    pub etag: String,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    /// Whose rights bound it.
    pub user: String,
    pub role: Role,
    #[serde(default)]
    pub services: Option<BTreeSet<String>>,
    /// RFC 3339.
    #[serde(default)]
    pub expires: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct TokenShown {
    pub id: String,
    pub name: String,
    pub user: String,
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeSet<String>>,
    pub created: String,
    pub expires: Option<String>,
}

/// The only time a token is shown.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct TokenMade {
    pub id: String,
    pub token: String,
}

impl UserShown {
    fn of(user: &User, revision: Revision) -> UserShown {
        UserShown {
            name: user.name.clone(),
            roles: user.roles.clone(),
            created: rfc3339(user.created),
            oidc: user.oidc.is_some(),
            etag: etag(revision),
        }
    }
}

impl TokenShown {
    fn of(token: &Token) -> TokenShown {
        let Grant { role, services } = token.grant();
        TokenShown {
            id: token.id.clone(),
            name: token.name.clone(),
            user: token.user.clone(),
            role,
            services,
            created: rfc3339(token.created),
            expires: token.expires.map(rfc3339),
        }
    }
}

fn etag(revision: Revision) -> String {
    format!("\"{revision}\"")
}

impl Control {
    pub async fn users(&self, who: &Principal) -> Result<Vec<UserShown>> {
        who.may(Permission::Administer, &Touch::All)?;
        let mut users = Vec::new();
        let mut range = Range::all(USERS);
        loop {
            let page = self.state.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else { return Ok(users) };
            for entry in page {
                let user: User = read_json(&entry.name, &entry.stored.value)?;
                users.push(UserShown::of(&user, entry.stored.revision));
            }
            range.after = Some(last);
        }
    }

    pub async fn user(&self, who: &Principal, name: &str) -> Result<UserShown> {
        who.may(Permission::Administer, &Touch::All)?;
        let found = self.read::<User>(&user_name(name)).await?;
        let (user, revision) = found.ok_or_else(|| Error::not_found(user_name(name)))?;
        Ok(UserShown::of(&user, revision))
    }

    pub async fn add_user(&self, who: &Principal, new: NewUser) -> Result<UserShown> {
        who.may(Permission::Administer, &Touch::All)?;
        if !user_name_is_good(&new.name) {
            let detail = "a user's name is 1 to 64 of A-Z a-z 0-9 . _ - @".to_owned();
            return Err(Error::Invalid(detail));
        }
        check_roles(&new.roles)?;
        let now = self.clock.now();
        let mut user = User {
            password: Some(self.passwords.hash(&new.password).await?),
            name: new.name,
            roles: new.roles,
            created: now,
            hands: Vec::new(),
            oidc: None,
        };
        user.changed_by(&who.name, now);
        let record = user_name(&user.name);
        let mut deed = Deed::ok(who, "user.add", record.clone());
        deed.after = Some(described(&user)?);
        let mut plan = Plan::new(deed);
        plan.transaction.expect(Slot::record(&record), 0);
        plan.transaction.put(Slot::record(&record), to_json(&record, &user)?);
        match self.write(plan).await {
            Ok(written) => Ok(UserShown::of(&user, written.revision)),
            Err(StateError::Conflict(_)) => Err(Error::Conflict(format!("`{}` exists already", user.name))),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a password or roles. A new password ends the person's sessions.
    pub async fn change_user(
        &self,
        who: &Principal,
        name: &str,
        change: UserChange,
        if_match: Option<&str>,
    ) -> Result<UserShown> {
        who.may(Permission::Administer, &Touch::All)?;
        let record = user_name(name);
        let found = self.read::<User>(&record).await?;
        let (before, revision) = found.ok_or_else(|| Error::not_found(&record))?;
        check_tag(&record, revision, if_match)?;
        let mut user = before.clone();
        if let Some(password) = &change.password {
            if user.oidc.is_some() {
                return Err(Error::Invalid("the identity provider keeps this person's password".to_owned()));
            }
            user.password = Some(self.passwords.hash(password).await?);
        }
        if let Some(roles) = change.roles {
            if user.oidc.is_some() {
                return Err(Error::Invalid("the identity provider says what this person may".to_owned()));
            }
            check_roles(&roles)?;
            user.roles = roles;
        }
        self.keep_an_admin(&before, Some(&user)).await?;
        user.changed_by(&who.name, self.clock.now());
        let mut deed = Deed::ok(who, "user.change", record.clone());
        (deed.before, deed.after) = (Some(described(&before)?), Some(described(&user)?));
        let mut plan = Plan::new(deed);
        plan.transaction.expect(Slot::record(&record), revision);
        plan.transaction.put(Slot::record(&record), to_json(&record, &user)?);
        if change.password.is_some() {
            self.end_sessions(name, &mut plan).await?;
        }
        let written = self.write(plan).await?;
        Ok(UserShown::of(&user, written.revision))
    }

    pub async fn remove_user(&self, who: &Principal, name: &str, if_match: Option<&str>) -> Result<()> {
        who.may(Permission::Administer, &Touch::All)?;
        let record = user_name(name);
        let found = self.read::<User>(&record).await?;
        let (user, revision) = found.ok_or_else(|| Error::not_found(&record))?;
        check_tag(&record, revision, if_match)?;
        self.keep_an_admin(&user, None).await?;
        let mut deed = Deed::ok(who, "user.remove", record.clone());
        deed.before = Some(described(&user)?);
        let mut plan = Plan::new(deed).from_reserve();
        plan.transaction.expect(Slot::record(&record), revision);
        plan.transaction.delete(Slot::record(&record));
        self.end_sessions(name, &mut plan).await?;
        self.write(plan).await?;
        Ok(())
    }

    /// No one left who could let anyone in would be a lock that only the store's owner can open.
    async fn keep_an_admin(&self, before: &User, after: Option<&User>) -> Result<()> {
        let is_admin = |user: &User| {
            user.roles.iter().any(|grant| grant.role == Role::Admin && grant.services.is_none())
        };
        if !is_admin(before) || after.is_some_and(is_admin) {
            return Ok(());
        }
        let page = self.state.list(&Range::all(USERS)).await?;
        let others = page.iter().filter_map(|entry| read_json::<User>(&entry.name, &entry.stored.value).ok());
        match others.into_iter().any(|user| user.name != before.name && is_admin(&user)) {
            true => Ok(()),
            false => Err(Error::Conflict("the last administrator stays one".to_owned())),
        }
    }

    async fn end_sessions(&self, name: &str, plan: &mut Plan) -> Result<()> {
        let page = self.state.list(&Range::all(SESSIONS)).await?;
        for entry in page {
            let session: crate::people::Session = read_json(&entry.name, &entry.stored.value)?;
            if session.user == name && plan.transaction.writes.len() < crate::state::OPERATION_LIMIT / 2 {
                plan.transaction.delete(Slot::record(entry.name));
            }
        }
        Ok(())
    }

    pub async fn tokens(&self, who: &Principal) -> Result<Vec<TokenShown>> {
        who.may(Permission::Administer, &Touch::All)?;
        let page = self.state.list(&Range::all(TOKENS)).await?;
        let shown = page.iter().map(|entry| {
            let token: Token = read_json(&entry.name, &entry.stored.value)?;
            Ok(TokenShown::of(&token))
        });
        shown.collect()
    }

    pub async fn add_token(&self, who: &Principal, new: NewToken) -> Result<TokenMade> {
        who.may(Permission::Administer, &Touch::All)?;
        let now = self.clock.now();
        if new.name.is_empty() || new.name.chars().count() > 128 {
            return Err(Error::Invalid("a token's name has 1 to 128 characters".to_owned()));
        }
        let expires = new.expires.as_deref().map(|text| read_time(text, now)).transpose()?;
        let owner = user_name(&new.user);
        let Some((mut user, revision)) = self.read::<User>(&owner).await? else {
            return Err(Error::Invalid(format!("there is no user `{}`", new.user)));
        };
        if self.state.list(&Range::all(TOKENS)).await?.len() >= TOKEN_LIMIT {
            return Err(Error::Conflict(format!("there are {TOKEN_LIMIT} tokens, and no more; remove some")));
        }
        let secret = TokenSecret::random();
        let token = Token {
            id: secret.id.clone(),
            name: new.name,
            user: new.user,
            grant: Grant { role: new.role, services: new.services }.into(),
            created: now,
            expires,
            hash: secret.hash(),
        };
        user.changed_by(&who.name, now);
        let record = format!("{TOKENS}{}", token.id);
        let mut deed = Deed::ok(who, "token.add", record.clone());
        deed.after = Some(Text::of(to_json(&record, &TokenShown::of(&token))?));
        let mut plan = Plan::new(deed);
        plan.transaction.expect(Slot::record(&owner), revision);
        plan.transaction.put(Slot::record(&owner), to_json(&owner, &user)?);
        plan.transaction.put(Slot::record(&record), to_json(&record, &token)?);
        self.write(plan).await?;
        Ok(TokenMade { id: secret.id, token: secret.text })
    }

    pub async fn remove_token(&self, who: &Principal, id: &str) -> Result<()> {
        who.may(Permission::Administer, &Touch::All)?;
        let record = format!("{TOKENS}{id}");
        let found = self.read::<Token>(&record).await?;
        let (token, revision) = found.ok_or_else(|| Error::not_found(&record))?;
        let mut deed = Deed::ok(who, "token.remove", record.clone());
        deed.before = Some(Text::of(to_json(&record, &TokenShown::of(&token))?));
        let mut plan = Plan::new(deed).from_reserve();
        plan.transaction.expect(Slot::record(&record), revision);
        plan.transaction.delete(Slot::record(&record));
        self.write(plan).await?;
        Ok(())
    }
}

/// An account that exists is changed by those who have seen it as it is.
fn check_tag(record: &str, revision: Revision, if_match: Option<&str>) -> Result<()> {
    match if_match {
        Some(wanted) if matches_tag(wanted, &etag(revision)) => Ok(()),
        Some(_) => Err(Error::changed(record, Some(etag(revision)))),
        None => {
            let detail = format!("`{record}` exists; send its ETag as `If-Match`");
            Err(Error::PreconditionRequired(detail))
        }
    }
}

fn check_roles(roles: &[Grant]) -> Result<()> {
    match roles.len() {
        0 => Err(Error::Invalid("a person needs at least one role".to_owned())),
        1..=ROLE_LIMIT => Ok(()),
        _ => Err(Error::Invalid(format!("more than {ROLE_LIMIT} roles"))),
    }
}

fn read_time(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime> {
    use time::format_description::well_known::Rfc3339;
    let wrong = || Error::Invalid(format!("`{text}` is not a time like `2027-01-31T00:00:00Z`"));
    let read = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    match read > now {
        true => Ok(read),
        false => Err(Error::Invalid(format!("`{text}` is over already"))),
    }
}
