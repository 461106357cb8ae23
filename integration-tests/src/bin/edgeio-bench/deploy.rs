//! placeholder for a moment: one deployment.
pub(crate) async fn run(
    _: &crate::options::Options,
    _: &mut crate::report::Report,
) -> anyhow::Result<()> {
    Ok(())
}
