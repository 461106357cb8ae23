//! Images from a registry, through the whole line: always, if absent, never; progress and reasons can be seen at the root.

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{InspectContainerOptions, RemoveImageOptionsBuilder};
use edgeio_integration_tests::testbed::{
    Bed, Testbed, eventually,
    manifest::{app, container},
    registry::Registry,
    tier::sketch,
};
use edgeio_proto::api::v1::{InstancePhase, ServiceSpec, WatchRequest, watch_response::Change};
use rand::RngCore as _;
use tokio_stream::StreamExt as _;

/// Runs the image once by the whole line and tells which image the engine took.
async fn run(bed: &Bed, name: &str, image: &str, pull: &str) -> Result<String> {
    let service = ServiceSpec {
        pull: pull.to_owned(),
        ..container("web", 1, image)
    };
    let root = bed.root();
    root.apply(&app(name, [service])).await?;
    let running = root.running(name, "web", 1).await?;
    let handle = running.into_values().next().context("no instance")?.handle;
    let seen = bed
        .engine()
        .docker
        .inspect_container(&handle, None::<InspectContainerOptions>)
        .await?;
    root.delete(name).await?;
    root.gone(name).await?;
    seen.image.context("the container has no image")
}

/// Waits until the only instance says so, and removes it.
async fn refused(bed: &Bed, name: &str, image: &str, pull: &str, word: &str) -> Result<()> {
    let service = ServiceSpec {
        pull: pull.to_owned(),
        ..container("web", 1, image)
    };
    let root = bed.root();
    root.apply(&app(name, [service])).await?;
    eventually(
        &format!("{name} tells why `{image}` is not had"),
        async || {
            let all = root.instances(name).await?;
            let told = all.iter().any(|i| {
                i.phase() != InstancePhase::Running
                    && !i.reason.is_empty()
                    && i.message.contains(word)
            });
            ensure!(told, "{}", sketch(&all));
            Ok(())
        },
    )
    .await?;
    root.delete(name).await?;
    root.gone(name).await
}

async fn forget_image(bed: &Bed, image: &str) -> Result<()> {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    let docker = &bed.engine().docker;
    docker
        .remove_image(image, Some(options), None)
        .await
        .context("remove an image")?;
    Ok(())
}

async fn image_id(bed: &Bed, image: &str) -> Result<String> {
    let seen = bed.engine().docker.inspect_image(image).await?;
    seen.id.context("the image has no id")
}

/// Waits until the root tells how far a pull has come.
async fn progress(bed: &Bed, app: &str) -> Result<()> {
    let request = WatchRequest {
        application: app.to_owned(),
        ..WatchRequest::default()
    };
    let mut watch = bed.root().applications().watch(request).await?.into_inner();
    let mut told = Vec::new();
    while let Some(event) = watch.next().await {
        let Some(Change::Instance(instance)) = event?.change else {
            continue;
        };
        let line = format!("{} {}", instance.phase().as_str_name(), instance.message);
        if instance.phase() == InstancePhase::Preparing && line.contains(" MB of ") {
            return Ok(());
        }
        told.push(line);
        ensure!(
            instance.phase() != InstancePhase::Running,
            "no progress in {told:#?}"
        );
    }
    anyhow::bail!("the watch ended after {told:#?}")
}

#[tokio::test]
async fn images_are_pulled_as_the_service_says() -> Result<()> {
    let bed = Testbed::new("pull")
        .cluster("a")
        .worker("a1")
        .expect("pull", "images that cannot be had are asked for");
    bed.run(async |bed| {
        let registry = Registry::start(bed).await?;
        // Large enough for its pull to be seen on the way, and not to be compressed.
        let mut filler = vec![0_u8; 48 << 20];
        rand::rng().fill_bytes(&mut filler);
        let old = bed.image_with("old", &filler).await?;
        let pushed = registry.push(bed, &old, "shop/web", "1").await?;
        let old_id = image_id(bed, &pushed).await?;
        // By its id too: it loses its names on the way.
        bed.owns_image(&old_id);

        forget_image(bed, &pushed).await?;
        forget_image(bed, &old).await?;
        refused(bed, "never", &pushed, "never", &pushed).await?;
        registry.slow_down();
        let looked = async {
            let looked = progress(bed, "absent").await;
            registry.speed_up();
            looked
        };
        let (ran, looked) = tokio::join!(run(bed, "absent", &pushed, "if-absent"), looked);
        looked?;
        ensure!(ran? == old_id, "another image ran");

        // Another image under the same name: only `always` looks.
        let new = bed.image_with("new", b"new").await?;
        registry.push(bed, &new, "shop/web", "1").await?;
        let new_id = image_id(bed, &new).await?;
        registry.name(bed, &old_id, "shop/web", "1").await?;
        for (pull, wanted) in [
            ("never", &old_id),
            ("if-absent", &old_id),
            ("always", &new_id),
        ] {
            let ran = run(bed, pull, &pushed, pull).await?;
            ensure!(ran == *wanted, "{pull} ran {ran}, not {wanted}");
        }

        let missing = format!("{}/shop/none:1", registry.address);
        refused(bed, "missing", &missing, "if-absent", "shop/none").await?;
        registry.kill().await?;
        let ran = run(bed, "absent", &pushed, "if-absent").await?;
        ensure!(ran == new_id, "{ran} is not {new_id}");
        refused(bed, "always", &pushed, "always", "shop/web").await
    })
    .await
}
