//! The memory of the near cache over 10 million different tags: `make bench-tags` prints the resident memory after each million.
//!
//! Each tag comes with an entry that is loaded, and is then invalidated. One load is in progress all the time, so that the cache
//! remembers what was invalidated since it began: its history is at its bound. Takes a minute.

use std::time::{Duration, Instant};

use tidings::cache::{BoxError, Invalidation, Options};
use tidings::parts::LocalBus;

const MILLION: u64 = 1_000_000;
const ENTRIES: u64 = 10_000;

/// The resident memory of this process, in KiB.
fn resident() -> Result<u64, BoxError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let options = Options::default().ttl(Duration::from_secs(3_600)).max_entries(ENTRIES as usize / 2);
    let (bus, coherence) = LocalBus::start(&options)?;
    let cache = coherence.cache::<u64>("product");
    let slow = cache.clone();
    let in_progress = tokio::spawn(async move {
        slow.entry("slow").get_or_load(|_| std::future::pending::<Result<u64, BoxError>>()).await
    });
    println!("before: {} MiB", resident()? / 1024);
    let begun = Instant::now();
    for number in 0..10 * MILLION {
        let tag = format!("products:{number}");
        let key = (number % ENTRIES).to_string();
        let read = cache.entry(&key).tags([tag.as_str()]);
        read.get_or_load(move |_| async move { Ok::<_, BoxError>(number) }).await?;
        bus.deliver(Invalidation::tag(tag));
        if (number + 1) % MILLION == 0 {
            let (millions, seconds) = ((number + 1) / MILLION, begun.elapsed().as_secs());
            println!("{millions} million tags: {} MiB, after {seconds} s", resident()? / 1024);
        }
    }
    let stats = coherence.stats();
    println!("{} loads, {} invalidations, of which {} matched nothing", stats.loads, stats.applied, stats.unmatched);
    in_progress.abort();
    Ok(())
}
