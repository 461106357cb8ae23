//! Watches: what exists, then each change; resumption loses nothing; a lost place is told.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use edgeio_domain::{child::ChildState, ids::Lineage, time::Time};
use edgeio_proto::api::v1::{self, watch_response::Change};
use edgeio_server::status::{Classify, Kind};
use edgeio_store::{MemoryStore, Write};
use edgeio_tier::{
    apps::{AppError, Apps, Watch},
    context::Context,
};
use futures::{FutureExt as _, Stream, StreamExt as _};
use std::sync::Arc;
use uuid::Uuid;

use crate::support::{Bed, manifest, service, web, who};

type Changes = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, AppError>> + Send>>;

async fn open(apps: &Apps, request: v1::WatchRequest) -> Result<Changes, AppError> {
    let watch = Watch::parse(&who(), &request)?;
    Ok(Box::pin(apps.watch(watch).await?))
}

async fn from(bed: &Bed, token: &str) -> Result<Changes, AppError> {
    let request = v1::WatchRequest {
        token: token.to_owned(),
        ..Default::default()
    };
    open(&bed.apps, request).await
}

/// Takes what is there without waiting.
fn drain(changes: &mut Changes) -> Vec<v1::WatchResponse> {
    let mut seen = Vec::new();
    while let Some(next) = changes.next().now_or_never() {
        seen.push(next.unwrap().unwrap());
    }
    seen
}

fn word(change: &v1::WatchResponse) -> String {
    match change.change.as_ref().unwrap() {
        Change::Application(app) => {
            format!(
                "app {} v{} {:?}",
                app.name,
                app.version,
                app.status.as_ref().unwrap().phase()
            )
        }
        Change::Instance(instance) => format!(
            "{}/{} {:?} {:?}",
            instance.service,
            instance.ordinal,
            instance.phase(),
            instance.reachability()
        ),
        Change::ApplicationGone(gone) => format!("gone {}", gone.name),
        Change::InstanceGone(_) => "instance gone".to_owned(),
        Change::Bookmark(_) => "bookmark".to_owned(),
    }
}

fn words(changes: &[v1::WatchResponse]) -> Vec<String> {
    changes.iter().map(word).collect()
}

/// What a reader knows that keeps everything it was told.
#[derive(Default, PartialEq, Debug)]
struct Known(BTreeMap<String, v1::watch_response::Change>);

impl Known {
    fn take(&mut self, changes: &[v1::WatchResponse]) {
        for change in changes {
            let change = change.change.clone().unwrap();
            match &change {
                Change::Application(app) => self.0.insert(app.uid.clone(), change),
                Change::Instance(instance) => self.0.insert(instance.slot_id.clone(), change),
                Change::ApplicationGone(gone) => self.0.remove(&gone.uid),
                Change::InstanceGone(gone) => self.0.remove(&gone.slot_id),
                Change::Bookmark(_) => None,
            };
        }
    }
}

#[tokio::test]
async fn it_tells_what_is_then_each_change() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    let mut changes = from(&bed, "").await.unwrap();
    assert_eq!(
        words(&drain(&mut changes)),
        ["app web v1 Ready", "front/0 Running Reachable", "bookmark"]
    );
    bed.applied(web(2)).await;
    assert_eq!(words(&drain(&mut changes)), ["app web v2 Progressing"]);
    bed.plan().await;
    assert_eq!(
        words(&drain(&mut changes)),
        ["app web v2 Progressing", "front/1 Scheduled Reachable"]
    );
    bed.settle().await;
    assert_eq!(
        words(&drain(&mut changes)),
        ["app web v2 Ready", "front/1 Running Reachable"]
    );
    bed.delete(v1::DeleteRequest {
        name: "web".into(),
        ..Default::default()
    })
    .await
    .unwrap();
    bed.settle().await;
    let last = words(&drain(&mut changes));
    assert_eq!(last, ["instance gone", "instance gone", "gone web"]);
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let bed = Bed::root();
    let mut changes = from(&bed, "").await.unwrap();
    assert_eq!(words(&drain(&mut changes)), ["bookmark"]);
    let waiting = tokio::spawn(async move { changes.next().await.unwrap().unwrap() });
    tokio::task::yield_now().await;
    bed.applied(web(1)).await;
    let seen = tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(word(&seen), "app web v1 Progressing");
}

#[tokio::test]
async fn filters_keep_the_rest_out() {
    let bed = Bed::root();
    bed.child("north", 9).await;
    bed.applied(web(1)).await;
    bed.applied(manifest("db", vec![service("one", None)]))
        .await;
    bed.settle().await;
    let request = v1::WatchRequest {
        application: "db".into(),
        ..Default::default()
    };
    let mut changes = open(&bed.apps, request).await.unwrap();
    assert_eq!(
        words(&drain(&mut changes)),
        ["app db v1 Ready", "one/0 Running Reachable", "bookmark"]
    );
    bed.applied(web(2)).await;
    bed.settle().await;
    assert!(drain(&mut changes).is_empty());
    bed.applied(manifest("db", vec![service("one", Some(2))]))
        .await;
    assert_eq!(words(&drain(&mut changes)), ["app db v2 Progressing"]);
    let request = v1::WatchRequest {
        namespace: "aside".into(),
        ..Default::default()
    };
    let mut changes = open(&bed.apps, request).await.unwrap();
    assert_eq!(words(&drain(&mut changes)), ["bookmark"]);
}

#[tokio::test]
async fn from_whatever_message_it_resumes_nothing_is_lost() {
    // What a reader sees that is cut after `cut` messages, while the world goes on.
    for cut in 0..12 {
        let bed = Bed::cluster();
        bed.child("a1", 9).await;
        bed.applied(web(2)).await;
        bed.applied(manifest("db", vec![service("one", Some(2))]))
            .await;
        bed.settle().await;
        let mut known = Known::default();
        let mut seen = Vec::new();
        let mut changes = from(&bed, "").await.unwrap();
        let snapshot = drain(&mut changes);
        assert_eq!(snapshot.len(), 7);
        seen.extend(snapshot);
        bed.applied(web(3)).await;
        bed.settle().await;
        bed.applied(web(1)).await;
        bed.settle().await;
        seen.extend(drain(&mut changes));
        seen.truncate(cut);
        known.take(&seen);
        let token = seen.last().map_or(String::new(), |last| last.token.clone());
        drop(changes);

        bed.delete(v1::DeleteRequest {
            name: "db".into(),
            ..Default::default()
        })
        .await
        .unwrap();
        bed.settle().await;
        let mut changes = from(&bed, &token).await.unwrap();
        known.take(&drain(&mut changes));

        let mut fresh = Known::default();
        fresh.take(&drain(&mut from(&bed, "").await.unwrap()));
        assert_eq!(known, fresh, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_place_that_is_no_longer_kept_is_told_at_the_beginning_and_on_the_way() {
    let bed = Bed::root();
    bed.applied(web(1)).await;
    let mut changes = from(&bed, "").await.unwrap();
    let token = drain(&mut changes).last().unwrap().token.clone();
    bed.clock.advance(1000);
    bed.applied(web(2)).await;
    bed.clock.advance(1000);
    bed.write([Write::Compact(Time(i64::MAX))]).await;
    let on_the_way = changes.next().await.unwrap().unwrap_err();
    let at_once = from(&bed, &token).await.err().unwrap();
    for error in [on_the_way, at_once] {
        assert_eq!(
            (error.kind(), error.reason()),
            (Kind::OutOfRange, "REVISION_COMPACTED")
        );
    }
    assert!(changes.next().await.is_none(), "the stream is over");
}

#[tokio::test]
async fn a_token_of_another_database_or_of_nothing_is_refused() {
    let bed = Bed::root();
    let mut changes = from(&bed, "").await.unwrap();
    let token = drain(&mut changes).last().unwrap().token.clone();
    let store = MemoryStore::new(Lineage(Uuid::from_u128(2)), bed.clock.clone());
    let context = Context {
        store: Arc::new(store),
        ..bed.context.clone()
    };
    let other = Apps::new(&context, bed.engine.clone(), "root");
    let request = v1::WatchRequest {
        token,
        ..Default::default()
    };
    let error = open(&other, request).await.err().unwrap();
    assert_eq!(error.reason(), "REVISION_COMPACTED");
    let error = from(&bed, "garbage").await.err().unwrap();
    assert_eq!(error.fields()[0].path, "token");
}

#[tokio::test]
async fn a_child_that_falls_silent_shows_at_its_instances() {
    let bed = Bed::cluster();
    let child = bed.child("a1", 9).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    let mut changes = from(&bed, "").await.unwrap();
    drain(&mut changes);
    bed.becomes(child, ChildState::Returning).await;
    assert!(drain(&mut changes).is_empty(), "it is heard as before");
    bed.becomes(child, ChildState::Suspect).await;
    // The application is told too: its status counts what cannot be heard.
    let told = words(&drain(&mut changes));
    assert_eq!(told, ["app web v1 Ready", "front/0 Running Unreachable"]);
    let status = bed.status("web").await;
    assert_eq!(
        (status.services[0].running, status.services[0].unreachable),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn without_changes_a_bookmark_follows_from_time_to_time() {
    let bed = Bed::root();
    let mut changes = from(&bed, "").await.unwrap();
    let first = drain(&mut changes).pop().unwrap();
    // Somebody else's commit, of which this reader sees nothing.
    bed.child("north", 1).await;
    let second = changes.next().await.unwrap().unwrap();
    assert_eq!(word(&second), "bookmark");
    assert_ne!(
        first.token, second.token,
        "the place moves on with the database"
    );
}
