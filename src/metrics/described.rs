//! What each metric is called and says: docs/metrics.md lists it.
//!
//! The registry of the library encodes only metrics that have samples. A list of all needs the names from here.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{CodeLabel, ReasonLabel, ResultLabel, TypeLabel};

/// What a metric is called, and what it says.
#[derive(Debug)]
pub struct Description {
    /// As in `/metrics`, without the suffixes of a histogram.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// A kind of metric, with the names of its labels.
pub trait Described {
    const KIND: &'static str;
    const LABELS: &'static [&'static str] = &[];
}

impl Described for Counter {
    const KIND: &'static str = "counter";
}

impl Described for Gauge {
    const KIND: &'static str = "gauge";
}

impl Described for Gauge<f64, AtomicU64> {
    const KIND: &'static str = "gauge";
}

impl Described for Histogram {
    const KIND: &'static str = "histogram";
}

impl<L: LabelNames, M: Described> Described for Family<L, M> {
    const KIND: &'static str = M::KIND;
    const LABELS: &'static [&'static str] = L::NAMES;
}

/// The names of the labels that a set of labels encodes.
pub trait LabelNames {
    const NAMES: &'static [&'static str];
}

impl LabelNames for TypeLabel {
    const NAMES: &'static [&'static str] = &["type"];
}

impl LabelNames for CodeLabel {
    const NAMES: &'static [&'static str] = &["code"];
}

impl LabelNames for ReasonLabel {
    const NAMES: &'static [&'static str] = &["reason"];
}

impl LabelNames for ResultLabel {
    const NAMES: &'static [&'static str] = &["result"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::{AttemptLabel, FlowLabel, Metrics, WebhookLabel};
    use super::*;

    /// Each description has the name, kind and labels that the library encodes.
    #[test]
    fn the_descriptions_are_those_of_the_encoded_metrics() {
        let metrics = Metrics::default();
        let name: Arc<str> = "a".into();
        let flow = FlowLabel { flow: "bridge", name: name.clone() };
        metrics.flows.announce(&flow);
        metrics.bridges.announce(&flow);
        metrics.refused("internal");
        metrics.credential_refused("none");
        metrics.jwks_fetched(true);
        drop(metrics.published.get_or_create(&TypeLabel { r#type: name.clone() }));
        drop(metrics.flows.webhook_stopped.get_or_create(&WebhookLabel { webhook: name.clone() }));
        drop(metrics.flows.webhook_attempts.get_or_create(&AttemptLabel { webhook: name, outcome: "gone" }));
        let text = metrics.prometheus();
        let described: BTreeMap<_, _> = metrics.descriptions().iter().map(|one| (one.name.as_str(), one)).collect();
        assert_eq!(described.len(), metrics.descriptions().len(), "two metrics have one name");
        let mut encoded = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let description = described.get(name).unwrap_or_else(|| panic!("{name} is not described"));
            assert_eq!(description.kind, kind, "{name}");
            let mut samples = text.lines().filter(|line| line.starts_with(name));
            let labels = samples.find_map(|line| line.split_once('{')?.1.rsplit_once('}').map(|(labels, _)| labels));
            let labels = labels.filter(|_| kind != "histogram").into_iter().flat_map(|labels| labels.split("\","));
            let names: Vec<_> = labels.map(|label| label.split('=').next().unwrap()).collect();
            assert_eq!(names, description.labels, "{name}");
            encoded += 1;
        }
        assert!(encoded > 50, "{encoded} metrics");
    }
}
