//! A conversation of an earlier version, played to this version's halves of the link: each takes it as it was meant.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, AttachId, ChildId},
    records::Desired,
    time::Time,
};
use edgeio_link::{
    child::{Child, Identity, Step},
    convert,
    holdings::{Acceptance, Held, Holdings},
    parent::{Parent, Receipt},
    spec,
    version::Offer,
};
use edgeio_proto::link::v1::{self, child_message, parent_message};
use prost::Message as _;
use serde_json::Value;

use super::{VERSIONS, meaning, recording};

/// Generation and what is wanted, by assignment.
type Orders = BTreeMap<String, (u64, String)>;

enum Said {
    Up(child_message::Message),
    Down(u64, parent_message::Message),
}

fn conversation(version: &str) -> Result<Vec<Said>> {
    let text = fs::read_to_string(recording(version).join("conversation.jsonl"))?;
    let mut said = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let payload = hex::decode(line["hex"].as_str().context("hex")?)?;
        said.push(if line["channel"] == "control" {
            let message = v1::ParentMessage::decode(payload.as_slice())?;
            let body = message.message.context("nothing that is known here")?;
            Said::Down(message.session_epoch, body)
        } else {
            let message = v1::ChildMessage::decode(payload.as_slice())?;
            Said::Up(message.message.context("nothing that is known here")?)
        });
    }
    Ok(said)
}

/// What a child of then holds, as a worker would.
#[derive(Default)]
struct Model(BTreeMap<AssignmentId, Held>);

impl Holdings for Model {
    fn held(&self, id: AssignmentId) -> Option<Held> {
        self.0.get(&id).copied()
    }
    fn is_tombstoned(&self, _: AssignmentId) -> bool {
        false
    }
    fn ids(&self) -> Vec<AssignmentId> {
        self.0.keys().copied().collect()
    }
}

impl Model {
    fn take(&mut self, acceptance: &Acceptance) -> Result<()> {
        ensure!(acceptance.unread.is_empty(), "{:?}", acceptance.unread);
        ensure!(acceptance.refuse.is_empty(), "{:?}", acceptance.refuse);
        for entry in &acceptance.take {
            let order = convert::order_from_wire(entry)?;
            let held = Held {
                generation: order.generation,
                desired: order.desired,
                restart_count: order.restart_count,
                orphan: false,
            };
            self.0.insert(order.id, held);
        }
        for (hash, body) in &acceptance.specs {
            spec::decode(body).with_context(|| format!("spec {hash}"))?;
        }
        Ok(())
    }
}

/// `generation` and `desired` by id, and the accepted point, as the ledger of then has them.
fn ledger(version: &str) -> Result<(Orders, Value)> {
    let ledger = meaning(&recording(version).join("ledger.json"))?;
    let entries = ledger["entries"].as_array().context("entries")?;
    let order = |e: &Value| {
        let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
        let generation = e["generation"].as_u64().unwrap_or_default();
        (text("id"), (generation, text("desired")))
    };
    Ok((
        entries.iter().map(order).collect(),
        ledger["accepted"].clone(),
    ))
}

#[test]
fn a_child_of_now_accepts_what_a_parent_of_then_sent() -> Result<()> {
    for version in VERSIONS {
        let now = Time(1_000_000);
        let (mut child, mut model) = (None, Model::default());
        let (mut accepted, mut refusals) = (0, 0);
        for said in conversation(version)? {
            match said {
                Said::Up(child_message::Message::Hello(hello)) => {
                    let fresh = child.get_or_insert_with(|| {
                        let identity = Identity {
                            id: hello.child_id.parse::<ChildId>().unwrap_or_default(),
                            version: hello.version.clone(),
                            boot_id: hello.boot_id.clone(),
                        };
                        Child::new(identity, None)
                    });
                    fresh.connect(hello.attach_id.parse::<AttachId>()?, now);
                }
                Said::Up(_) => {}
                Said::Down(epoch, body) => {
                    let child = child.as_mut().context("a word before the hello")?;
                    refusals += usize::from(matches!(body, parent_message::Message::Refusal(_)));
                    let message = v1::ParentMessage {
                        session_epoch: epoch,
                        message: Some(body.clone()),
                    };
                    for step in child.receive(message, &model, now) {
                        match step {
                            Step::Accept(acceptance) => {
                                model.take(&acceptance)?;
                                child.accepted(&acceptance);
                                accepted += 1;
                            }
                            Step::Recorded => {}
                            other => anyhow::bail!("{version}: {body:?} led to {other:?}"),
                        }
                    }
                }
            }
        }
        let child = child.context("no hello")?;
        assert!(child.is_open(), "{version}");
        assert!(accepted >= 4, "{version}: only {accepted} were accepted");
        assert!(refusals > 0, "{version}: the stranger was not refused");
        let (running, point) = ledger(version)?;
        let wanted: Orders = model
            .0
            .iter()
            .filter(|(_, held)| held.desired != Desired::Stop)
            .map(|(id, held)| {
                (
                    id.to_string(),
                    (held.generation, format!("{:?}", held.desired)),
                )
            })
            .collect();
        assert_eq!(wanted, running, "{version}: the child holds something else");
        assert!(
            model.0.len() > running.len(),
            "{version}: no stop was heard"
        );
        let Accepted {
            lineage,
            issuer_epoch,
            revision,
        } = child.accepted_point().context("no point")?;
        let reached = serde_json::json!([lineage.to_string(), issuer_epoch, revision]);
        assert_eq!(reached, point, "{version}");
    }
    Ok(())
}

#[test]
fn a_parent_of_now_takes_what_a_child_of_then_said() -> Result<()> {
    for version in VERSIONS {
        let mut parent = None;
        let (mut hello, mut recorded, mut full, mut stale) = (None, 0, 0, 0);
        let mut last = BTreeMap::new();
        for said in conversation(version)? {
            match said {
                Said::Up(child_message::Message::Hello(said)) => {
                    let agreed = Offer::OWN.pick(&said)?;
                    ensure!(Offer::OWN.spoken.contains(&agreed.protocol));
                    let capacity = said.capacity.as_ref().context("no capacity")?;
                    let capacity = convert::capacity_from_wire(capacity);
                    ensure!(capacity.workers == 1, "{capacity:?}");
                    hello = Some(said);
                }
                Said::Down(epoch, parent_message::Message::Welcome(welcome)) => {
                    let asked = hello.as_ref().map(|h| &h.attach_id);
                    ensure!(asked == Some(&welcome.attach_id), "{welcome:?}");
                    parent.get_or_insert_with(|| Parent::new(epoch, welcome.adopting));
                }
                Said::Down(..) => {}
                Said::Up(child_message::Message::Report(report)) => {
                    let parent = parent.as_mut().context("a report before the welcome")?;
                    match parent.receive(&report) {
                        Receipt::Stale => stale += 1,
                        Receipt::Repeated => anyhow::bail!("{version}: {report:?} is new"),
                        Receipt::Record { completes_full } => {
                            recorded += 1;
                            full += usize::from(completes_full);
                        }
                    }
                    for entry in &report.entries {
                        let seen = convert::observed_from_wire(entry, Time(0))?;
                        let desired = convert::desired_from_wire(entry.desired)?;
                        convert::spec_hash(&entry.spec_hash)?;
                        last.insert(entry.id.clone(), (desired, seen.phase));
                    }
                    let digest = &report.assignments_digest;
                    ensure!(digest.is_empty() || convert::digest(digest).is_some());
                }
                Said::Up(child_message::Message::Telemetry(_)) => {}
            }
        }
        assert_eq!(stale, 1, "{version}: the stranger's report");
        assert!(
            full >= 2 && recorded > full,
            "{version}: {full}, {recorded}"
        );
        let running: Orders = ledger(version)?.0;
        let now: Vec<&String> = last
            .iter()
            .filter(|(_, (desired, _))| *desired != Desired::Stop)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(now, running.keys().collect::<Vec<_>>(), "{version}");
    }
    Ok(())
}
