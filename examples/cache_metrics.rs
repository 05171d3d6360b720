//! The counters of a near cache as metrics for Prometheus, with the crate prometheus-client.
//!
//! `cargo run --example cache_metrics`, with a daemon at `TIDINGS_URL` (`http://127.0.0.1:7400` by default). A program of your
//! own serves the text at `/metrics`; this one prints it.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tidings::cache::{Coherence, Error, Options};
use tidings::client::Client;

/// Reads the counters when Prometheus asks for them.
struct CacheMetrics(Coherence);

impl fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheMetrics").finish_non_exhaustive()
    }
}

impl Collector for CacheMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let help = "Reads that a level answered";
        let mut hits = encoder.encode_descriptor("tidings_cache_hits", help, None, MetricType::Counter)?;
        for (level, value) in [("1", stats.hits_l1), ("2", stats.hits_l2)] {
            ConstCounter::new(value).encode(hits.encode_family(&[("level", level)])?)?;
        }
        for (name, help, value) in [
            ("misses", "Reads that no level could answer", stats.misses),
            ("loads", "Calls of loaders", stats.loads),
            ("joined", "Reads that waited for the load of another one", stats.joined),
            ("fenced", "Values that were returned and not stored", stats.fenced),
            ("unproven", "Reads that had to wait for a proof", stats.unproven),
            ("gaps", "Ranges of invalidations that were lost", stats.gaps),
            ("invalidations", "Applied invalidations", stats.applied),
            ("unmatched", "Invalidations that named nothing stored here", stats.unmatched),
            ("mismatches", "Values that changed without an invalidation", stats.mismatches),
            ("l2_errors", "Failures of the second level", stats.l2_errors),
        ] {
            let name = format!("tidings_cache_{name}");
            let counter = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:7400".into());
    let coherence = Coherence::connect(Client::new(&url)?, Options::default()).await?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(CacheMetrics(coherence.clone())));

    let cache = coherence.cache::<String>("product");
    for _ in 0..10 {
        let load = |_| async { Ok::<_, Error>("a chair".to_owned()) };
        cache.entry("1").ttl(Duration::from_secs(300)).get_or_load(load).await?;
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    print!("{text}");
    Ok(())
}
