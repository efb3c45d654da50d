/*
 * Images in a GPU's memory: effnet_run_device against effnet_run, on a stream of the program's
 * own, with the driver's functions looked up as the program runs. With no driver it says so, and
 * ends with 77.
 *
 *   device WEIGHTS PHOTO
 */

#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <effnet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As in cuda.h. */
typedef unsigned long long device_pointer;
typedef void *handle;
static int (*cuInit)(unsigned);
static int (*cuDevicePrimaryCtxRetain)(handle *, int);
static int (*cuCtxSetCurrent)(handle);
static int (*cuCtxGetCurrent)(handle *);
static int (*cuMemAlloc)(device_pointer *, size_t);
static int (*cuMemFree)(device_pointer);
static int (*cuStreamCreate)(handle *, unsigned);
static int (*cuStreamSynchronize)(handle);
static int (*cuStreamDestroy)(handle);
static int (*cuMemcpyHtoDAsync)(device_pointer, const void *, size_t, handle);
static int (*cuMemcpyDtoHAsync)(void *, device_pointer, size_t, handle);

static void look_up(void *library, const char *name, void *to) {
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "device.c: the driver has no %s\n", name);
        exit(1);
    }
    /* ISO C converts no object pointer to a function's; POSIX has the two alike. */
    memcpy(to, &found, sizeof found);
}

static void driver(int result, const char *what) {
    if (result != 0) {
        fprintf(stderr, "device.c: %s: the driver says %d\n", what, result);
        exit(1);
    }
}
#define DRIVER(call) driver((call), #call)

static void check(effnet_status status, effnet_error *error) {
    if (status != EFFNET_OK) {
        fprintf(stderr, "device.c: %s: %s\n", effnet_status_name(status),
                effnet_error_message(error));
        exit(1);
    }
}

static void expect(int condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "device.c: expected %s\n", what);
        exit(1);
    }
}
#define EXPECT(condition) expect((condition), #condition)

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: device WEIGHTS PHOTO\n");
        return 2;
    }
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) {
        library = dlopen("libcuda.so", RTLD_NOW);
    }
    if (library == NULL) {
        printf("no CUDA driver here\n");
        return 77;
    }
    look_up(library, "cuInit", &cuInit);
    look_up(library, "cuDevicePrimaryCtxRetain", &cuDevicePrimaryCtxRetain);
    look_up(library, "cuCtxSetCurrent", &cuCtxSetCurrent);
    look_up(library, "cuCtxGetCurrent", &cuCtxGetCurrent);
    look_up(library, "cuMemAlloc_v2", &cuMemAlloc);
    look_up(library, "cuMemFree_v2", &cuMemFree);
    look_up(library, "cuStreamCreate", &cuStreamCreate);
    look_up(library, "cuStreamSynchronize", &cuStreamSynchronize);
    look_up(library, "cuStreamDestroy_v2", &cuStreamDestroy);
    look_up(library, "cuMemcpyHtoDAsync_v2", &cuMemcpyHtoDAsync);
    look_up(library, "cuMemcpyDtoHAsync_v2", &cuMemcpyDtoHAsync);
    DRIVER(cuInit(0));

    enum { BATCH = 2, SIDE = 64 };
    effnet_error *error = NULL;
    effnet_model *model;
    effnet_session *session;
    effnet_session_options options;
    check(effnet_model_open(argv[1], 0, &model, &error), error);
    check(effnet_session_options_init(&options, sizeof options), NULL);
    check(effnet_device_parse("cuda:0", &options.device, &options.device_index, &error), error);
    options.batch = BATCH;
    options.height = options.width = SIDE;
    check(effnet_session_create(model, &options, &session, &error), error);
    /* The library leaves the thread's context as it was: none. */
    handle current = (handle)1, context;
    DRIVER(cuCtxGetCurrent(&current));
    EXPECT(current == NULL);
    effnet_session_info info;
    info.struct_size = sizeof info;
    check(effnet_session_get_info(session, &info, &error), error);
    EXPECT(info.capacity == 2 && info.device == EFFNET_DEVICE_CUDA && info.device_index == 0);

    FILE *file = fopen(argv[2], "rb");
    char *photo = allocate(1 << 20);
    EXPECT(file != NULL);
    const size_t photo_len = fread(photo, 1, 1 << 20, file);
    fclose(file);
    const size_t elems = BATCH * info.input_elems, classes = BATCH * (size_t)info.classes;
    float *input = allocate(elems * sizeof *input);
    float *expected = allocate(classes * sizeof *expected);
    float *found = allocate(classes * sizeof *found);
    check(effnet_preprocess(session, photo, photo_len, input, info.input_elems, &error), error);
    for (size_t i = 0; i < info.input_elems; i++) {
        input[info.input_elems + i] = -input[i];
    }
    check(effnet_run(session, input, elems, BATCH, expected, classes, NULL, 0, &error), error);

    DRIVER(cuDevicePrimaryCtxRetain(&context, 0));
    DRIVER(cuCtxSetCurrent(context));
    handle stream;
    device_pointer images, logits;
    DRIVER(cuStreamCreate(&stream, 1));
    DRIVER(cuMemAlloc(&images, elems * sizeof *input));
    DRIVER(cuMemAlloc(&logits, classes * sizeof *found));
    const void *from = (const void *)(uintptr_t)images;
    void *to = (void *)(uintptr_t)logits;
    /* A stand-in for a decoder on the GPU, a run behind it, and what follows the run; one wait. */
    for (int repeat = 0; repeat < 3; repeat++) {
        memset(found, 0, classes * sizeof *found);
        DRIVER(cuMemcpyHtoDAsync(images, input, elems * sizeof *input, stream));
        check(effnet_run_device(session, from, BATCH, to, stream, &error), error);
        DRIVER(cuMemcpyDtoHAsync(found, logits, classes * sizeof *found, stream));
        DRIVER(cuStreamSynchronize(stream));
        EXPECT(memcmp(found, expected, classes * sizeof *found) == 0);
        DRIVER(cuCtxGetCurrent(&current));
        EXPECT(current == context);
    }
    effnet_prediction best[2];
    size_t count;
    check(effnet_top_k(session, found, info.classes, 2, best, &count, &error), error);
    EXPECT(count == 2 && best[0].logit == found[best[0].index]);

    /* Beside runs from the host. */
    check(effnet_submit(session, input, elems, BATCH, &error), error);
    check(effnet_run_device(session, from, 1, to, stream, &error), error);
    size_t n = 0;
    check(effnet_collect(session, found, classes, NULL, 0, &n, &error), error);
    EXPECT(n == BATCH && memcmp(found, expected, classes * sizeof *found) == 0);
    DRIVER(cuMemcpyDtoHAsync(found, logits, classes / BATCH * sizeof *found, stream));
    DRIVER(cuStreamSynchronize(stream));
    EXPECT(memcmp(found, expected, classes / BATCH * sizeof *found) == 0);

    EXPECT(effnet_run_device(session, NULL, 1, to, stream, NULL) == EFFNET_INVALID_ARGUMENT);
    EXPECT(effnet_run_device(session, from, 1, NULL, stream, NULL) == EFFNET_INVALID_ARGUMENT);
    EXPECT(effnet_run_device(session, from, 3, to, stream, NULL) == EFFNET_INVALID_ARGUMENT);
    EXPECT(effnet_run_device(session, from, 0, to, stream, NULL) == EFFNET_INVALID_ARGUMENT);

    DRIVER(cuMemFree(images));
    DRIVER(cuMemFree(logits));
    DRIVER(cuStreamDestroy(stream));
    effnet_session_destroy(session);
    effnet_model_release(model);
    free(photo);
    free(found);
    free(expected);
    free(input);
    printf("%s: the same logits from its memory as from the host's\n", argv[0]);
    return 0;
}
