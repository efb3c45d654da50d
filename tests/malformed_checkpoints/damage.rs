//! Files of every container, cut at every length, and damaged byte by byte and at random.

use super::*;

/// Opens a file, and reads each tensor of those that open. It must return, with or without an
/// error.
fn read_all(file: Vec<u8>) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::from_bytes(file)?;
    for (name, info) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.read_f32(name) {
            assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn every_truncation_is_refused() {
    for kind in ContainerKind::ALL {
        let file = small(kind);
        for len in 0..file.len() {
            let cut = read_all(file[..len].to_vec());
            assert!(cut.is_err(), "{kind:?} of {} bytes opened when cut to {len}", file.len());
        }
        read_all(file).unwrap();
    }
}

#[test]
fn any_single_damaged_byte_is_survived() {
    for kind in ContainerKind::ALL {
        let file = small(kind);
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] ^= flip;
                let _ = read_all(damaged);
            }
        }
    }
}

#[test]
fn random_damage_is_survived() {
    use proptest::prelude::*;
    for kind in ContainerKind::ALL {
        let file = small(kind);
        let flips = proptest::collection::vec((0..file.len(), any::<u8>()), 1..24);
        let moves = (0..file.len(), 0..file.len(), 0..64usize);
        let damage = (flips, moves, 0..=file.len());
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::with_cases(1500), rng);
        let outcome = runner.run(&damage, |(flips, (from, to, len), cut)| {
            let mut damaged = file.clone();
            for (at, value) in flips {
                damaged[at] = value;
            }
            let len = len.min(file.len() - from).min(file.len() - to);
            damaged.copy_within(from..from + len, to);
            let _ = read_all(damaged.clone());
            damaged.truncate(cut);
            let _ = read_all(damaged);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}
