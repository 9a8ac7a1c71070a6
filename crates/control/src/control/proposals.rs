//! Four eyes: what waits for a second person.
//!
//! Owns: which changes wait, what exactly is approved (by its hash, the members of named lists included), and who may
//! approve. An edit of what it would change voids it, seven days end it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use graygate_rules::documents::DocumentId;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::change::{ChangedShown, Done, Intent};
use super::draft::Draft;
use super::plane::Control;
use super::proposal::{Asked, Proposal, ProposalShown, ProposalState, Work};
use super::sign_in::user_name;
use super::write::Plan;
use crate::audit::{Deed, Outcome, Text};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Touch, User, short_id};
use crate::state::{Range, Revision, Slot, read_json, to_json};

const PROPOSALS: &str = "proposals/";
/// Longest difference that a proposal shows.
const SHOWN: usize = 64 << 10;

impl Control {
    pub fn waits_for_two(&self, touch: &Touch) -> bool {
        self.four_eyes.concerns(touch)
    }

    /// Lets a change of documents wait.
    pub(super) async fn propose(
        &self,
        who: &Principal,
        draft: &Draft,
        intent: &Intent,
    ) -> Result<ProposalShown> {
        let texts = draft.changes.iter().map(|(id, text)| {
            let text = text.as_ref().map(|text| String::from_utf8_lossy(text).into_owned());
            (id.to_string(), text)
        });
        let seen = draft
            .before
            .iter()
            .map(|(id, before)| (id.to_string(), before.as_ref().map_or(0, |stored| stored.revision)));
        let objects: Vec<String> = draft.changes.keys().map(ToString::to_string).collect();
        let work = Work::Documents { texts: texts.collect(), seen: seen.collect() };
        let hash = self.hash_with_lists(draft);
        let asked =
            Asked { action: intent.action.clone(), object: objects.join(", "), hash, diff: draft.diff() };
        self.let_wait(who, asked, (draft.touch.clone(), work), intent.reason.clone()).await
    }

    /// Keeps a proposal.
    pub async fn let_wait(
        &self,
        who: &Principal,
        asked: Asked,
        (touch, work): (Touch, Work),
        reason: Option<String>,
    ) -> Result<ProposalShown> {
        let now = self.clock.now();
        let proposal = Proposal {
            id: short_id(),
            hash: asked.hash,
            who: who.name.clone(),
            action: asked.action.clone(),
            object: asked.object.clone(),
            diff: asked.diff.chars().take(SHOWN).collect(),
            reason: reason.clone(),
            services: match touch {
                Touch::All => None,
                Touch::Services(services) => Some(services),
            },
            created: now,
            state: ProposalState::Waiting,
            decided_by: None,
            work,
        };
        let record = format!("{PROPOSALS}{}", proposal.id);
        let mut deed =
            Deed::ok(who, asked.action, asked.object).with_reason(reason).with_result(Outcome::Waiting);
        deed.after = Some(Text::of(proposal.diff.clone()));
        let mut plan = Plan::new(deed);
        plan.transaction.expect(Slot::record(&record), 0);
        plan.transaction.put(Slot::record(&record), to_json(&record, &proposal)?);
        self.write(plan).await?;
        Ok(proposal.shown(now))
    }

    pub async fn proposals(&self, who: &Principal) -> Result<Vec<ProposalShown>> {
        who.may_somewhere(Permission::Read)?;
        let now = self.clock.now();
        let page = self.state.list(&Range::all(PROPOSALS)).await?;
        let read = page.iter().map(|entry| read_json::<Proposal>(&entry.name, &entry.stored.value));
        let mut found = read.collect::<std::result::Result<Vec<_>, _>>()?;
        found.sort_by_key(|proposal| std::cmp::Reverse(proposal.created));
        Ok(found.iter().map(|proposal| proposal.shown(now)).collect())
    }

    pub async fn proposal(&self, who: &Principal, id: &str) -> Result<ProposalShown> {
        who.may_somewhere(Permission::Read)?;
        let (proposal, _) = self.kept_proposal(id).await?;
        Ok(proposal.shown(self.clock.now()))
    }

    async fn kept_proposal(&self, id: &str) -> Result<(Proposal, Revision)> {
        let record = format!("{PROPOSALS}{id}");
        self.read(&record).await?.ok_or_else(|| Error::not_found(record))
    }

    /// Does what was shown, by its hash, in the name of who proposed it.
    pub async fn approve(
        &self,
        who: &Principal,
        id: &str,
        hash: &str,
    ) -> Result<(ProposalShown, Option<ChangedShown>)> {
        who.may_somewhere(Permission::Approve)?;
        let (proposal, revision) = self.kept_proposal(id).await?;
        let now = self.clock.now();
        who.may(Permission::Approve, &proposal.touch())?;
        self.check_other_eyes(who, &proposal.who, now).await?;
        check_waiting(&proposal, now)?;
        if hash != proposal.hash {
            let detail = "this is not what waits; look at it again".to_owned();
            return Err(Error::PreconditionFailed { detail, etag: None });
        }
        let done = self.carry_out(who, &proposal).await;
        let state = match &done {
            Ok(_) => ProposalState::Approved,
            Err(Error::PreconditionFailed { .. } | Error::Problems(_) | Error::NotFound(_)) => {
                ProposalState::Voided
            }
            Err(_) => return Err(done.err().unwrap_or(Error::Internal(String::new()))),
        };
        let decided = self.decide(who, (proposal, revision), state, None).await?;
        match done {
            Ok(changed) => Ok((decided, changed)),
            Err(_) => {
                Err(Error::Conflict("what it would change was changed meanwhile; it is void".to_owned()))
            }
        }
    }

    pub async fn reject(&self, who: &Principal, id: &str, reason: Option<String>) -> Result<ProposalShown> {
        who.may_somewhere(Permission::Approve)?;
        let kept = self.kept_proposal(id).await?;
        who.may(Permission::Approve, &kept.0.touch())?;
        check_waiting(&kept.0, self.clock.now())?;
        self.decide(who, kept, ProposalState::Rejected, reason).await
    }

    async fn carry_out(&self, who: &Principal, proposal: &Proposal) -> Result<Option<ChangedShown>> {
        match &proposal.work {
            Work::Documents { texts, seen } => {
                let mut changes = BTreeMap::new();
                for (name, text) in texts {
                    let id = DocumentId::parse(name).ok_or_else(|| Error::not_found(name))?;
                    changes.insert(id, text.clone().map(Bytes::from));
                }
                let draft = self.draft(changes).await?;
                let is_as_seen = draft.before.iter().all(|(id, before)| {
                    seen.get(&id.to_string()).copied()
                        == Some(before.as_ref().map_or(0, |stored| stored.revision))
                });
                if !is_as_seen || self.hash_with_lists(&draft) != proposal.hash {
                    return Err(Error::changed(&proposal.object, None));
                }
                let intent = Intent {
                    reason: proposal.reason.clone(),
                    approved_by: Some(who.name.clone()),
                    ..Intent::of(&proposal.action)
                };
                let author = Principal { name: proposal.who.clone(), ..who.clone() };
                match self.apply(&author, draft, None, intent).await? {
                    Done::Written(changed) => Ok(Some(changed)),
                    Done::Shown(_) | Done::Waiting(_) => Ok(None),
                }
            }
            Work::Members { list, add, remove } => {
                let author = Principal { name: proposal.who.clone(), ..who.clone() };
                let change = (add.as_slice(), remove.as_slice());
                self.write_members(&author, list, change, (proposal.reason.clone(), Some(who.name.clone())))
                    .await?;
                Ok(None)
            }
            Work::Config { write, seen } => {
                let author = Principal { name: proposal.who.clone(), ..who.clone() };
                let intent = Intent {
                    reason: proposal.reason.clone(),
                    approved_by: Some(who.name.clone()),
                    ..Intent::of(&proposal.action)
                };
                Box::pin(self.carry_out_config(&author, (write, *seen), intent)).await?;
                Ok(None)
            }
            Work::Plan { name, action, request, .. } => {
                let author = Principal { name: proposal.who.clone(), ..who.clone() };
                // The box keeps this future's size out of that of all others.
                let moved = self.act_approved((&author, &who.name), (name, action), request, &proposal.hash);
                Box::pin(moved).await?;
                Ok(None)
            }
        }
    }

    async fn decide(
        &self,
        who: &Principal,
        (mut proposal, revision): (Proposal, Revision),
        state: ProposalState,
        reason: Option<String>,
    ) -> Result<ProposalShown> {
        proposal.state = state;
        proposal.decided_by = Some(who.name.clone());
        let record = format!("{PROPOSALS}{}", proposal.id);
        let verb = match state {
            ProposalState::Approved => "proposal.approve",
            ProposalState::Rejected => "proposal.reject",
            _ => "proposal.void",
        };
        let mut plan = Plan::new(Deed::ok(who, verb, record.clone()).with_reason(reason));
        plan.transaction.expect(Slot::record(&record), revision);
        plan.transaction.put(Slot::record(&record), to_json(&record, &proposal)?);
        self.write(plan).await?;
        Ok(proposal.shown(self.clock.now()))
    }

    /// Whether `who` may approve for `author`: another person, whose account the author has not touched of late.
    pub async fn check_other_eyes(&self, who: &Principal, author: &str, now: OffsetDateTime) -> Result<()> {
        if who.name == author {
            return Err(Error::Denied("no one approves what he proposed himself".to_owned()));
        }
        let account = self.read::<User>(&user_name(&who.name)).await?;
        match account.is_some_and(|(user, _)| user.was_changed_by(author, now)) {
            true => Err(Error::Denied(format!(
                "`{author}` made or changed your account, password, roles or token in the last 7 days"
            ))),
            false => Ok(()),
        }
    }

    fn hash_with_lists(&self, draft: &Draft) -> String {
        let mut lists = BTreeSet::new();
        for (id, text) in &draft.changes {
            if let Some(text) = text {
                lists.extend(draft.next.lists_of(id, text));
            }
        }
        let mut hasher = Sha256::new();
        hasher.update(&draft.hash);
        for list in lists {
            hasher.update(format!("\n{list}"));
            for (id, raw) in draft.next.parts(&list) {
                hasher.update(format!("\n{id} {}", hex::encode(Sha256::digest(&raw.body[..]))));
            }
        }
        hex::encode(hasher.finalize())
    }
}

fn check_waiting(proposal: &Proposal, now: OffsetDateTime) -> Result<()> {
    match proposal.state_at(now) {
        ProposalState::Waiting => Ok(()),
        ProposalState::Approved => Err(Error::Conflict("it is approved already".to_owned())),
        ProposalState::Rejected => Err(Error::Conflict("it was rejected".to_owned())),
        ProposalState::Voided => {
            Err(Error::Conflict("it is void: what it would change was changed".to_owned()))
        }
        ProposalState::Expired => Err(Error::Conflict("it waited for seven days and is over".to_owned())),
    }
}
