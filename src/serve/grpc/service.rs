//! What each method does.

use super::Call;
use super::messages::*;
use crate::serve::error::ServeError;
use crate::serve::oip::{self, Data, Extents, Given, Input, Kind, Parameters, Wish};
use crate::serve::prepare::aside;
use crate::serve::server::{EXTENSIONS, Server};
use crate::serve::statistics::Statistics;
use axum::body::Bytes;
use prost::Message;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

type Answer<T> = Result<T, ServeError>;

pub async fn server_live(_: Arc<Server>, _: Call<Empty>) -> Answer<ServerLiveResponse> {
    Ok(ServerLiveResponse { live: true })
}

pub async fn server_ready(server: Arc<Server>, _: Call<Empty>) -> Answer<ReadyResponse> {
    Ok(ReadyResponse { ready: server.is_ready() })
}

pub async fn model_ready(server: Arc<Server>, call: Call<ModelRequest>) -> Answer<ReadyResponse> {
    let ModelRequest { name, version } = call.message;
    match server.model(&name, Some(&version)) {
        Ok((model, _)) => Ok(ReadyResponse { ready: server.is_ready() && model.is_able() }),
        // It is being loaded, or was unloaded: who waits for it asks again.
        Err(_) if server.models().get(&name).is_none() && server.is_known(&name) => {
            Ok(ReadyResponse { ready: false })
        }
        Err(error) => Err(error),
    }
}

pub async fn server_metadata(_: Arc<Server>, _: Call<Empty>) -> Answer<ServerMetadataResponse> {
    Ok(ServerMetadataResponse {
        name: "effnet".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    })
}

pub async fn model_metadata(
    server: Arc<Server>,
    call: Call<ModelRequest>,
) -> Answer<ModelMetadataResponse> {
    let ModelRequest { name, version } = call.message;
    let (model, kind) = server.model(&name, Some(&version))?;
    let described = model.extents.described(kind);
    let tensor = |(name, datatype, dims): (&str, &str, Vec<i64>)| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: [vec![-1], dims].concat(),
    };
    Ok(ModelMetadataResponse {
        name: model.extents.full_name(kind),
        versions: vec!["1".to_owned()],
        platform: "effnet".to_owned(),
        inputs: vec![tensor(described.input)],
        outputs: described.outputs.into_iter().map(tensor).collect(),
    })
}

pub async fn model_config(
    server: Arc<Server>,
    call: Call<ModelRequest>,
) -> Answer<ModelConfigResponse> {
    let ModelRequest { name, version } = call.message;
    let (model, kind) = server.model(&name, Some(&version))?;
    let described = model.extents.described(kind);
    let data_type = |datatype: &str| match datatype {
        "UINT8" => DataType::TypeUint8,
        "BYTES" => DataType::TypeString,
        _ => DataType::TypeFp32,
    };
    let (input, of_input, dims) = described.input;
    let output = |(name, datatype, dims): (&str, &str, Vec<i64>)| ModelOutput {
        name: name.to_owned(),
        data_type: data_type(datatype).into(),
        dims,
    };
    let config = ModelConfig {
        name: model.extents.full_name(kind),
        platform: "effnet".to_owned(),
        max_batch_size: i32::try_from(model.extents.batch).unwrap_or(i32::MAX),
        input: vec![ModelInput {
            name: input.to_owned(),
            data_type: data_type(of_input).into(),
            dims,
        }],
        output: described.outputs.into_iter().map(output).collect(),
        dynamic_batching: Some(ModelDynamicBatching {
            max_queue_delay_microseconds: model.delay().as_micros() as u64,
        }),
    };
    Ok(ModelConfigResponse { config: Some(config) })
}

/// Of one model, or of all where no name is given.
pub async fn model_statistics(
    server: Arc<Server>,
    call: Call<ModelRequest>,
) -> Answer<ModelStatisticsResponse> {
    let ModelRequest { name, version } = call.message;
    let all = match name.is_empty() {
        true => server.statistics(),
        false => {
            let (model, kind) = server.model(&name, Some(&version))?;
            vec![Statistics::of(&model, kind)]
        }
    };
    let times = |[count, ns]: [u64; 2]| Some(StatisticDuration { count, ns });
    let statistics = |found: Statistics| {
        let memory = |(gpu, byte_size): (usize, u64)| MemoryUsage {
            r#type: "GPU".to_owned(),
            id: gpu as i64,
            byte_size,
        };
        let of_size = |(batch_size, [count, ns]): (u64, [u64; 2])| InferBatchStatistics {
            batch_size,
            compute_input: times([count, 0]),
            compute_infer: times([count, ns]),
            compute_output: times([count, 0]),
        };
        ModelStatistics {
            name: found.name,
            version: "1".to_owned(),
            last_inference: found.last_inference,
            inference_count: found.images,
            execution_count: found.batches,
            inference_stats: Some(InferStatistics {
                success: times(found.success),
                fail: times(found.fail),
                queue: times(found.queue),
                compute_input: times(found.input),
                compute_infer: times(found.infer),
                compute_output: times(found.output),
            }),
            batch_stats: found.by_size.into_iter().map(of_size).collect(),
            memory_usage: found.memory.into_iter().map(memory).collect(),
        }
    };
    Ok(ModelStatisticsResponse { model_stats: all.into_iter().map(statistics).collect() })
}

pub async fn repository_index(
    server: Arc<Server>,
    call: Call<RepositoryIndexRequest>,
) -> Answer<RepositoryIndexResponse> {
    let listed = server.index(call.message.ready).into_iter().map(|listed| ModelIndex {
        name: listed.name,
        version: "1".to_owned(),
        state: listed.state.name().to_owned(),
        reason: listed.reason,
    });
    Ok(RepositoryIndexResponse { models: listed.collect() })
}

pub async fn repository_model_load(
    server: Arc<Server>,
    call: Call<RepositoryModelRequest>,
) -> Answer<Empty> {
    let RepositoryModelRequest { model_name, parameters, .. } = call.message;
    server.load(&model_name, parameters.keys().map(String::as_str)).await?;
    Ok(Empty {})
}

pub async fn repository_model_unload(
    server: Arc<Server>,
    call: Call<RepositoryModelRequest>,
) -> Answer<Empty> {
    server.models().unload(&call.message.model_name).await?;
    Ok(Empty {})
}

pub async fn model_infer(
    server: Arc<Server>,
    call: Call<ModelInferRequest>,
) -> Answer<ModelInferResponse> {
    let Call { message, timeout, memory } = call;
    let (model, kind) = server.model(&message.model_name, Some(&message.model_version))?;
    model.expect_room()?;
    let id = message.id.clone();
    let of_request = model.clone();
    let request = aside(message.encoded_len(), move || {
        let request = request(&of_request.extents, kind, message);
        drop(memory);
        request
    });
    let request = request.await??;
    let wanted = request.wanted();
    let limit = [timeout, request.timeout].into_iter().flatten().min();
    let images = model.infer(request.images, wanted, request.priority, limit).await;
    let images = images.map_err(|error| match error {
        ServeError::Late(limit) if timeout == Some(limit) => ServeError::Expired(limit),
        error => error,
    })?;
    let mut answer = ModelInferResponse {
        model_name: model.extents.full_name(kind),
        model_version: "1".to_owned(),
        id,
        outputs: Vec::new(),
        raw_output_contents: Vec::new(),
    };
    for asked in &request.outputs {
        let filled = model.extents.filled(asked, &images)?;
        answer.outputs.push(InferOutputTensor {
            name: filled.name.to_owned(),
            datatype: filled.data.datatype().to_owned(),
            shape: filled.shape.map(|extent| extent as i64).to_vec(),
        });
        // Always raw: clients find no numbers elsewhere.
        let mut raw = Vec::new();
        filled.data.write(&mut raw);
        answer.raw_output_contents.push(raw.into());
    }
    Ok(answer)
}

/// What a message asks for.
pub fn request(
    extents: &Extents,
    kind: Kind,
    message: ModelInferRequest,
) -> Result<oip::Request, ServeError> {
    let ModelInferRequest { parameters, inputs, outputs, raw_input_contents: raw, .. } = message;
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(ServeError::Invalid(format!(
            "{} raw_input_contents for {} inputs: expected as many, or none",
            raw.len(),
            inputs.len()
        )));
    }
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().map(|input| input_of(input, raw.next()));
    let wish = |output: InferRequestedOutputTensor| Wish {
        name: output.name,
        parameters: values(output.parameters),
    };
    let given = Given {
        id: None,
        parameters: values(parameters),
        inputs: inputs.collect::<Result<_, ServeError>>()?,
        outputs: outputs.into_iter().map(wish).collect(),
    };
    extents.request(kind, given)
}

fn input_of(input: InferInputTensor, raw: Option<Bytes>) -> Result<Input, ServeError> {
    let InferInputTensor { name, datatype, shape, parameters: _, contents } = input;
    let data = match (raw, contents) {
        (Some(raw), None) => Data::Binary(raw),
        (Some(_), Some(_)) => {
            return Err(ServeError::Invalid(format!(
                "input '{name}' has contents beside raw_input_contents: expected one of them"
            )));
        }
        (None, Some(contents)) => data(&name, contents)?,
        (None, None) => {
            return Err(ServeError::Invalid(format!(
                "input '{name}' has neither contents nor raw_input_contents"
            )));
        }
    };
    Ok(Input { name, datatype, shape, data })
}

/// The one list of a tensor that has elements, of the types that inputs have.
fn data(name: &str, contents: InferTensorContents) -> Result<Data, ServeError> {
    let InferTensorContents { uint_contents, fp32_contents, bytes_contents, .. } = contents;
    let others = [
        contents.bool_contents.len(),
        contents.int_contents.len(),
        contents.int64_contents.len(),
        contents.uint64_contents.len(),
        contents.fp64_contents.len(),
    ];
    let lists = [uint_contents.len(), fp32_contents.len(), bytes_contents.len()];
    match (lists, others.iter().all(|&length| length == 0)) {
        ([_, 0, 0], true) => Ok(Data::Numbers(uint_contents.into_iter().map(f64::from).collect())),
        ([0, _, 0], true) => Ok(Data::Numbers(fp32_contents.into_iter().map(f64::from).collect())),
        ([0, 0, _], true) => Ok(Data::Elements(bytes_contents)),
        _ => Err(ServeError::Invalid(format!(
            "input '{name}': expected contents in one of uint_contents (UINT8), fp32_contents (FP32) \
             and bytes_contents (BYTES)"
        ))),
    }
}

fn values(parameters: HashMap<String, InferParameter>) -> Parameters {
    let value = |parameter: InferParameter| match parameter.parameter_choice {
        None => Value::Null,
        Some(ParameterChoice::Bool(value)) => value.into(),
        Some(ParameterChoice::Int64(value)) => value.into(),
        Some(ParameterChoice::String(value)) => value.into(),
        Some(ParameterChoice::Double(value)) => value.into(),
        Some(ParameterChoice::Uint64(value)) => value.into(),
    };
    parameters.into_iter().map(|(name, parameter)| (name, value(parameter))).collect()
}
