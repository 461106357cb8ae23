//! How often one caller may call: joining by address, changes and open streams by principal.
//!
//! A bucket for each caller, filled at a steady rate. What is over the rate is refused with RESOURCE_EXHAUSTED and the pause after
//! which it would pass; it is never queued. Callers on this machine, and whoever needs no credential, are not counted unless it is configured: they
//! are tests, scripts and `edgeio dev`, and could do worse. Memory is bounded: callers that paused for long enough are forgotten, and
//! when there are too many at once the newest share one bucket. Deliberately absent: sizes and deadlines (see `limits`).

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    auth::{Peer, Principal, PrincipalKind, rules::Rule},
    config::ServeConfig,
};

/// Callers that are counted at once, of each sort: some 100 bytes each.
const MOST_CALLERS: usize = 10_000;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// On the average; 0 is without a limit.
    pub(super) per_second: f64,
    /// At once, after a pause.
    pub(super) burst: u32,
}

/// The rates of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// Joining, for each address.
    pub(super) register: Rate,
    /// Changes, for each principal.
    pub(super) mutate: Rate,
    /// Open streams of each principal; 0 is without a limit.
    pub(super) streams: u32,
    /// Callers on this machine and without a credential are counted too.
    pub(super) local: bool,
}

impl Default for Rates {
    fn default() -> Self {
        Self::from(&ServeConfig::default())
    }
}

impl From<&ServeConfig> for Rates {
    fn from(serve: &ServeConfig) -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            register: rate(serve.register_rate, serve.register_burst),
            mutate: rate(serve.mutate_rate, serve.mutate_burst),
            streams: serve.streams,
            local: serve.limit_local,
        }
    }
}

/// Why a call does not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    /// After this it would.
    pub(super) pause: Duration,
}

/// One caller's bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of one sort of callers.
struct Buckets<K> {
    rate: Rate,
    all: HashMap<K, Bucket>,
    /// Of those that there is no room for.
    rest: Option<Bucket>,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            all: HashMap::new(),
            rest: None,
        }
    }

    fn take(&mut self, key: K, now: Instant) -> Result<(), TooMany> {
        let rate = self.rate;
        if rate.per_second <= 0.0 {
            return Ok(());
        }
        let full = Bucket {
            left: f64::from(rate.burst.max(1)),
            at: now,
        };
        if !self.all.contains_key(&key) && self.all.len() >= MOST_CALLERS {
            self.all.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.left < full.left
            });
        }
        let bucket = if self.all.contains_key(&key) || self.all.len() < MOST_CALLERS {
            self.all.entry(key).or_insert(full)
        } else {
            self.rest.get_or_insert(full)
        };
        bucket.fill(rate, now);
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let seconds = (1.0 - bucket.left) / rate.per_second;
        // Rounded up, and never so short that a client would spin.
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(3600));
        Err(TooMany {
            pause: pause.max(Duration::from_millis(10)),
        })
    }
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        self.left = (self.left + gained).min(f64::from(rate.burst.max(1)));
        self.at = now;
    }
}

/// A principal, as it is counted.
type Who = (PrincipalKind, String);

struct State {
    register: Buckets<IpAddr>,
    mutate: Buckets<Who>,
    streams: HashMap<Who, u32>,
}

/// Counts calls. Clones count together.
#[derive(Clone)]
pub(super) struct Meter {
    most_streams: u32,
    local: bool,
    state: Arc<Mutex<State>>,
}

/// A stream that is open until this is dropped.
pub(super) struct Streaming {
    state: Arc<Mutex<State>>,
    who: Who,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = state.streams.get_mut(&self.who) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                state.streams.remove(&self.who);
            }
        }
    }
}

/// How long a caller with too many streams should wait: one must end first, so it is as good as any pause a person notices.
const STREAM_PAUSE: Duration = Duration::from_secs(5);

impl Meter {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            most_streams: rates.streams,
            local: rates.local,
            state: Arc::new(Mutex::new(State {
                register: Buckets::new(rates.register),
                mutate: Buckets::new(rates.mutate),
                streams: HashMap::new(),
            })),
        }
    }

    /// Counts a call that `who` may make; what it returns is kept until the call has ended.
    ///
    /// # Errors
    /// It was one too many.
    pub(super) fn admit(
        &self,
        method: &str,
        rule: &Rule,
        who: &Principal,
        peer: &Peer,
        now: Instant,
    ) -> Result<Option<Streaming>, TooMany> {
        let name = method.rsplit('/').next().unwrap_or_default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(name, "Register" | "Join") {
            let address = peer.address.map(|address| address.ip().to_canonical());
            return match address {
                Some(address) if self.local || !address.is_loopback() => {
                    state.register.take(address, now).map(|()| None)
                }
                Some(_) | None => Ok(None),
            };
        }
        if who.kind == PrincipalKind::Dev && !self.local {
            return Ok(None);
        }
        let key = (who.kind, who.id.clone());
        if !rule.streams() {
            let taken = if rule.changes() {
                state.mutate.take(key, now)
            } else {
                Ok(())
            };
            return taken.map(|()| None);
        }
        if self.most_streams == 0 {
            return Ok(None);
        }
        let open = state.streams.entry(key.clone()).or_default();
        if *open >= self.most_streams {
            return Err(TooMany {
                pause: STREAM_PAUSE,
            });
        }
        *open += 1;
        Ok(Some(Streaming {
            state: Arc::clone(&self.state),
            who: key,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Role, rules::Rules};

    fn rates() -> Rates {
        Rates {
            register: Rate {
                per_second: 1.0,
                burst: 3,
            },
            mutate: Rate {
                per_second: 2.0,
                burst: 5,
            },
            streams: 2,
            local: false,
        }
    }

    fn user(id: &str) -> Principal {
        Principal {
            id: id.to_owned(),
            kind: PrincipalKind::User,
            ..Principal::dev(Role::Admin)
        }
    }

    fn from(address: &str) -> Peer {
        Peer {
            address: Some(address.parse().unwrap()),
        }
    }

    const APPLY: &str = "/edgeio.api.v1.ApplicationService/Apply";
    const WATCH: &str = "/edgeio.api.v1.ApplicationService/Watch";
    const GET: &str = "/edgeio.api.v1.ApplicationService/Get";
    const REGISTER: &str = "/edgeio.cluster.v1.WorkerService/Register";

    struct Bed(Meter, Rules);

    impl Bed {
        fn new() -> Self {
            Self::with(rates())
        }

        fn with(rates: Rates) -> Self {
            let services = [
                "edgeio.api.v1.ApplicationService",
                "edgeio.cluster.v1.WorkerService",
            ];
            Self(Meter::new(rates), Rules::of(services).unwrap())
        }

        fn call(
            &self,
            method: &str,
            who: &Principal,
            peer: &str,
            now: Instant,
        ) -> Result<Option<Streaming>, TooMany> {
            let rule = self.1.get(method).unwrap();
            self.0.admit(method, rule, who, &from(peer), now)
        }
    }

    #[test]
    fn changes_are_counted_for_each_principal() {
        let (bed, now) = (Bed::new(), Instant::now());
        let (ann, bob) = (user("ann"), user("bob"));
        let far = "10.0.0.7:9";
        for _ in 0..5 {
            assert!(bed.call(APPLY, &ann, far, now).is_ok());
        }
        let refused = bed.call(APPLY, &ann, far, now).err().unwrap();
        assert_eq!(refused.pause, Duration::from_millis(500));
        assert!(bed.call(APPLY, &bob, far, now).is_ok(), "another one is");
        assert!(bed.call(GET, &ann, far, now).is_ok(), "reading is");
        let later = now + Duration::from_millis(501);
        assert!(bed.call(APPLY, &ann, far, later).is_ok());
        assert!(bed.call(APPLY, &ann, far, later).is_err());
        let much = later + Duration::from_secs(3600);
        let passed = (0..100).filter(|_| bed.call(APPLY, &ann, far, much).is_ok());
        assert_eq!(
            passed.count(),
            5,
            "a long pause saves no more than the burst"
        );
    }

    #[test]
    fn joining_is_counted_for_each_address_and_never_on_this_machine() {
        let (bed, now) = (Bed::new(), Instant::now());
        let passed = |peer: &str| {
            let who = |n: usize| Principal {
                kind: PrincipalKind::Stranger,
                ..user(&n.to_string())
            };
            (0..100)
                .filter(|n| bed.call(REGISTER, &who(*n), peer, now).is_ok())
                .count()
        };
        assert_eq!(passed("10.0.0.7:9"), 3);
        assert_eq!(passed("[::ffff:10.0.0.7]:9"), 0, "the same address");
        assert_eq!(passed("10.0.0.8:9"), 3);
        assert_eq!(passed("127.0.0.1:9"), 100);
        assert_eq!(passed("[::1]:9"), 100);
    }

    #[test]
    fn who_needs_no_credential_is_counted_only_if_wished() {
        let now = Instant::now();
        let dev = Principal::dev(Role::Admin);
        let passed = |bed: &Bed, method| {
            (0..100)
                .filter(|_| bed.call(method, &dev, "127.0.0.1:9", now).is_ok())
                .count()
        };
        let bed = Bed::new();
        assert_eq!((passed(&bed, APPLY), passed(&bed, REGISTER)), (100, 100));
        let bed = Bed::with(Rates {
            local: true,
            ..rates()
        });
        assert_eq!((passed(&bed, APPLY), passed(&bed, REGISTER)), (5, 3));
    }

    #[test]
    fn streams_are_counted_while_they_are_open() {
        let (bed, now) = (Bed::new(), Instant::now());
        let ann = user("ann");
        let watch = || bed.call(WATCH, &ann, "10.0.0.7:9", now);
        let (first, second) = (watch().unwrap(), watch().unwrap());
        assert!(first.is_some() && second.is_some());
        assert!(watch().is_err());
        drop(first);
        let third = watch().unwrap();
        assert!(watch().is_err());
        drop((second, third));
        assert!(bed.0.state.lock().unwrap().streams.is_empty());
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_no_limit_is_none() {
        let now = Instant::now();
        let mut buckets = Buckets::new(Rate {
            per_second: 1.0,
            burst: 2,
        });
        let passed = (0..50_000).filter(|key| buckets.take(*key, now).is_ok());
        assert_eq!(passed.count(), MOST_CALLERS + 2, "the rest share one");
        assert_eq!(buckets.all.len(), MOST_CALLERS);
        let later = now + Duration::from_secs(10);
        assert!(buckets.take(99_999, later).is_ok());
        assert_eq!(buckets.all.len(), 1, "who paused is forgotten");
        let mut none = Buckets::new(Rate {
            per_second: 0.0,
            burst: 0,
        });
        assert!((0..1000).all(|_| none.take(1, now).is_ok()));
    }
}
