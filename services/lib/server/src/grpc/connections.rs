//! Connections, each served by itself until it ends, is old, or the server stops.
//!
//! An old connection is told to come again: no new call begins on it (HTTP/2's GOAWAY), what is open is answered, and streams that
//! are resumed anyway are ended (see `layer`). So clients spread again over the servers behind a balancer, and nothing is lost. Ages
//! differ by chance, so that those who came together do not leave together. tonic has an age too, but one for all, and a grace
//! that cuts instead of asking; hence one tonic server for each connection here, which costs a task and some hundred bytes.

use std::{convert::Infallible, future::ready, time::Duration};

use futures::{StreamExt as _, stream};
use rand::Rng as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use super::io::{Connection, Incoming, Life};
use super::layer::ChassisLayer;
use crate::shutdown::Shutdown;

/// By how much of its age a connection's may differ.
const JITTER: f64 = 0.2;

/// Pause after the system had no socket to give, as when all file descriptors are used: it is asked again, but not in a circle.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// Between telling an old connection's client and ending its streams: it should know that it must dial before it calls again.
const FAREWELL: Duration = Duration::from_millis(250);

/// What serves the calls of a connection.
pub(super) type Calls = Router<Stack<ChassisLayer, Identity>>;

/// Serves connections until `stop`, and then until all of them have ended. An age of zero is without a limit.
pub(super) async fn serve(calls: Calls, mut incoming: Incoming, age: Duration, stop: Shutdown) {
    let mut open = JoinSet::new();
    loop {
        let next = tokio::select! {
            () = stop.wait() => break,
            next = incoming.next() => next,
            Some(ended) = open.join_next() => {
                told(ended);
                continue;
            }
        };
        match next {
            Some(Ok((connection, life))) => {
                open.spawn(one(
                    calls.clone(),
                    connection,
                    life,
                    spread(age),
                    stop.clone(),
                ));
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "no connection was accepted");
                sleep(NO_SOCKET).await;
            }
            None => break,
        }
    }
    // Whoever comes from now on is refused by the system.
    drop(incoming);
    while let Some(ended) = open.join_next().await {
        told(ended);
    }
}

fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Serves one connection to its end.
async fn one(
    calls: Calls,
    connection: Connection,
    life: Life,
    age: Option<Duration>,
    stop: Shutdown,
) {
    let born = Instant::now();
    let until = |extra: Duration| async move {
        match age {
            Some(age) => sleep_until(born + age + extra).await,
            None => std::future::pending().await,
        }
    };
    let over = async {
        tokio::select! {
            () = stop.wait() => {}
            () = life.gone.wait() => {}
            () = until(Duration::ZERO) => tracing::debug!("a connection is old"),
        }
    };
    let only = stream::once(ready(Ok::<_, Infallible>(connection))).chain(stream::pending());
    let serving = calls.serve_with_incoming_shutdown(only, over);
    let ending = async {
        until(FAREWELL).await;
        life.old.fire();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::error!(%error, "a connection was not served");
            }
        }
        () = ending => {}
    }
}

/// The age of one connection; `None` is without a limit.
fn spread(age: Duration) -> Option<Duration> {
    (!age.is_zero()).then(|| age.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_within_bounds() {
        assert_eq!(spread(Duration::ZERO), None);
        let age = Duration::from_secs(1000);
        let ages: Vec<u64> = (0..200)
            .filter_map(|_| spread(age))
            .map(|age| age.as_secs())
            .collect();
        assert!(
            ages.iter().all(|age| (799..=1200).contains(age)),
            "{ages:?}"
        );
        let (least, most) = (ages.iter().min(), ages.iter().max());
        assert!(least < Some(&900) && most > Some(&1100), "{ages:?}");
    }
}
