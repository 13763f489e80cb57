//! `verify` beside hashing the same files with openssl on all cores, and beside inflating and hashing every layer.
//!
//! `cargo bench --bench verify [-- --megabytes N]`. Medians of 5 runs in turn, and their ratio: it should be at most 1.15.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/support/images.rs"]
mod images;
#[path = "side_by_side.rs"]
mod side_by_side;

use catamaran::base::media_type;
use catamaran::verify::{Depth, verify_layout};
use images::{File, Fleet, Image, file, noise};
use side_by_side::{compare, megabytes, shell};
use tokio_util::sync::CancellationToken;

fn main() {
    let size = megabytes(1000);
    // 200 blobs: 10 images for 2 platforms of 10 layers each.
    let fleet = fleet(10, size * 1_000_000 / 200, media_type::LAYER, noise);
    let blobs = fleet.layout.root().join("blobs/sha256");
    let hash =
        format!("find {} -type f -print0 | xargs -0 -P$(nproc) -n16 openssl dgst -sha256 >/dev/null", blobs.display());
    println!("{size} MB in {} blobs", fleet.blobs().len());
    compare("verify, digests only / openssl dgst on all cores", 1.15, || check(&fleet, Depth::Blobs), || shell(&hash));

    // Compressible as programs are, so that inflating is what costs. Compressing it takes a while.
    let fleet = self::fleet(6, size * 1_000_000 / 400, media_type::LAYER_GZIP, programs);
    let blobs = fleet.layout.root().join("blobs/sha256");
    let inflate = format!(
        "find {} -type f -size +20k -print0 | xargs -0 -r -P$(nproc) -n1 sh -c 'pigz -dc \"$0\" | openssl dgst -sha256 >/dev/null'",
        blobs.display()
    );
    compare("verify / pigz -dc | openssl dgst per layer", 1.15, || check(&fleet, Depth::Layers), || shell(&inflate));
    let list = format!(
        "find {} -type f -size +20k -print0 | xargs -0 -r -P$(nproc) -n1 sh -c 'gzip -dc \"$0\" | tar -t >/dev/null'",
        blobs.display()
    );
    compare("verify / gzip -dc | tar -t per layer", 1.15, || check(&fleet, Depth::Layers), || shell(&list));
}

fn check(fleet: &Fleet, depth: Depth) {
    let report = verify_layout(&fleet.layout, &fleet.roots, depth, &CancellationToken::new());
    assert!(report.is_whole(), "{:?}", report.findings);
}

/// `images` for two platforms of ten layers of `bytes` each.
fn fleet(images: u64, bytes: u64, layer_type: &'static str, content: fn(u64, usize) -> Vec<u8>) -> Fleet {
    let mut fleet = Fleet::empty();
    for number in 0..images {
        let name = format!("c{number}");
        let both: Vec<Image> = ["amd64", "arm64"]
            .iter()
            .zip(0..)
            .map(|(platform, which)| {
                let mut image = Image::small(&name, platform);
                image.layer_type = layer_type;
                let layer = |layer: u64| -> Vec<File> {
                    let seed = number * 100 + which * 10 + layer;
                    vec![file("data", 0o644, content(seed, usize::try_from(bytes).expect("fits")))]
                };
                image.layers = (0..10).map(layer).collect();
                image
            })
            .collect();
        fleet.add(&name, &both);
    }
    fleet
}

/// Bytes that compress to about 40 %, as machine code does: pieces of this program with noise between them.
fn programs(seed: u64, size: usize) -> Vec<u8> {
    let own = std::fs::read(std::env::current_exe().expect("its own path")).expect("readable");
    let mut out = Vec::with_capacity(size + 4096);
    let mut random = noise(seed, size / 64 + 64).into_iter();
    while out.len() < size {
        let mut next = || usize::from(random.next().unwrap_or(7));
        let at = (next() << 16 | next() << 8 | next()) % (own.len() - 1024);
        out.extend_from_slice(&own[at..at + 256 + next()]);
    }
    out.truncate(size);
    out
}
