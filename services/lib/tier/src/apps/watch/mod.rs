//! Watches: first what exists, then each change, from the store's log of changes.
//!
//! A feed is pulled and never pushed: it reads the next changes when its reader took the last ones. So a reader that is
//! slow holds up nobody, costs one batch of memory, and sees the newest state of what changed meanwhile. It keeps no
//! transaction open between two batches. What is sent can always be resumed: a token names the revision up to which its
//! reader knows everything; inside a batch that is the revision before the batch.

pub(crate) mod applications;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeio_domain::ids::Lineage;
use edgeio_store::{Change, ReadTx, Revision, Store, StoreError};
use futures::Stream;
use tokio::{sync::watch, time::Instant};

use super::{AppError, page};

/// Commits that are read at once. The engine puts what belongs together into one commit; this many of them cover
/// seconds of a busy tier and fit into memory many times.
const BATCH: u64 = 256;
/// Without a change a bookmark follows after this time, so that the reader's token does not grow old. Far shorter than
/// the log of changes is kept.
const BOOKMARK: Duration = Duration::from_secs(30);

/// What a feed is about.
#[async_trait]
pub(crate) trait Subject: Send + 'static {
    /// What is sent.
    type Item: Send + 'static;
    /// Everything that exists.
    async fn snapshot(&mut self, tx: &dyn ReadTx) -> Result<Vec<Self::Item>, StoreError>;
    /// What became of that which changed.
    async fn changed(
        &mut self,
        tx: &dyn ReadTx,
        changes: &[Change],
    ) -> Result<Vec<Self::Item>, StoreError>;
    /// Says that everything before it was sent.
    fn bookmark() -> Self::Item;
}

/// Where a reader stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    lineage: Lineage,
    revision: Revision,
    /// It has not seen all that existed at that revision: on resumption everything is sent again, and what is gone
    /// since is told before.
    partial: bool,
}

impl Place {
    fn token(self) -> String {
        let kind = if self.partial { "p" } else { "f" };
        let lineage = self.lineage.to_string();
        page::seal(&["w", &lineage, &self.revision.to_string(), kind])
    }

    fn parse(token: &str) -> Result<Self, AppError> {
        let [_, lineage, revision, kind] = page::unseal::<4>("token", "w", token)?;
        match (lineage.parse(), revision.parse(), kind.as_str()) {
            (Ok(lineage), Ok(revision), "p" | "f") => Ok(Self {
                lineage,
                revision,
                partial: kind == "p",
            }),
            _ => Err(AppError::field(
                "token",
                "is damaged: leave it out to begin again",
            )),
        }
    }
}

struct Feed<S: Subject> {
    store: Arc<dyn Store>,
    wake: watch::Receiver<Revision>,
    subject: S,
    place: Place,
    ready: VecDeque<(String, S::Item)>,
    over: bool,
}

/// Opens a feed after `token`; the empty one begins with what exists.
///
/// # Errors
/// The token is none, or of a place that is no longer kept; then, and in the stream, that the store failed.
pub(crate) async fn open<S: Subject>(
    store: Arc<dyn Store>,
    subject: S,
    token: &str,
) -> Result<impl Stream<Item = Result<(String, S::Item), AppError>> + Send + use<S>, AppError> {
    let known = (!token.is_empty())
        .then(|| Place::parse(token))
        .transpose()?;
    let wake = store.watch();
    let mut feed = Feed {
        store,
        wake,
        subject,
        place: known.unwrap_or(Place {
            lineage: Lineage::default(),
            revision: 0,
            partial: true,
        }),
        ready: VecDeque::new(),
        over: false,
    };
    if known.is_some_and(|place| !place.partial) {
        // Tells now, and not in the stream, that the place is lost.
        feed.read().await?;
    } else {
        feed.begin(known).await?;
    }
    Ok(futures::stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    }))
}

impl<S: Subject> Feed<S> {
    /// Queues everything that exists, and a bookmark. `known` is where a first attempt ended in the middle.
    async fn begin(&mut self, known: Option<Place>) -> Result<(), AppError> {
        let tx = self.store.read().await?;
        let meta = tx.meta().await?;
        let mut items = Vec::new();
        if let Some(place) = known {
            check(place, meta.lineage, meta.revision)?;
            let changes = tx.changes(place.revision, u64::MAX).await?;
            items = self.subject.changed(&*tx, &changes).await?;
        }
        items.extend(self.subject.snapshot(&*tx).await?);
        let place = Place {
            lineage: meta.lineage,
            revision: meta.revision,
            partial: true,
        };
        // Until all of it has come, an interrupted reader still stands where it began.
        let token = known.unwrap_or(place).token();
        let items = items.into_iter().map(|item| (token.clone(), item));
        self.ready.extend(items);
        self.place = Place {
            partial: false,
            ..place
        };
        self.ready.push_back((self.place.token(), S::bookmark()));
        Ok(())
    }

    /// Queues the next changes; whether it got anywhere.
    async fn read(&mut self) -> Result<bool, AppError> {
        self.wake.borrow_and_update();
        let tx = self.store.read().await?;
        let meta = tx.meta().await?;
        check(self.place, meta.lineage, meta.revision)?;
        let changes = tx.changes(self.place.revision, BATCH).await?;
        let upto = changes.iter().map(|change| change.revision).max();
        let upto = upto.unwrap_or(meta.revision);
        if upto == self.place.revision {
            return Ok(false);
        }
        let items = self.subject.changed(&*tx, &changes).await?;
        let (before, last) = (self.place.token(), items.len());
        self.place.revision = upto;
        let after = self.place.token();
        for (index, item) in items.into_iter().enumerate() {
            let token = if index + 1 == last { &after } else { &before };
            self.ready.push_back((token.clone(), item));
        }
        Ok(true)
    }

    async fn next(&mut self) -> Option<Result<(String, S::Item), AppError>> {
        let bookmark = Instant::now() + BOOKMARK;
        loop {
            if self.over {
                return None;
            }
            if let Some(next) = self.ready.pop_front() {
                return Some(Ok(next));
            }
            match self.read().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return self.end(error),
            }
            tokio::select! {
                changed = self.wake.changed() => {
                    if changed.is_err() {
                        return self.end(AppError::Closed);
                    }
                }
                () = tokio::time::sleep_until(bookmark) => {
                    return Some(Ok((self.place.token(), S::bookmark())));
                }
            }
        }
    }

    fn end(&mut self, error: AppError) -> Option<Result<(String, S::Item), AppError>> {
        self.over = true;
        Some(Err(error))
    }
}

/// Whether the place is in this database: it may be another one, or an older copy of it.
fn check(place: Place, lineage: Lineage, revision: Revision) -> Result<(), AppError> {
    if place.lineage == lineage && place.revision <= revision {
        Ok(())
    } else {
        Err(AppError::PlaceLost)
    }
}
