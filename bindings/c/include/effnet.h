/*
 * effnet.h: EfficientNet checkpoints in, class logits out. Link with -leffnet.
 *
 * Made from the sources of libeffnet (bindings/c/src): change those, and write this file anew as
 * bindings/c/README.md says.
 *
 * Objects. An effnet_model holds weights and may be shared by threads; an effnet_session runs them
 * on a device, for one thread at a time. Both are opaque. Each has a function that gives it back
 * and takes NULL too. The library has no state beside its objects.
 *
 * Failures. A function that can fail returns an effnet_status and takes, as its last argument, the
 * place of an effnet_error, which may be NULL. After a failure, results that it would have written
 * are as they were, unless its comment says otherwise; handles are NULL. Nothing is thrown, no
 * signal is raised, no callback is called.
 *
 * Memory. Buffers are the caller's, with their lengths in elements, or in bytes where it says so.
 * Where NULL is not allowed it is EFFNET_INVALID_ARGUMENT, and so is a handle of another kind. A
 * handle that was given back may be recognised, which cannot be relied on: do not use it.
 *
 * Versions. Structs that may grow begin with struct_size, which tells the fields that the caller
 * knows. A program built with an older header works with a newer library of the same
 * EFFNET_ABI_VERSION; one built with a newer header works with an older library as long as it
 * leaves the fields 0 that the library does not know.
 *
 * Texts are UTF-8 and end in a zero byte. Paths are bytes, as the system has them.
 */


#ifndef EFFNET_H
#define EFFNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of the interface that this header describes. It changes when a program built with an
 * earlier header would no longer work; functions, codes and fields at the end of structs are added
 * without a change.
 */
#define EFFNET_ABI_VERSION 1

/**
 * Read the packed weights into memory instead of mapping their file: nothing that happens to the
 * file afterwards matters.
 */
#define EFFNET_MODEL_COPY 1

/**
 * How a call ended. Later versions may add codes: treat an unknown one as a failure.
 */
typedef enum effnet_status {
    /**
     * It did what it says.
     */
    EFFNET_OK = 0,
    /**
     * An argument cannot be right: a NULL, a buffer that is too short, a number out of range, a
     * handle of another kind, options that this library does not know.
     */
    EFFNET_INVALID_ARGUMENT = 1,
    /**
     * There is no such file.
     */
    EFFNET_NOT_FOUND = 2,
    /**
     * The system could not read or write a file.
     */
    EFFNET_IO = 3,
    /**
     * This build, this device or this model cannot do it.
     */
    EFFNET_UNSUPPORTED = 4,
    /**
     * An image that cannot be decoded. It concerns that image alone.
     */
    EFFNET_BAD_IMAGE = 5,
    /**
     * A file that is no packed weights, or no checkpoint that is understood.
     */
    EFFNET_BAD_WEIGHTS = 6,
    /**
     * A GPU that cannot be used, or that failed.
     */
    EFFNET_DEVICE_ERROR = 7,
    /**
     * Memory or threads have run out.
     */
    EFFNET_OUT_OF_MEMORY = 8,
    /**
     * Another thread is in a call on the session, or runs have to be collected first.
     */
    EFFNET_BUSY = 9,
    /**
     * The network's values overflow on an image: some of its logits are NaN or infinite. It
     * concerns that image alone.
     */
    EFFNET_NOT_FINITE = 10,
    /**
     * A fault of this library, which is worth a report.
     */
    EFFNET_INTERNAL = 11,
} effnet_status;

/**
 * Where a network runs.
 */
typedef enum effnet_device {
    /**
     * The first GPU that can be used, else the CPU.
     */
    EFFNET_DEVICE_AUTO = 0,
    /**
     * The host's cores.
     */
    EFFNET_DEVICE_CPU = 1,
    /**
     * A CUDA GPU, by its number.
     */
    EFFNET_DEVICE_CUDA = 2,
    /**
     * A GPU's kernels interpreted with every check, in builds that have the emulator: for tests.
     */
    EFFNET_DEVICE_EMULATOR = 3,
} effnet_device;

/**
 * Which kernels run on a GPU. The CPU has one way of its own.
 */
typedef enum effnet_path {
    /**
     * Several operations in a kernel: the quick one.
     */
    EFFNET_PATH_FUSED = 0,
    /**
     * A kernel for each operation.
     */
    EFFNET_PATH_LAYERWISE = 1,
} effnet_path;

/**
 * In which precision a network computes, or its weights are stored.
 */
typedef enum effnet_precision {
    /**
     * The weights' on a GPU, fp32 on the CPU; of an import fp16.
     */
    EFFNET_PRECISION_DEFAULT = 0,
    /**
     * f16 with sums in f32. Not on the CPU.
     */
    EFFNET_PRECISION_FP16 = 1,
    /**
     * f32.
     */
    EFFNET_PRECISION_FP32 = 2,
    /**
     * f32 whose products a GPU's tensor cores round to TF32. Not on the CPU, and not of weights.
     */
    EFFNET_PRECISION_TF32 = 3,
} effnet_precision;

/**
 * From logits to probabilities.
 */
typedef enum effnet_activation {
    /**
     * As the model was trained.
     */
    EFFNET_ACTIVATION_DEFAULT = 0,
    /**
     * One class is right.
     */
    EFFNET_ACTIVATION_SOFTMAX = 1,
    /**
     * Any number of classes may be right.
     */
    EFFNET_ACTIVATION_SIGMOID = 2,
    /**
     * There are no probabilities: the outputs are scores.
     */
    EFFNET_ACTIVATION_NONE = 3,
} effnet_activation;

/**
 * The type of the elements of a session's images.
 */
typedef enum effnet_input {
    /**
     * float, normalised by the model's recipe.
     */
    EFFNET_INPUT_F32 = 0,
    /**
     * uint8_t levels from 0 to 255, which the network normalises by itself: a quarter of the
     * memory and of the copies, and the same logits, bit for bit on the CPU.
     */
    EFFNET_INPUT_U8 = 1,
} effnet_input;

/**
 * Why a call failed: a code and a text. Calls that can fail take the place of one, which may be
 * NULL: a call that succeeds writes NULL there, one that fails a new object, which
 * effnet_error_free gives back. What was in that place before is overwritten, not freed.
 *
 * It never changes, so that any number of threads may read it.
 */
typedef struct effnet_error effnet_error;

/**
 * A model: packed weights, opened, with the names of its classes. It never changes: any number of
 * threads may use it at once, and any number of sessions share it.
 *
 * It is counted. effnet_model_open gives it held once; effnet_model_retain holds it once more, and
 * effnet_model_release lets go of it once. A session holds what it needs by itself.
 */
typedef struct effnet_model effnet_model;

/**
 * A model that is ready to run on a device, with all the memory that its runs take. One thread at
 * a time uses it, any thread: a call while another thread is in one gives EFFNET_BUSY, and does
 * nothing. Threads that are to run at once have a session each, of one model. So has a child of
 * fork: a session of its parent gives EFFNET_UNSUPPORTED there.
 */
typedef struct effnet_session effnet_session;

/**
 * A device that there is. Fields are added at its end alone.
 */
typedef struct effnet_device_info {
    /**
     * sizeof(effnet_device_info), set by the caller.
     */
    size_t struct_size;
    /**
     * Memory of a GPU in bytes; 0 of the CPU.
     */
    uint64_t memory_bytes;
    /**
     * An effnet_device: EFFNET_DEVICE_CUDA or EFFNET_DEVICE_CPU.
     */
    int32_t device;
    /**
     * A GPU's number.
     */
    uint32_t device_index;
    /**
     * Compute capability of a GPU, 90 for 9.0; 0 of the CPU.
     */
    uint32_t compute_capability;
    /**
     * Whether a session can run on it: 1, else 0, and why_not says why.
     */
    int32_t usable;
    /**
     * The maker's name, UTF-8, cut to fit.
     */
    char name[128];
    /**
     * Why no session can run on it, and what to do; empty where one can. UTF-8, cut to fit.
     */
    char why_not[512];
} effnet_device_info;

/**
 * What there is to know of a model. Fields are added at its end alone. Texts are UTF-8 and live as
 * long as the model.
 */
typedef struct effnet_model_info {
    /**
     * sizeof(effnet_model_info), set by the caller.
     */
    size_t struct_size;
    /**
     * The checkpoint's name.
     */
    const char *name;
    /**
     * The network's, as "efficientnet-b0".
     */
    const char *variant;
    /**
     * Whose conventions the model follows, as "timm".
     */
    const char *family;
    /**
     * Classes, and logits of an image; 0 where there is no classifier, and only features can be
     * had.
     */
    uint32_t classes;
    /**
     * Features of an image.
     */
    uint32_t features;
    /**
     * Height of the images that the model was made for.
     */
    uint32_t height;
    /**
     * Width of the images that the model was made for.
     */
    uint32_t width;
    /**
     * An effnet_precision: that of the stored weights.
     */
    int32_t precision;
    /**
     * An effnet_activation: the model's.
     */
    int32_t activation;
    /**
     * Length of the packed file.
     */
    uint64_t file_bytes;
} effnet_model_info;

/**
 * What a session is made for: filled by effnet_session_options_init, then changed. Fields are
 * added at its end alone, and a program with an older header goes on to work.
 */
typedef struct effnet_session_options {
    /**
     * sizeof(effnet_session_options), which tells the fields that the caller knows.
     */
    size_t struct_size;
    /**
     * Where the network runs: an effnet_device. EFFNET_DEVICE_AUTO at first.
     */
    int32_t device;
    /**
     * A GPU's number, where the device is EFFNET_DEVICE_CUDA.
     */
    uint32_t device_index;
    /**
     * Most images of a run; 0 is 1.
     */
    uint32_t batch;
    /**
     * Height of the images; 0 is the model's. Both or neither of height and width.
     */
    uint32_t height;
    /**
     * Width of the images; 0 is the model's.
     */
    uint32_t width;
    /**
     * Threads of the CPU, those that compute and those that decode; 0 is one for each core.
     */
    uint32_t threads;
    /**
     * An effnet_path.
     */
    int32_t path;
    /**
     * An effnet_precision.
     */
    int32_t precision;
    /**
     * An effnet_activation.
     */
    int32_t activation;
    /**
     * An effnet_input.
     */
    int32_t input;
} effnet_session_options;

/**
 * What there is to know of a session. Fields are added at its end alone. Texts are UTF-8 and live
 * as long as the session.
 */
typedef struct effnet_session_info {
    /**
     * sizeof(effnet_session_info), set by the caller.
     */
    size_t struct_size;
    /**
     * The device's own name, as "NVIDIA H100 80GB HBM3, sm_90".
     */
    const char *device_name;
    /**
     * The session in a line for people: device, kernels, precision.
     */
    const char *description;
    /**
     * Elements of one image, height * width * 3.
     */
    size_t input_elems;
    /**
     * Most images of a run.
     */
    uint32_t batch;
    /**
     * Most runs that may be under way at once, of effnet_submit.
     */
    uint32_t capacity;
    /**
     * Height of the images.
     */
    uint32_t height;
    /**
     * Width of the images.
     */
    uint32_t width;
    /**
     * Logits of an image; 0 where the model has no classifier.
     */
    uint32_t classes;
    /**
     * Features of an image.
     */
    uint32_t features;
    /**
     * An effnet_device, never EFFNET_DEVICE_AUTO.
     */
    int32_t device;
    /**
     * A GPU's number.
     */
    uint32_t device_index;
    /**
     * An effnet_precision, never EFFNET_PRECISION_DEFAULT: in which the device computes.
     */
    int32_t precision;
    /**
     * An effnet_activation, never EFFNET_ACTIVATION_DEFAULT.
     */
    int32_t activation;
    /**
     * An effnet_input: the type of the images' elements.
     */
    int32_t input;
    /**
     * 0.
     */
    uint32_t reserved;
} effnet_session_info;

/**
 * One class, and how sure the network is of it.
 */
typedef struct effnet_prediction {
    /**
     * The class, for effnet_model_label.
     */
    uint32_t index;
    /**
     * Its probability by the session's activation; NaN where that is EFFNET_ACTIVATION_NONE.
     */
    float probability;
    /**
     * Its logit.
     */
    float logit;
} effnet_prediction;

/**
 * An encoded image in memory: JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF, recognised by
 * content.
 */
typedef struct effnet_image {
    /**
     * Its bytes.
     */
    const void *data;
    /**
     * How many they are.
     */
    size_t len;
} effnet_image;

/**
 * What became of one image of effnet_classify_many.
 */
typedef struct effnet_outcome {
    /**
     * An effnet_status: EFFNET_OK, or why the image has no classes.
     */
    int32_t status;
    /**
     * Classes that it has, at most k.
     */
    uint32_t count;
    /**
     * The same in words, to be given back by effnet_error_free; NULL where the status is
     * EFFNET_OK.
     */
    struct effnet_error *error;
} effnet_outcome;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version, as in "0.1.0". Never NULL; valid for ever.
 */
const char *effnet_version(void);

/**
 * The interface that the library has: compare it with EFFNET_ABI_VERSION, where the library may be
 * another than the one that the program was built with.
 */
uint32_t effnet_abi_version(void);

/**
 * A code's name, as "EFFNET_BUSY"; "unknown status" for a number that is no code. Never NULL;
 * valid for ever.
 */
const char *effnet_status_name(int32_t status);

/**
 * The error's text: what, where, what was expected and found, and what to do. UTF-8, of one or
 * more lines; valid until the error is freed. An empty text for NULL and for what is no error.
 */
const char *effnet_error_message(const struct effnet_error *error);

/**
 * The error's code. EFFNET_OK for NULL, EFFNET_INVALID_ARGUMENT for what is no error.
 */
enum effnet_status effnet_error_status(const struct effnet_error *error);

/**
 * Gives an error back. Does nothing for NULL, and for what is no error.
 */
void effnet_error_free(struct effnet_error *error);

/**
 * Writes the number of devices: the GPUs that the driver sees, whether or not they can be used,
 * and the CPU, which is the last. Without a CUDA driver it is 1; a session that asks for a GPU
 * then says why there is none.
 */
enum effnet_status effnet_device_count(size_t *count,
                                       struct effnet_error **error);

/**
 * Tells of device number `index` of effnet_device_count. info->struct_size is set by the caller.
 */
enum effnet_status effnet_device_get_info(size_t index,
                                          struct effnet_device_info *info,
                                          struct effnet_error **error);

/**
 * Reads a device's name as on effnet's command line: "auto", "cpu", "cuda", "cuda:N" or
 * "emulator"; writes an effnet_device and a GPU's number, for the options of a session.
 */
enum effnet_status effnet_device_parse(const char *name,
                                       int32_t *device,
                                       uint32_t *device_index,
                                       struct effnet_error **error);

/**
 * Opens packed weights, as `effnet import`, `effnet pull` and effnet_import_checkpoint write them.
 * flags is 0 or EFFNET_MODEL_COPY.
 *
 * Without that flag the file is mapped, and read when it is needed: it must not be changed or
 * truncated while the model or a session of it lives. To replace it, rename another file over it.
 */
enum effnet_status effnet_model_open(const char *path,
                                     uint32_t flags,
                                     struct effnet_model **model,
                                     struct effnet_error **error);

/**
 * Holds a model once more, for another owner.
 */
enum effnet_status effnet_model_retain(struct effnet_model *model);

/**
 * Lets go of a model once; the last time gives it back. Does nothing for NULL. Sessions of it live
 * on.
 */
void effnet_model_release(struct effnet_model *model);

/**
 * Tells of a model. info->struct_size is set by the caller.
 */
enum effnet_status effnet_model_get_info(const struct effnet_model *model,
                                         struct effnet_model_info *info,
                                         struct effnet_error **error);

/**
 * The name of a class, UTF-8, which lives as long as the model; NULL where the names are unknown,
 * where there is no such class, and for what is no model.
 */
const char *effnet_model_label(const struct effnet_model *model,
                               uint32_t index);

/**
 * Fills options with what a session is made for where nothing else is wanted: one image at a time,
 * at the model's size, on the first GPU that can be used, else on the CPU. struct_size is
 * sizeof(effnet_session_options) and becomes the struct's first field.
 */
enum effnet_status effnet_session_options_init(struct effnet_session_options *options,
                                               size_t struct_size);

/**
 * Makes a session: plans the network, allocates the memory of its runs, uploads the weights to a
 * GPU. options may be NULL, for those of effnet_session_options_init. The model may be released
 * afterwards.
 *
 * On a GPU the first run of each number of images records its launches, and takes longer.
 */
enum effnet_status effnet_session_create(const struct effnet_model *model,
                                         const struct effnet_session_options *options,
                                         struct effnet_session **session,
                                         struct effnet_error **error);

/**
 * Gives a session back, with what is under way on it. Does nothing for NULL. Where another thread
 * is in a call on the session, it waits for the end of that call; no call may begin meanwhile. In a
 * forked child, which has none of the session's threads, the memory stays in use.
 */
void effnet_session_destroy(struct effnet_session *session);

/**
 * Tells of a session; also while another thread is in a call on it. info->struct_size is set by
 * the caller.
 */
enum effnet_status effnet_session_get_info(const struct effnet_session *session,
                                           struct effnet_session_info *info,
                                           struct effnet_error **error);

/**
 * Decodes an image of len bytes, resizes and crops it by the model's recipe, and writes it as one
 * image of the session's input, [height, width, 3] in the session's type; out_len is the number of
 * elements that out has room for. After a failure what is in out means nothing. Any number of
 * threads may call it at once, also while another is in a call on the session.
 */
enum effnet_status effnet_preprocess(const struct effnet_session *session,
                                     const void *data,
                                     size_t len,
                                     void *out,
                                     size_t out_len,
                                     struct effnet_error **error);

/**
 * As effnet_preprocess, of a picture that is decoded already: levels from 0 to 255 in the order R,
 * G, B, rows from the top, each stride bytes behind the one before; a stride of 0 is width * 3.
 */
enum effnet_status effnet_preprocess_rgb(const struct effnet_session *session,
                                         const uint8_t *pixels,
                                         size_t width,
                                         size_t height,
                                         size_t stride,
                                         void *out,
                                         size_t out_len,
                                         struct effnet_error **error);

/**
 * The k best classes of an image of len bytes, the best first. predictions has room for k; count
 * gets how many there are: k, or all classes. No run may be under way.
 */
enum effnet_status effnet_classify(struct effnet_session *session,
                                   const void *data,
                                   size_t len,
                                   size_t k,
                                   struct effnet_prediction *predictions,
                                   size_t *count,
                                   struct effnet_error **error);

/**
 * As effnet_classify, of an image file.
 */
enum effnet_status effnet_classify_file(struct effnet_session *session,
                                        const char *path,
                                        size_t k,
                                        struct effnet_prediction *predictions,
                                        size_t *count,
                                        struct effnet_error **error);

/**
 * The features of an image of len bytes: what the network has before its classifier. features_len
 * is the number of elements that features has room for, at least the session's. No run may be
 * under way.
 */
enum effnet_status effnet_features(struct effnet_session *session,
                                   const void *data,
                                   size_t len,
                                   float *features,
                                   size_t features_len,
                                   struct effnet_error **error);

/**
 * The k best classes of each of n images. Images are decoded on all cores (the session's threads)
 * while the network runs as many at once as the session's batch. Image i has its classes at
 * predictions[i * k], which has room for n * k, and its outcome at outcomes[i].
 *
 * A bad image has an outcome of its own, and the others go on; the call is EFFNET_OK where every
 * image has had its turn. After another status, outcomes without an error object are of images
 * that had none. No run may be under way.
 */
enum effnet_status effnet_classify_many(struct effnet_session *session,
                                        const struct effnet_image *images,
                                        size_t n,
                                        size_t k,
                                        struct effnet_prediction *predictions,
                                        struct effnet_outcome *outcomes,
                                        struct effnet_error **error);

/**
 * Runs n images, [n, height, width, 3] in the session's type (effnet_input), and waits for them.
 * input_len is the number of elements of input; n is 1 to the session's batch. Writes logits, [n,
 * classes], and features, [n, features], each with the number of elements that it has room for;
 * either may be NULL with 0.
 *
 * Logits are what the network computed, NaN and infinities included. An image's logits are the
 * same bytes whatever batch it is in. No run may be under way.
 */
enum effnet_status effnet_run(struct effnet_session *session,
                              const void *input,
                              size_t input_len,
                              size_t n,
                              float *logits,
                              size_t logits_len,
                              float *features,
                              size_t features_len,
                              struct effnet_error **error);

/**
 * Begins a run as effnet_run does, beside others: at most as many are under way as the session's
 * capacity says, else it is EFFNET_BUSY. The input may be changed when this returns.
 * effnet_collect waits for it. After EFFNET_DEVICE_ERROR nothing is under way any more.
 */
enum effnet_status effnet_submit(struct effnet_session *session,
                                 const void *input,
                                 size_t input_len,
                                 size_t n,
                                 struct effnet_error **error);

/**
 * Waits for the oldest run that was submitted and not collected, and writes its outputs as
 * effnet_run does; n gets its number of images, unless it is NULL. With a buffer that is too short
 * the run stays to be collected.
 */
enum effnet_status effnet_collect(struct effnet_session *session,
                                  float *logits,
                                  size_t logits_len,
                                  float *features,
                                  size_t features_len,
                                  size_t *n,
                                  struct effnet_error **error);

/**
 * Runs n images that are in a GPU's memory: from input, [n, height, width, 3] in the session's
 * type, to logits, float [n, classes], both device pointers. Nothing passes the host. The run
 * follows what cuda_stream (a cudaStream_t or CUstream; NULL is the default stream) has been given
 * so far, what cuda_stream is given later follows the run, and the call returns without waiting.
 *
 * input must be readable by the session's GPU and stay as it is, and logits be left alone, from
 * the call until the run's end on cuda_stream. The stream belongs to the session's GPU and to its
 * primary context, as those of CUDA's runtime API do; it must not be capturing. The calling
 * thread's current CUDA device stays as it is.
 *
 * The run counts as none that is under way, and is not collected. A fault of it is told by whoever
 * waits for cuda_stream, and by later calls. EFFNET_UNSUPPORTED on a session that is not on a CUDA
 * GPU.
 */
enum effnet_status effnet_run_device(struct effnet_session *session,
                                     const void *input,
                                     size_t n,
                                     void *logits,
                                     void *cuda_stream,
                                     struct effnet_error **error);

/**
 * The probabilities of one image's logits, both of as many elements as the model has classes, by
 * the session's activation; it may be the same memory. EFFNET_NOT_FINITE where one of the logits
 * is NaN or infinite, EFFNET_UNSUPPORTED where the activation is EFFNET_ACTIVATION_NONE. Any
 * number of threads may call it at once.
 */
enum effnet_status effnet_probabilities(const struct effnet_session *session,
                                        const float *logits,
                                        size_t logits_len,
                                        float *probabilities,
                                        size_t probabilities_len,
                                        struct effnet_error **error);

/**
 * The k best classes of one image's logits, the best first, equal logits in the order of their
 * classes. predictions has room for k; count gets how many there are: k, or all classes.
 * EFFNET_NOT_FINITE where one of the logits is NaN or infinite. Any number of threads may call it
 * at once.
 */
enum effnet_status effnet_top_k(const struct effnet_session *session,
                                const float *logits,
                                size_t logits_len,
                                size_t k,
                                struct effnet_prediction *predictions,
                                size_t *count,
                                struct effnet_error **error);

/**
 * Imports a checkpoint (PyTorch, safetensors, NumPy, Keras, ONNX and the others that `effnet
 * import` knows) into packed weights at output, which is replaced in one step, or left as it is.
 * Variant, family and recipe are recognised; where that is not enough, `effnet import` takes them
 * as options. precision is an effnet_precision: EFFNET_PRECISION_DEFAULT (fp16),
 * EFFNET_PRECISION_FP16 or EFFNET_PRECISION_FP32.
 */
enum effnet_status effnet_import_checkpoint(const char *source,
                                            const char *output,
                                            int32_t precision,
                                            struct effnet_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EFFNET_H */
