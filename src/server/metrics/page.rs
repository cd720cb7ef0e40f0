//! Writes families of metrics in OpenMetrics, by the prometheus-client crate.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::meter::histogram::Histogram;
use crate::server::metrics::scene::{Row, Scene};
use crate::server::metrics::{families, host};

static SECONDS: Unit = Unit::Seconds;
static BYTES: Unit = Unit::Bytes;

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// A text, in labels.
    Info,
}

/// One family of metrics.
pub(super) struct Family {
    /// As its samples are named, but for the suffixes of a histogram.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of its labels: `service` and `instance` first where it is about instances.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    /// Writes its samples, if there are any.
    pub(super) write: fn(&Scene, &mut Out<'_, '_>) -> Result<(), Error>,
}

/// All families, in the order of the page.
pub(super) fn all() -> impl Iterator<Item = &'static Family> {
    families::FAMILIES.iter().chain(&host::FAMILIES)
}

/// One page.
#[derive(Debug)]
pub(super) struct Page(pub(super) Scene);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        all().try_for_each(|family| {
            let mut out = Out { family, encoder: Some(&mut encoder), metric: None };
            (family.write)(&self.0, &mut out)
        })
    }
}

/// Takes the samples of one family; without any the page does not mention it.
pub(super) struct Out<'a, 'b> {
    family: &'static Family,
    encoder: Option<&'a mut DescriptorEncoder<'b>>,
    metric: Option<MetricEncoder<'a>>,
}

impl<'a> Out<'a, '_> {
    /// A sample that belongs to no service, with the values of the family's labels.
    pub(super) fn plain(&mut self, values: &[&str], value: impl Into<Value>) -> Result<(), Error> {
        self.sample(&Labels { names: self.family.labels, row: None, values }, value.into())
    }

    /// A sample of an instance, with the values of the family's other labels.
    pub(super) fn of(&mut self, row: &Row, values: &[&str], value: impl Into<Value>) -> Result<(), Error> {
        self.sample(&Labels { names: self.family.labels, row: Some(row), values }, value.into())
    }

    /// A histogram of an instance.
    pub(super) fn histogram(&mut self, row: &Row, values: &[&str], of: &Histogram) -> Result<(), Error> {
        let labels = Labels { names: self.family.labels, row: Some(row), values };
        let mut metric = self.metric()?.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(of.sum(), of.count(), &of.buckets(), None)
    }

    fn sample(&mut self, labels: &Labels<'_>, value: Value) -> Result<(), Error> {
        let kind = self.family.kind;
        let metric = self.metric()?;
        if kind == Kind::Info {
            return metric.encode_info(labels);
        }
        if labels.names.is_empty() {
            // Else there would be empty braces.
            return put(metric, kind, value);
        }
        put(&mut metric.encode_family(labels)?, kind, value)
    }

    fn metric(&mut self) -> Result<&mut MetricEncoder<'a>, Error> {
        if let Some(encoder) = self.encoder.take() {
            let (name, unit) = self.family.stem();
            let kind = match self.family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            self.metric = Some(encoder.encode_descriptor(name, self.family.help, unit, kind)?);
        }
        self.metric.as_mut().ok_or(Error)
    }
}

fn put(metric: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> Result<(), Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => metric.encode_counter::<NoLabelSet, _, f64>(&count, None),
        (Kind::Counter, Value::Number(number)) => metric.encode_counter::<NoLabelSet, _, f64>(&number, None),
        (_, Value::Count(count)) => metric.encode_gauge(&count),
        (_, Value::Number(number)) => metric.encode_gauge(&number),
    }
}

impl Family {
    /// The name without the suffixes that the encoder adds, and its unit.
    fn stem(&self) -> (&'static str, Option<&'static Unit>) {
        let name = match self.kind {
            Kind::Counter => self.name.strip_suffix("_total"),
            Kind::Info => self.name.strip_suffix("_info"),
            Kind::Gauge | Kind::Histogram => None,
        };
        let name = name.unwrap_or(self.name);
        match (name.strip_suffix("_seconds"), name.strip_suffix("_bytes")) {
            (Some(stem), _) => (stem, Some(&SECONDS)),
            (None, Some(stem)) => (stem, Some(&BYTES)),
            (None, None) => (name, None),
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(u64::from(count))
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Count(u64::from(yes))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// The labels of a sample: those of its instance, then its own.
struct Labels<'a> {
    names: &'static [&'static str],
    row: Option<&'a Row>,
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        let own = self.row.map(|row| [row.service.as_str(), row.instance.as_str()]);
        let values = own.iter().flatten().chain(self.values);
        self.names.iter().zip(values).try_for_each(|pair| (*pair.0, *pair.1).encode(encoder.encode_label()))
    }
}
