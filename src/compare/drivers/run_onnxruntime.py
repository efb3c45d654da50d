"""ONNX Runtime on the ONNX file of `effnet compare`: its CPU, CUDA or TensorRT provider."""

import numpy
import onnxruntime

from driver_protocol import serve

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def provider_options(provider, request):
    gpu = {"device_id": str(request["gpu"])}
    if provider == "cuda":
        return gpu | {"use_tf32": "1" if request["precision"] == "tf32" else "0"}
    if provider == "tensorrt":
        fp16 = "1" if request["precision"] == "fp16" else "0"
        return gpu | {"trt_fp16_enable": fp16, "trt_cuda_graph_enable": "1"}
    return {}


class OnnxRuntime:
    def __init__(self, request):
        provider = request["provider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        # Else its threads go on spinning while others have their turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        name = PROVIDERS[provider]
        if name not in onnxruntime.get_available_providers():
            available = ", ".join(onnxruntime.get_available_providers())
            raise RuntimeError(f"this onnxruntime has no {name}, only {available}")
        self.session = onnxruntime.InferenceSession(
            request["onnx"], options, providers=[(name, provider_options(provider, request))]
        )
        # A provider that cannot be had is replaced by the CPU's without an error.
        found = self.session.get_providers()[0]
        if found != name:
            raise RuntimeError(f"asked for {name}, got {found}")
        self.input = self.session.get_inputs()[0].name
        self.runtime = f"ONNX Runtime {onnxruntime.__version__}, {provider} provider"
        self.device = "cpu" if provider == "cpu" else f"cuda:{request['gpu']}"
        self.precision = request["precision"]
        self.notes = []

    def run(self, batch):
        return self.session.run(["logits"], {self.input: batch})[0].astype(numpy.float32, copy=False)


serve(OnnxRuntime)
