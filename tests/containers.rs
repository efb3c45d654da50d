//! Every container, read back exactly: files of our own writers.

mod support;

use effnet::weights::import::{Checkpoint, CheckpointError, Container, Dtype, TensorInfo};
use support::containers::{ContainerKind, NamedTensor, container_bytes, write_container};

/// A value for every index: no two alike, all exact in f32.
fn ramp(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 - 7.0) * step).collect()
}

fn tensors() -> Vec<NamedTensor> {
    let tensor = |name: &str, shape: &[usize], step| NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        data: ramp(shape.iter().product(), step),
    };
    let mut list = vec![
        tensor("conv_stem.weight", &[4, 3, 3, 3], 0.25),
        tensor("bn1.weight", &[4], -1.5),
        tensor("blocks.0.0.conv_dw.weight", &[6, 1, 5, 5], 0.125),
        tensor("blocks.0.0.conv_pw.weight", &[8, 6, 1, 1], 3.0),
        tensor("classifier.weight", &[10, 8], 1.0 / 1024.0),
        tensor("classifier.bias", &[10], 1e-6),
        tensor("temperature", &[], 2.0),
    ];
    list.push(NamedTensor {
        name: "bn1.num_batches_tracked".to_owned(),
        shape: vec![],
        data: vec![12345.0],
    });
    list
}

#[test]
fn every_container_of_our_writers_is_read_exactly() {
    let tensors = tensors();
    for kind in ContainerKind::ALL {
        let checkpoint = Checkpoint::from_bytes(container_bytes(kind, &tensors)).unwrap();
        let expected = match kind {
            ContainerKind::Safetensors => Container::Safetensors,
            ContainerKind::TorchZip => Container::TorchZip,
            ContainerKind::TorchLegacy => Container::TorchLegacy,
            ContainerKind::PaddleProtocol4 | ContainerKind::PaddleProtocol2 => Container::Paddle,
            ContainerKind::Npz => Container::Npz,
        };
        assert_eq!(checkpoint.container(), expected);
        assert_eq!(checkpoint.tensors().len(), tensors.len(), "{kind:?}");
        for tensor in &tensors {
            let name = &tensor.name;
            let counter = name.ends_with("num_batches_tracked");
            let dtype = if counter { Dtype::I64 } else { Dtype::F32 };
            let info = TensorInfo { dtype, shape: tensor.shape.clone() };
            assert_eq!(checkpoint.tensors().get(name), Some(&info), "{kind:?}: {name}");
            match checkpoint.read_f32(name) {
                Ok(data) => assert_eq!(data, tensor.data, "{kind:?}: {name}"),
                Err(CheckpointError::NotFloat { dtype, .. }) => assert_eq!(dtype, Dtype::I64),
                Err(error) => panic!("{kind:?}: {name}: {error}"),
            }
        }
    }
}

#[test]
fn a_file_is_recognised_by_its_content_and_digested_whole() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ContainerKind::ALL {
        let path = dir.path().join("weights.bin");
        write_container(&path, kind, &tensors());
        let opened = Checkpoint::open(&path).unwrap();
        let in_memory = Checkpoint::from_bytes(container_bytes(kind, &tensors())).unwrap();
        assert_eq!(opened.tensors(), in_memory.tensors());
        assert_eq!(opened.container(), in_memory.container());
        assert_eq!(opened.sha256().len(), 64);
        assert_eq!(opened.sha256(), in_memory.sha256());
    }
}
