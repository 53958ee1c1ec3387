//! Frames sealed and opened, for each provider and for the AEAD below it.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has to say so")]

use alts_benches::aead::{Batch, Raw, Records, batch_len};
use alts_core::aead::RustCrypto;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio_alts::aead::AwsLc;

fn records(criterion: &mut Criterion) {
    for size in [64, 1024, 16 << 10, 128 << 10] {
        let mut group = criterion.benchmark_group(format!("record-{size}"));
        group.throughput(Throughput::Bytes((size * batch_len(size)) as u64));
        let kinds: [(&str, Box<dyn Batch>); 4] = [
            ("aws-lc-rs-alone", Box::new(Raw::aws_lc(size).unwrap())),
            ("alts-aws-lc-rs", Box::new(Records::<AwsLc>::new(size).unwrap())),
            ("rustcrypto-alone", Box::new(Raw::rustcrypto(size))),
            ("alts-rustcrypto", Box::new(Records::<RustCrypto>::new(size).unwrap())),
        ];
        for (name, mut batch) in kinds {
            group.bench_function(name, |bencher| {
                bencher.iter(|| batch.seal().and_then(|()| batch.open()).unwrap());
            });
        }
    }
}

criterion_group!(benches, records);
criterion_main!(benches);
