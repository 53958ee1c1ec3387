//! Handshakes, and messages over streams in memory: ALTS and TLS.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails has to say so")]

use alts_benches::pipe::pipe;
use alts_benches::security::{Alts, Security, Tls};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio_alts::StreamOptions;

fn connections(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new()).unwrap()));
    let kinds = [("alts", alts), ("tls", Security::Tls(Tls::new().unwrap()))];
    let mut group = criterion.benchmark_group("handshake");
    for (name, security) in &kinds {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| runtime.block_on(security.both(pipe())).unwrap());
        });
    }
    group.finish();
    for size in [100, 64 << 10] {
        let mut group = criterion.benchmark_group(format!("stream-{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        for (name, security) in &kinds {
            let (mut writer, mut reader) = runtime.block_on(security.both(pipe())).unwrap();
            let mut message = vec![5; size];
            group.bench_function(*name, |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        writer.write_all(&message).await.unwrap();
                        reader.read_exact(&mut message).await.unwrap();
                    });
                });
            });
        }
    }
}

criterion_group!(benches, connections);
criterion_main!(benches);
