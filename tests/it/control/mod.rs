//! Proxies under an etcd of their own: a fleet that can be looked at, changes without end, a store that loses all.

mod changes;
mod emptied;
mod figures;
mod fleet;
mod observing;
mod plans;
mod states;
mod trouble;

mod stage {
    use crate::harness::upstream::Upstream;
    use crate::harness::wire::LIMIT;
    use crate::support::etcd::Etcd;
    use std::time::Instant;

    pub fn documents_from(etcd: &Etcd) -> String {
        format!("documents: {{etcd: {{endpoints: [\"{}\"]}}}}\n", etcd.endpoint())
    }

    /// A service with a release and a gray instance, as a document.
    pub fn service(release: &Upstream, gray: &Upstream) -> String {
        format!(
            "instances: [{{address: \"{}\", version: release}}, {{address: \"{}\", version: gray}}]\n",
            release.address, gray.address
        )
    }

    /// Sends a request until the store takes it. A store that waits for a busy disk answers "request timed out", and
    /// the test that changes documents sends the change again.
    #[track_caller]
    pub fn taken<T>(mut send: impl AsyncFnMut() -> Result<T, etcd_client::Error>) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            loop {
                match send().await {
                    Ok(answer) => return answer,
                    Err(error) => assert!(begun.elapsed() < LIMIT, "{caller}: {error}"),
                }
            }
        }
    }

    /// Everything routed to `s`.
    pub async fn filled(etcd: &Etcd) -> (Upstream, Upstream) {
        let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
        etcd.put("routes/all", "service: s\n").await;
        etcd.put("services/s", service(&release, &gray)).await;
        (release, gray)
    }
}
