//! Private registries, with a real one that asks for a password, in both engines that fetch images.

use std::path::{Path, PathBuf};

use bollard::{Docker as Client, query_parameters::RemoveImageOptionsBuilder};
use edgeio_worker::runtime::{
    ErrorClass, JobSpec, NoProgress, PullPolicy, Runtime, RuntimeError, registries::Registries,
};

use crate::{
    bed::printed,
    images::{self, PASSWORD, Registry},
};

/// A private registry with one image in it, and nowhere else.
pub(crate) struct Private {
    registry: Registry,
    docker: Client,
    dir: tempfile::TempDir,
    image: String,
}

impl Private {
    pub(crate) async fn with_image(name: &str) -> Self {
        let docker = Client::connect_with_unix_defaults().expect("the Docker Engine runs");
        let registry = Registry::private().await;
        let repository = format!("{}/edgeio/{name}", registry.address);
        let files = [("which", &b"private"[..])];
        images::import(&docker, &repository, "1", images::root_fs(&files)).await;
        Registry::push(&docker, &repository, "1").await;
        let private = Self {
            registry,
            docker,
            dir: tempfile::tempdir().unwrap(),
            image: format!("{repository}:1"),
        };
        private.forget().await;
        private
    }

    /// Takes the image from the Docker Engine.
    pub(crate) async fn forget(&self) {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = self.docker.remove_image(&self.image, Some(options), None);
        removed.await.unwrap();
    }

    fn file(&self, password: &str) -> PathBuf {
        images::credentials(self.dir.path(), &self.registry.address, password)
    }

    /// Only who has the password gets the image, and a password that was changed counts at once.
    pub(crate) async fn is_kept(
        &self,
        driver: impl Fn(Registries) -> Box<dyn Runtime>,
        job: impl Fn() -> JobSpec,
    ) {
        let job = || {
            let mut job = job();
            job.args = vec!["cat /which; echo; sleep 100000 & wait".to_owned()];
            job.image = Some(self.image.clone());
            job.pull = PullPolicy::Always;
            job
        };
        let anonymous = driver(Registries::default());
        let refused = anonymous.ensure(&job(), &NoProgress).await.unwrap_err();
        assert_eq!(
            refused.class(),
            ErrorClass::Permanent,
            "{}",
            refused.chain()
        );

        let file = self.file("something else");
        let known = driver(Registries::new(Some(file.clone())));
        let refused = known.ensure(&job(), &NoProgress).await.unwrap_err();
        assert!(matches!(refused, RuntimeError::Pull { .. }), "{refused}");
        assert!(
            !refused.chain().contains("something else"),
            "{}",
            refused.chain()
        );

        assert_eq!(self.file(PASSWORD), file);
        let job = job();
        let seen = known.ensure(&job, &NoProgress).await.unwrap();
        printed(&*known, job.instance(), "private").await;
        let digest = seen.image_digest.expect("it came from a registry");
        assert!(digest.starts_with("sha256:"), "{digest}");
        known.remove(job.instance()).await.unwrap();

        let nowhere = driver(Registries::new(Some(
            Path::new("/nowhere/config.json").into(),
        )));
        let refused = nowhere.ensure(&job, &NoProgress).await.unwrap_err();
        assert!(
            refused.chain().contains("/nowhere/config.json"),
            "{}",
            refused.chain()
        );
    }
}
