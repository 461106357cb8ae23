//! Making children known: one way for clusters and workers.

use edgeio_domain::{
    child::{Capacity, Child, ChildState},
    ids::ChildId,
    name::{MAX_LEN, Name},
    records::Event,
};
use edgeio_store::{StoreError, Write, WriteTx};

use crate::context::Context;

/// Who wants to be known.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its id.
    pub id: ChildId,
    /// The name it would like.
    pub name: Name,
    /// Its public nkey.
    pub public_key: String,
    /// Where its API can be reached, or empty.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// Its inventory, encoded, or empty.
    pub inventory: Vec<u8>,
    /// What it offers, where that is known before its first report.
    pub capacity: Option<Capacity>,
}

/// Stages a child's record: a new one, or what changed of a known one. Answers it with the name that it got.
///
/// # Errors
/// The store failed.
pub async fn admit(
    context: &Context,
    tx: &mut dyn WriteTx,
    wish: Admission,
) -> Result<Child, StoreError> {
    let all = tx.children().await?;
    let before = all.iter().find(|c| c.id == wish.id).cloned();
    let taken = |name: &Name| {
        all.iter()
            .any(|c| c.id != wish.id && c.name.as_ref() == Some(name))
    };
    let known = before.is_some();
    let mut child = before.clone().unwrap_or_else(|| Child {
        id: wish.id,
        created_at: context.clock.wall(),
        last_heard: context.clock.wall(),
        ..Default::default()
    });
    let keeps = child
        .name
        .as_ref()
        .is_some_and(|name| *name == wish.name || taken(&wish.name));
    if !keeps {
        child.name = Some(unique(&wish.name, taken));
    }
    let holds = child.name.as_ref() == Some(&wish.name);
    child.wished = (!holds).then(|| wish.name.clone());
    if child.state == ChildState::Left {
        child.state = ChildState::Registered;
    }
    child.public_key = wish.public_key;
    child.address = wish.address;
    child.version = wish.version;
    child.inventory = wish.inventory;
    if let Some(capacity) = wish.capacity {
        child.capacity = capacity;
    }
    if before.as_ref() != Some(&child) {
        tx.stage(Write::PutChild(child.clone()));
    }
    if !known {
        tx.stage(Write::PutEvent(Event {
            at: context.clock.wall(),
            namespace: String::new(),
            subject: format!("{}/{}", context.noun, child.display()),
            reason: "Joined".to_owned(),
            message: format!(
                "{} {} has joined{}",
                context.noun,
                child.display(),
                wishes(&child)
            ),
        }));
    }
    Ok(child)
}

/// What there is to say of a child that did not get the name that it asked for.
fn wishes(child: &Child) -> String {
    child.wished.as_ref().map_or_else(String::new, |name| {
        format!("; it asked for the name {name}, which another one has: approve it if it is the same machine")
    })
}

/// The name, or the name with the first free number behind it.
fn unique(name: &Name, taken: impl Fn(&Name) -> bool) -> Name {
    if !taken(name) {
        return name.clone();
    }
    let numbered = |n: u32| {
        let suffix = format!("-{n}");
        let room = MAX_LEN - suffix.len();
        let stem: String = name.as_str().chars().take(room).collect();
        Name::from_any(&format!("{}{suffix}", stem.trim_end_matches('-')))
    };
    (2..u32::MAX)
        .map(numbered)
        .find(|name| !taken(name))
        .unwrap_or_else(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_a_number_and_stays_a_name() {
        let name = |text: &str| Name::new(text).unwrap();
        assert_eq!(unique(&name("a"), |_| false), name("a"));
        assert_eq!(
            unique(&name("a"), |n| n.as_str() == "a" || n.as_str() == "a-2"),
            name("a-3")
        );
        let long = "x".repeat(MAX_LEN);
        let other = unique(&name(&long), |n| n.as_str() == long);
        assert_eq!(Name::new(other.as_str()), Ok(other.clone()));
        assert!(other.as_str().ends_with("-2"));
    }
}
