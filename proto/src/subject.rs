//! The one file that builds and parses NATS subjects.
//!
//! `edgeio.<cluster id>.worker.<worker id>.control|report|telemetry|stream.<session id>.up|down`
//!
//! Every variable part is a [`Uuid`], so no wildcard, dot or space of anyone's choosing can enter a subject: a
//! worker named `*` would otherwise read another worker's commands. Parsing takes exactly what building gives,
//! so an id has one spelling on the bus. It stands beside the messages, since both ends need it: who uses a subject (bridge,
//! worker) and who says who may (cluster). Deliberately absent: display names, which are not unique.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

const ROOT: &str = "edgeio";
const WORKER: &str = "worker";

/// What a subject is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Down: what the cluster tells one worker.
    Control,
    /// Up: the worker's hellos and reports.
    Report,
    /// Up: the worker's samples, independent of the reports.
    Telemetry,
    /// One session of bulk data, such as logs; never on the other channels.
    Stream {
        /// The session.
        session: Uuid,
        /// Which way.
        way: Way,
    },
}

/// Direction of a stream's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the worker.
    Up,
    /// To the worker.
    Down,
}

/// A subject of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The cluster.
    pub cluster: Uuid,
    /// The worker.
    pub worker: Uuid,
    /// What it is for.
    pub channel: Channel,
}

/// A subject that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{subject}` is no subject of edgeIO")]
pub struct ParseSubjectError {
    subject: String,
}

impl Subject {
    /// What `worker` is told.
    #[must_use]
    pub const fn control(cluster: Uuid, worker: Uuid) -> Self {
        Self {
            cluster,
            worker,
            channel: Channel::Control,
        }
    }

    /// What `worker` reports.
    #[must_use]
    pub const fn report(cluster: Uuid, worker: Uuid) -> Self {
        Self {
            cluster,
            worker,
            channel: Channel::Report,
        }
    }

    /// What `worker` measures.
    #[must_use]
    pub const fn telemetry(cluster: Uuid, worker: Uuid) -> Self {
        Self {
            cluster,
            worker,
            channel: Channel::Telemetry,
        }
    }
}

/// The filter that matches the reports of every worker of `cluster`. For bridges only.
#[must_use]
pub fn every_report(cluster: Uuid) -> String {
    format!("{ROOT}.{cluster}.{WORKER}.*.report")
}

/// The filter that matches the telemetry of every worker of `cluster`. For bridges only.
#[must_use]
pub fn every_telemetry(cluster: Uuid) -> String {
    format!("{ROOT}.{cluster}.{WORKER}.*.telemetry")
}

/// The filter that matches the orders to every worker of `cluster`. For bridges only.
#[must_use]
pub fn every_control(cluster: Uuid) -> String {
    format!("{ROOT}.{cluster}.{WORKER}.*.control")
}

/// The filter that matches one way of every stream of every worker of `cluster`. For bridges only.
#[must_use]
pub fn every_stream(cluster: Uuid, way: Way) -> String {
    format!("{ROOT}.{cluster}.{WORKER}.*.stream.*.{way}")
}

/// The filter that matches one way of every stream of one worker.
#[must_use]
pub fn streams_of(cluster: Uuid, worker: Uuid, way: Way) -> String {
    format!("{ROOT}.{cluster}.{WORKER}.{worker}.stream.*.{way}")
}

/// Where answers to requests of `client`, a worker or a bridge, arrive: a prefix that is its own.
#[must_use]
pub fn inbox(client: Uuid) -> String {
    format!("_INBOX_{client}")
}

/// The filter that matches every answer to `client`.
#[must_use]
pub fn every_answer(client: Uuid) -> String {
    format!("{}.>", inbox(client))
}

/// Where a nats-server takes a newly signed account: the only subject of its system account that anyone of ours may use.
pub const CLAIMS_UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ROOT}.{}.{WORKER}.{}.", self.cluster, self.worker)?;
        match self.channel {
            Channel::Control => f.write_str("control"),
            Channel::Report => f.write_str("report"),
            Channel::Telemetry => f.write_str("telemetry"),
            Channel::Stream { session, way } => write!(f, "stream.{session}.{way}"),
        }
    }
}

impl FromStr for Subject {
    type Err = ParseSubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseSubjectError {
            subject: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Subject> {
    let mut tokens = text.split('.');
    let mut next = || tokens.next();
    if next()? != ROOT {
        return None;
    }
    let cluster = id(next()?)?;
    if next()? != WORKER {
        return None;
    }
    let worker = id(next()?)?;
    let channel = match next()? {
        "control" => Channel::Control,
        "report" => Channel::Report,
        "telemetry" => Channel::Telemetry,
        "stream" => {
            let session = id(next()?)?;
            let way = match next()? {
                "up" => Way::Up,
                "down" => Way::Down,
                _ => return None,
            };
            Channel::Stream { session, way }
        }
        _ => return None,
    };
    next().is_none().then_some(Subject {
        cluster,
        worker,
        channel,
    })
}

/// An id in its one spelling: the parser of `uuid` also takes capitals, braces and URNs.
fn id(token: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(token).ok()?;
    (id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == token).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uuids() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn channels() -> impl Strategy<Value = Channel> {
        prop_oneof![
            Just(Channel::Control),
            Just(Channel::Report),
            Just(Channel::Telemetry),
            (uuids(), prop_oneof![Just(Way::Up), Just(Way::Down)])
                .prop_map(|(session, way)| Channel::Stream { session, way }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_built_parses_back_and_holds_no_wildcard(
            cluster in uuids(), worker in uuids(), channel in channels()
        ) {
            let subject = Subject { cluster, worker, channel };
            let text = subject.to_string();
            prop_assert_eq!(text.parse::<Subject>(), Ok(subject));
            prop_assert!(text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')), "{}", text);
            let tokens = if matches!(channel, Channel::Stream { .. }) { 7 } else { 5 };
            prop_assert_eq!(text.split('.').count(), tokens);
            prop_assert!(text.split('.').all(|token| !token.is_empty()));
        }

        #[test]
        fn what_parses_has_one_spelling(text in "(edgeio|[*>])\\.[0-9a-fA-F{}*>.-]{0,40}\\.worker\\.\\PC{0,40}\\.(report|control|\\PC{0,9})") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_of_an_id_are_refused() {
        let (cluster, worker) = (Uuid::from_u128(0xabc), Uuid::from_u128(0xdef));
        let good = Subject::report(cluster, worker).to_string();
        assert!(good.parse::<Subject>().is_ok());
        let spelt = |id: String| good.replace(&worker.to_string(), &id);
        for bad in [
            spelt(worker.to_string().to_uppercase()),
            spelt(worker.simple().to_string()),
            spelt(worker.braced().to_string()),
            spelt(worker.urn().to_string()),
            spelt("*".to_owned()),
            spelt(">".to_owned()),
            spelt(String::new()),
            format!("{good}.more"),
            format!("{good}."),
            format!(" {good}"),
            good.replace("report", "REPORT"),
            good.replace("edgeio", "edge"),
            every_report(cluster),
        ] {
            assert!(bad.parse::<Subject>().is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn filters_differ_from_a_subject_only_in_the_worker() {
        let (cluster, worker) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let starred = |s: Subject| s.to_string().replace(&worker.to_string(), "*");
        assert_eq!(
            every_report(cluster),
            starred(Subject::report(cluster, worker))
        );
        assert_eq!(
            every_telemetry(cluster),
            starred(Subject::telemetry(cluster, worker))
        );
        assert_eq!(
            every_control(cluster),
            starred(Subject::control(cluster, worker))
        );
        for way in [Way::Up, Way::Down] {
            let session = Uuid::from_u128(3);
            let stream = Subject {
                cluster,
                worker,
                channel: Channel::Stream { session, way },
            };
            let any = stream.to_string().replace(&session.to_string(), "*");
            assert_eq!(streams_of(cluster, worker, way), any);
            assert_eq!(
                every_stream(cluster, way),
                any.replace(&worker.to_string(), "*")
            );
        }
    }
}
