//! A graph under construction: nodes, constant tensors, and the type of every value.

use super::Batch;
use super::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use crate::weights::Precision;

/// A tensor that a node writes or the caller gives.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub name: String,
    pub precision: Precision,
    /// The shape without the batch: `[c, h, w]` or `[c]`.
    pub dims: Vec<usize>,
}

/// A graph under construction.
pub(super) struct Graph {
    batch: Batch,
    proto: GraphProto,
}

pub(super) fn element(precision: Precision) -> i32 {
    match precision {
        Precision::Fp32 => data_type::FLOAT,
        Precision::Fp16 => data_type::FLOAT16,
    }
}

impl Graph {
    /// The name of the batch's side where it is dynamic.
    pub(super) const BATCH: &str = "N";

    pub(super) fn new(name: &str, batch: Batch) -> Graph {
        Graph { batch, proto: GraphProto { name: Some(name.to_owned()), ..GraphProto::default() } }
    }

    fn info(&self, value: &Value) -> ValueInfoProto {
        let batch = match self.batch {
            Batch::Static(n) => DimensionValue::DimValue(n as i64),
            Batch::Dynamic => DimensionValue::DimParam(Graph::BATCH.to_owned()),
        };
        let sides = value.dims.iter().map(|&side| DimensionValue::DimValue(side as i64));
        let dim = [batch].into_iter().chain(sides).map(|side| Dimension { value: Some(side) });
        let shape = TensorShapeProto { dim: dim.collect() };
        let tensor = TensorType { elem_type: Some(element(value.precision)), shape: Some(shape) };
        ValueInfoProto {
            name: Some(value.name.clone()),
            r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        }
    }

    /// Adds an input of the network.
    pub(super) fn input(&mut self, value: &Value) {
        let info = self.info(value);
        self.proto.input.push(info);
    }

    /// Makes the caller get a value, which is none between the nodes then.
    pub(super) fn output(&mut self, value: &Value) {
        let info = self.info(value);
        self.proto.value_info.retain(|between| between.name != info.name);
        self.proto.output.push(info);
    }

    /// Adds a constant tensor, and returns its name.
    pub(super) fn constant(
        &mut self,
        name: String,
        dims: &[usize],
        precision: Precision,
        raw_data: Vec<u8>,
    ) -> String {
        self.proto.initializer.push(TensorProto {
            dims: dims.iter().map(|&side| side as i64).collect(),
            data_type: Some(element(precision)),
            name: Some(name.clone()),
            raw_data: Some(raw_data),
        });
        name
    }

    /// Adds a node that writes `output` and has the same name.
    pub(super) fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        output: Value,
    ) -> Value {
        self.named_node(op_type, output.name.clone(), inputs, attribute, output)
    }

    /// Adds a node that writes `output`, with a name of its own.
    pub(super) fn named_node(
        &mut self,
        op_type: &str,
        name: String,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        output: Value,
    ) -> Value {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.name.clone()],
            name: Some(name),
            op_type: Some(op_type.to_owned()),
            attribute,
        });
        let info = self.info(&output);
        self.proto.value_info.push(info);
        output
    }

    pub(super) fn finish(self) -> GraphProto {
        self.proto
    }
}

/// An attribute of one whole number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        r#type: Some(attribute_type::INT),
        ..AttributeProto::default()
    }
}

/// An attribute of whole numbers.
pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: values.iter().map(|&value| value as i64).collect(),
        r#type: Some(attribute_type::INTS),
        ..AttributeProto::default()
    }
}

/// An attribute of one number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        f: Some(value),
        r#type: Some(attribute_type::FLOAT),
        ..AttributeProto::default()
    }
}
