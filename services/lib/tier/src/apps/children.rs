//! Children for people: clusters at the root, workers at a cluster.

mod about;
mod approve;
mod silence;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use edgeio_domain::{
    child::Child,
    ids::ChildId,
    records::{Event, Owner},
    time::{Clock, Time},
    violation::Violations,
};
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{
    ApplicationFilter, AssignmentFilter, Change, ChangeKind, ReadTx, SlotFilter, Store, StoreError,
    Write, WriteTx,
};
use futures::Stream;
use prost::Message;

use super::{
    AppError, Scope, access,
    page::{self, Page},
    watch::{self, Subject},
};
use crate::{access::Target, context::Context, hub::Heard};

use about::About;
pub use approve::Approve;
pub use silence::Verdict;

/// A child with what it is assigned.
#[derive(Clone, PartialEq, Debug)]
pub struct ChildView {
    /// The record.
    pub child: Child,
    /// How many assignments are wanted there.
    pub assigned: u32,
}

impl ChildView {
    /// When it was heard last; `None` if never.
    #[must_use]
    pub fn last_heard(&self) -> Option<Time> {
        (self.child.last_heard.0 != 0).then_some(self.child.last_heard)
    }

    fn with_heard(mut self, heard: &Heard) -> Self {
        self.child.last_heard = heard.of(&self.child);
        self
    }
}

/// What happens in a watch of children.
#[derive(Clone, PartialEq, Debug)]
pub enum ChildChange {
    /// A child as it is now.
    Is(Box<ChildView>),
    /// A child that is gone.
    Gone(ChildId),
    /// Everything before was told.
    Bookmark,
}

/// A checked request for a page.
#[derive(Clone, Debug)]
pub struct ListChildren {
    size: usize,
    after: Option<(String, String)>,
}

impl ListChildren {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, page_size: u32, page_token: &str) -> Result<Self, AppError> {
        access::role(who, Role::Viewer)?;
        let mut faults = Violations::default();
        let size = page::size(page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!page_token.is_empty())
            .then(|| page::unseal::<3>("page_token", "c", page_token))
            .transpose()?;
        Ok(Self {
            size,
            after: after.map(|[_, name, id]| (name, id)),
        })
    }
}

/// A checked Forget.
#[derive(Clone, Debug)]
pub struct Forget {
    about: About,
    force: bool,
}

impl Forget {
    /// Checks a request: `rest` is it without its `request_id`.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse<M: Message>(
        who: &Principal,
        request_id: String,
        rest: &M,
        child: &str,
        force: bool,
    ) -> Result<Self, AppError> {
        Ok(Self {
            about: About::parse(who, "Forget", request_id, rest, child)?,
            force,
        })
    }
}

/// The kept answer of a Forget.
#[derive(Clone, PartialEq, Message)]
struct Forgotten {
    /// How many assignments it held.
    #[prost(uint32, tag = "1")]
    replaced: u32,
}

/// The children of a tier. Cheap to clone.
#[derive(Clone)]
pub struct Children {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    heard: Heard,
}

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Children {
    /// On the tier's parts; `name` is what people call this tier.
    #[must_use]
    pub fn new(context: &Context, name: impl Into<String>) -> Self {
        Self {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
            scope: Scope::of(context, name),
            heard: Heard::default(),
        }
    }

    /// Shows when children were heard last as this process knows it; without it, as it is recorded, which is later.
    #[must_use]
    pub fn hearing(mut self, heard: Heard) -> Self {
        self.heard = heard;
        self
    }

    /// A page of children by name, each as `render` shows it, and the token of the next page.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list<T: Message>(
        &self,
        command: ListChildren,
        render: impl Fn(&ChildView) -> T + Send + Sync,
    ) -> Result<(Vec<T>, String), AppError> {
        let tx = self.store.read().await?;
        let mut page = Page::new(command.size);
        for view in views(&*tx, &self.heard).await? {
            let place = (view.child.display(), view.child.id.to_string());
            if command.after.as_ref().is_some_and(|after| place <= *after) {
                continue;
            }
            if !page.push(render(&view), || page::seal(&["c", &place.0, &place.1])) {
                return Ok(page.more());
            }
        }
        Ok(page.end())
    }

    /// One child by its name or id.
    ///
    /// # Errors
    /// There is none.
    pub async fn get(&self, who: &Principal, child: &str) -> Result<ChildView, AppError> {
        access::role(who, Role::Viewer)?;
        let tx = self.store.read().await?;
        let child = self.find(&*tx, child).await?;
        let view = view(&*tx, child).await?;
        Ok(view.with_heard(&self.heard))
    }

    /// Streams children, each with the token that resumes after it. What a child is assigned is counted when the
    /// child itself changes.
    ///
    /// # Errors
    /// The token is none, or its place is no longer kept.
    pub async fn watch(
        &self,
        who: &Principal,
        token: &str,
    ) -> Result<
        impl Stream<Item = Result<(String, ChildChange), AppError>> + Send + 'static + use<>,
        AppError,
    > {
        access::role(who, Role::Viewer)?;
        let feed = Feed(self.heard.clone());
        watch::open(Arc::clone(&self.store), feed, token).await
    }

    /// Removes a child that will not come back, with everything it was assigned: the engine finds other places. It
    /// answers how many that were. Should it return, what it runs is told to stop.
    ///
    /// # Errors
    /// There is none, or it still reports and force was not asked for; nothing was stored then.
    pub async fn forget(&self, command: Forget) -> Result<u32, AppError> {
        let mut tx = self.store.write().await?;
        if let Some(answer) = command.about.key.replay::<Forgotten>(&*tx).await? {
            return Ok(answer.replaced);
        }
        let noun = self.scope.child_noun();
        let child = self.find(&*tx, &command.about.child).await?;
        if child.state.is_heard() && !command.force {
            return Err(AppError::ChildReports {
                noun,
                name: child.display(),
            });
        }
        let now = self.clock.wall();
        let view = view(&*tx, child).await?;
        let child = &view.child;
        let why = format!("it was forgotten by {}", command.about.by);
        give_up(&mut *tx, noun, child, now, &why).await?;
        let answer = Forgotten {
            replaced: view.assigned,
        };
        let target = Target::new(noun, child.display(), "").with(child.id.to_string());
        let kept = command
            .about
            .key
            .commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        tracing::info!(child = %child.display(), id = %child.id, replaced = answer.replaced, "child forgotten");
        Ok(answer.replaced)
    }

    async fn find(&self, tx: &dyn ReadTx, wanted: &str) -> Result<Child, AppError> {
        let noun = self.scope.child_noun();
        if wanted.is_empty() {
            return Err(AppError::field(noun, "is required: give a name or an id"));
        }
        let children = tx.children().await?;
        let named = |child: &Child| {
            child
                .name
                .as_ref()
                .is_some_and(|name| name.as_str() == wanted)
                || child.id.to_string() == wanted
        };
        children
            .into_iter()
            .find(named)
            .ok_or_else(|| AppError::not_found(noun, wanted))
    }
}

/// No compaction is later, so what was buried then is remembered for good: a child that was forgotten is let in by no credential that
/// it was given before.
const FOR_GOOD: Time = Time(i64::MAX);

/// Removes a child with everything that it was assigned.
async fn give_up(
    tx: &mut dyn WriteTx,
    noun: &str,
    child: &Child,
    now: Time,
    why: &str,
) -> Result<(), StoreError> {
    let event = |namespace: &str, subject: String, reason: &str, message: String| {
        Write::PutEvent(Event {
            at: now,
            namespace: namespace.to_owned(),
            subject,
            reason: reason.to_owned(),
            message,
        })
    };
    for assignment in tx.assignments(&of(child.id)).await? {
        tx.stage(Write::DeleteAssignment(assignment.id));
        if assignment.is_mirror() {
            // It is the child's own, and nothing is given up here.
            continue;
        }
        tx.stage(Write::PutTombstone(assignment.id.0, now));
        let message = format!(
            "replica {} of service {} was given up: {noun} {} is forgotten",
            assignment.ordinal,
            assignment.service,
            child.display()
        );
        tx.stage(event(
            assignment.app.namespace.as_str(),
            format!("application/{}", assignment.app.name),
            "Abandoned",
            message,
        ));
    }
    release(tx, child.id, now).await?;
    tx.stage(Write::DeleteChild(child.id));
    tx.stage(Write::PutTombstone(child.id.0, FOR_GOOD));
    tx.stage(event(
        "",
        format!("{noun}/{}", child.display()),
        "Forgotten",
        why.to_owned(),
    ));
    Ok(())
}

/// Ends the waiting for what ran there, and removes the applications that it owned and told of.
async fn release(tx: &mut dyn WriteTx, child: ChildId, now: Time) -> Result<(), StoreError> {
    let filter = SlotFilter {
        upstream: Some(true),
        ..SlotFilter::default()
    };
    for mut slot in tx.slots(&filter).await? {
        let Some(upstream) = &mut slot.upstream else {
            continue;
        };
        if upstream
            .recorded
            .as_ref()
            .is_some_and(|at| at.worker == child)
        {
            upstream.recorded = None;
            upstream.hold_until = now;
            tx.stage(Write::PutSlot(slot));
        }
    }
    let filter = ApplicationFilter {
        owner: Some(Owner::Cluster(child)),
        ..ApplicationFilter::default()
    };
    for application in tx.applications(&filter).await? {
        let filter = SlotFilter {
            uid: Some(application.uid),
            ..SlotFilter::default()
        };
        for slot in tx.slots(&filter).await? {
            tx.stage(Write::DeleteSlot(slot.id));
        }
        tx.stage(Write::DeleteApplication(application.uid));
    }
    Ok(())
}

fn of(child: ChildId) -> AssignmentFilter {
    AssignmentFilter {
        child: Some(child),
        ..AssignmentFilter::default()
    }
}

async fn view(tx: &dyn ReadTx, child: Child) -> Result<ChildView, StoreError> {
    let assigned = tx.assignments(&of(child.id)).await?;
    let live = assigned.iter().filter(|a| a.is_live()).count();
    Ok(ChildView {
        child,
        assigned: u32::try_from(live).unwrap_or(u32::MAX),
    })
}

/// All children by name, then id.
async fn views(tx: &dyn ReadTx, heard: &Heard) -> Result<Vec<ChildView>, StoreError> {
    let mut assigned: BTreeMap<ChildId, u32> = BTreeMap::new();
    for assignment in tx.assignments(&AssignmentFilter::default()).await? {
        *assigned.entry(assignment.child).or_default() += u32::from(assignment.is_live());
    }
    let mut views: Vec<ChildView> = tx
        .children()
        .await?
        .into_iter()
        .map(|child| ChildView {
            assigned: assigned.get(&child.id).copied().unwrap_or(0),
            child,
        })
        .map(|view| view.with_heard(heard))
        .collect();
    views.sort_by_key(|view| (view.child.display(), view.child.id.to_string()));
    Ok(views)
}

/// The subject of a watch of children.
struct Feed(Heard);

#[async_trait]
impl Subject for Feed {
    type Item = ChildChange;

    async fn snapshot(&mut self, tx: &dyn ReadTx) -> Result<Vec<ChildChange>, StoreError> {
        let all = views(tx, &self.0).await?;
        Ok(all
            .into_iter()
            .map(|view| ChildChange::Is(Box::new(view)))
            .collect())
    }

    async fn changed(
        &mut self,
        tx: &dyn ReadTx,
        changes: &[Change],
    ) -> Result<Vec<ChildChange>, StoreError> {
        let mut ids: Vec<ChildId> = changes
            .iter()
            .filter(|change| change.kind == ChangeKind::Child)
            .map(|change| ChildId(change.id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut items = Vec::new();
        for id in ids {
            items.push(match tx.child(id).await? {
                Some(child) => {
                    ChildChange::Is(Box::new(view(tx, child).await?.with_heard(&self.0)))
                }
                None => ChildChange::Gone(id),
            });
        }
        Ok(items)
    }

    fn bookmark() -> ChildChange {
        ChildChange::Bookmark
    }
}
