//! The fake passes the suite, and does what a script says.

use std::sync::Arc;

use edgeio_worker::runtime::{
    ErrorClass, InstanceId, JobSpec, NoProgress, Runtime, State,
    fake::{FakeEngine, FakeRuntime, Op},
};
use uuid::Uuid;

use crate::bed::{Bed, Behaviour};

struct Fake {
    engine: Arc<FakeEngine>,
    worker: Uuid,
}

impl Bed for Fake {
    async fn new() -> Self {
        Self {
            engine: Arc::default(),
            worker: Uuid::now_v7(),
        }
    }

    fn driver(&self) -> Arc<dyn Runtime> {
        Arc::new(FakeRuntime::new(Arc::clone(&self.engine)))
    }

    fn worker(&self) -> Uuid {
        self.worker
    }

    fn fit(&self, job: &mut JobSpec, behaviour: Behaviour) {
        let words = match behaviour {
            Behaviour::Hold | Behaviour::Family(_) => "print ready",
            Behaviour::Exit(code) => {
                job.args = vec!["exit".to_owned(), code.to_string()];
                "print hello print oops"
            }
            Behaviour::IgnoreTerm => "print ready ignore-term",
            Behaviour::Burn => "print ready burn",
            Behaviour::Hog => "oom",
            Behaviour::Script(_) => "",
            Behaviour::NoProgram => {
                self.engine.fail(Op::Start, ErrorClass::Permanent, 1);
                ""
            }
        };
        job.command = words.split_whitespace().map(str::to_owned).collect();
    }

    fn runs_scripts(&self) -> bool {
        false
    }

    async fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        let all = self.engine.instances().into_iter();
        all.filter(|o| o.instance() == instance)
            .map(|o| format!("{o:?}"))
            .collect()
    }
}

crate::conformance!(Fake);

#[tokio::test(start_paused = true)]
async fn scripts_fail_delay_lose_and_record() {
    let bed = Fake::new().await;
    let (driver, job) = (bed.driver(), bed.job(Behaviour::Hold));
    let id = job.instance();
    bed.engine.fail(Op::Create, ErrorClass::Retry, 1);
    let error = driver.ensure(&job, &NoProgress).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Retry);
    let wait = std::time::Duration::from_secs(3600);
    bed.engine.delay(Op::Start, wait);
    let began = tokio::time::Instant::now();
    driver.ensure(&job, &NoProgress).await.unwrap();
    assert_eq!(began.elapsed(), wait);
    bed.engine.reboot();
    let seen = driver.observe(id).await.unwrap().unwrap();
    assert!(matches!(seen.state, State::Exited(exit) if exit.lost.is_some()));
    assert!(bed.engine.log().contains(&(Op::Start, Some(id))));
}
