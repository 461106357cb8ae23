//! Who is let in, and who is thrown out: expired, revoked and stolen credentials.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use edgeio_cluster::broker::Revocations;
use edgeio_integration_tests::testbed::eventually;
use edgeio_proto::subject::CLAIMS_UPDATE;
use nkeys::KeyPair;
use uuid::Uuid;

use super::site::{Peer, Site, now, servers};

async fn is_refused(site: &Site, keys: &KeyPair, jwt: &str) -> Result<()> {
    let tried = Peer::connect(&site.url, Uuid::now_v7(), keys, jwt).await;
    let error = format!("{:#}", tried.err().context("it was let in")?);
    // The hang-up may overtake the reason.
    let refused = [
        "authorization violation",
        "hung up",
        "reset by peer",
        "broken pipe",
    ];
    ensure!(
        refused
            .iter()
            .any(|word| error.to_lowercase().contains(word)),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_credential_is_of_one_key_one_cluster_and_one_signer() -> Result<()> {
    for server in servers()? {
        let (site, other) = (Site::new(&server).await?, Site::new(&server).await?);
        let keys = KeyPair::new_user();
        let victim = keys.public_key();
        let jwt = site
            .minter
            .worker(Uuid::now_v7(), &victim, now(), now() + 60)?;
        // The very key: let in.
        Peer::connect(&site.url, Uuid::now_v7(), &keys, &jwt).await?;
        // Stolen, with another key.
        is_refused(&site, &KeyPair::new_user(), &jwt).await?;
        // Another cluster's broker, and another cluster's credential.
        is_refused(&other, &keys, &jwt).await?;
        let foreign = other
            .minter
            .worker(Uuid::now_v7(), &victim, now(), now() + 60)?;
        is_refused(&site, &keys, &foreign).await?;
        // Another one's claims under this signature.
        let more = site
            .minter
            .bridge(Uuid::now_v7(), &victim, now(), now() + 60)?;
        let (said, _) = more.rsplit_once('.').context("a token")?;
        let (_, signature) = jwt.rsplit_once('.').context("a token")?;
        is_refused(&site, &keys, &format!("{said}.{signature}")).await?;
        is_refused(&site, &keys, "").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_expired_credential_ends_its_connection_and_opens_none() -> Result<()> {
    for server in servers()? {
        let site = Site::new(&server).await?;
        let (keys, id) = (KeyPair::new_user(), Uuid::now_v7());
        let jwt = site
            .minter
            .worker(id, &keys.public_key(), now(), now() + 3)?;
        let mut worker = Peer::connect(&site.url, id, &keys, &jwt).await?;
        worker.hung_up().await?;
        ensure!(worker.was_told("expired"), "{:?}", worker.told);
        // The broker counts seconds: within the last one it lets in whom it throws out at once.
        eventually("it is refused", async || {
            is_refused(&site, &keys, &jwt).await
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_revoked_worker_is_cut_at_once_and_nobody_else_is() -> Result<()> {
    for server in servers()? {
        let site = Site::new(&server).await?;
        let (mut good, mut bridge) = (site.worker().await?, site.bridge().await?);
        let mut revoker = site.revoker().await?;
        let mut revoked = Revocations::new();
        let mut quickest = Duration::MAX;
        for round in 0..3 {
            let (id, keys) = (Uuid::now_v7(), KeyPair::new_user());
            let key = keys.public_key();
            let jwt = site.minter.worker(id, &key, now(), now() + 3600)?;
            let mut worker = Peer::connect(&site.url, id, &keys, &jwt).await?;
            let at = now();
            revoked.insert(key.clone(), at);
            let account = site.minter.account(at + round, &revoked)?;
            let began = Instant::now();
            let answer = revoker.request(CLAIMS_UPDATE, account.as_bytes()).await?;
            ensure!(answer.contains("\"code\":200"), "{answer}");
            worker.hung_up().await?;
            quickest = quickest.min(began.elapsed());
            is_refused(&site, &keys, &jwt).await?;
            // One that is signed after that is good: a worker that is known again comes back.
            let fresh = site.minter.worker(id, &key, at + 1, now() + 3600)?;
            Peer::connect(&site.url, id, &keys, &fresh).await?;
        }
        // The quickest of three, since the machine may be busy with other things.
        ensure!(quickest < Duration::from_secs(1), "{quickest:?}");
        for peer in [&mut good, &mut bridge, &mut revoker] {
            peer.settled().await?;
        }
    }
    Ok(())
}

/// The account as somebody else would sign it.
fn forged(account: &str) -> Result<String> {
    let keys = KeyPair::new_operator();
    let mut parts = account.split('.');
    let header = parts.next().context("a header")?;
    let claims = BASE64URL_NOPAD.decode(parts.next().context("claims")?.as_bytes())?;
    let mut claims: serde_json::Value = serde_json::from_slice(&claims)?;
    claims["iss"] = keys.public_key().into();
    let said = format!(
        "{header}.{}",
        BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
    );
    let signature = BASE64URL_NOPAD.encode(&keys.sign(said.as_bytes())?);
    Ok(format!("{said}.{signature}"))
}

#[tokio::test]
async fn only_the_operator_changes_an_account() -> Result<()> {
    for server in servers()? {
        let site = Site::new(&server).await?;
        let (mut worker, mut revoker) = (site.worker().await?, site.revoker().await?);
        let everyone = Revocations::from([("*".to_owned(), now() + 1000)]);
        let account = forged(&site.minter.account(now(), &everyone)?)?;
        for account in [account, "nonsense".to_owned()] {
            // What is answered differs between versions; what counts is that nothing changes.
            revoker.request(CLAIMS_UPDATE, account.as_bytes()).await?;
        }
        worker.settled().await?;
        site.worker().await?;
    }
    Ok(())
}
