/*
 * Everything that a C program may get wrong, and that it gets right: NULLs, short buffers, wrong
 * sizes, wrong handles, options of older and newer headers, threads.
 *
 *   abuse CHECKPOINT PACKED PHOTO SCRATCH [quick]
 *
 * CHECKPOINT is imported into SCRATCH, and compared with PACKED, which `effnet import` made of it.
 * With `quick` the network runs at a small size and few times: for valgrind.
 */

#define _POSIX_C_SOURCE 200809L

#include <effnet.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;
static int checks = 0;

static void failed(int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "abuse.c:%d: ", line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    failures++;
}

#define CHECK(condition) \
    (checks++, (condition) ? (void)0 : failed(__LINE__, "expected %s", #condition))

/* The status of a call, which takes &error, and whether there is an error just where it failed. */
#define EXPECT(wanted, call) \
    do { \
        effnet_error *error = (effnet_error *)1; \
        const effnet_status returned = (call); \
        expect(__LINE__, #call, wanted, returned, error); \
    } while (0)

static void expect(int line, const char *call, effnet_status expected, effnet_status found,
                   effnet_error *error) {
    checks++;
    if (found != expected) {
        failed(line, "%s: expected %s, found %s: %s", call, effnet_status_name(expected),
               effnet_status_name(found),
               error == (effnet_error *)1 ? "?" : effnet_error_message(error));
    }
    if (error == (effnet_error *)1) {
        failed(line, "%s: the error's place was not written", call);
        return;
    }
    if ((found == EFFNET_OK) != (error == NULL)) {
        failed(line, "%s: %s error object", call, error ? "an" : "no");
    }
    if (error != NULL) {
        if (effnet_error_status(error) != found) {
            failed(line, "%s: the error's status is another", call);
        }
        if (strlen(effnet_error_message(error)) < 10) {
            failed(line, "%s: the error says '%s'", call, effnet_error_message(error));
        }
        effnet_error_free(error);
    }
}

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    if (memory == NULL) {
        fprintf(stderr, "abuse.c: no memory\n");
        exit(1);
    }
    return memory;
}

static void *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "abuse.c: cannot read %s\n", path);
        exit(1);
    }
    *len = (size_t)ftell(file);
    rewind(file);
    void *bytes = allocate(*len);
    if (fread(bytes, 1, *len, file) != *len) {
        fprintf(stderr, "abuse.c: cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return bytes;
}

static effnet_session_options options_for(uint32_t batch, int quick) {
    effnet_session_options options;
    CHECK(effnet_session_options_init(&options, sizeof options) == EFFNET_OK);
    CHECK(options.struct_size == sizeof options);
    options.device = EFFNET_DEVICE_CPU;
    options.batch = batch;
    options.threads = 2;
    if (quick) {
        options.height = options.width = 64;
    }
    return options;
}

static effnet_session *session_for(const effnet_model *model, effnet_session_options options) {
    effnet_session *session = NULL;
    EXPECT(EFFNET_OK, effnet_session_create(model, &options, &session, &error));
    if (session == NULL) {
        exit(1);
    }
    return session;
}

static effnet_session_info info_of(const effnet_session *session) {
    effnet_session_info info;
    memset(&info, 0xff, sizeof info);
    info.struct_size = sizeof info;
    EXPECT(EFFNET_OK, effnet_session_get_info(session, &info, &error));
    return info;
}

/* What needs no model. */
static void without_a_model(void) {
    CHECK(strcmp(effnet_version(), "0.1.0") == 0);
    CHECK(effnet_abi_version() == EFFNET_ABI_VERSION);
    CHECK(strcmp(effnet_status_name(EFFNET_BUSY), "EFFNET_BUSY") == 0);
    CHECK(strcmp(effnet_status_name(EFFNET_INTERNAL), "EFFNET_INTERNAL") == 0);
    CHECK(strcmp(effnet_status_name(-1), "unknown status") == 0);
    CHECK(strcmp(effnet_status_name(12), "unknown status") == 0);

    effnet_error_free(NULL);
    effnet_model_release(NULL);
    effnet_session_destroy(NULL);
    CHECK(strcmp(effnet_error_message(NULL), "") == 0);
    CHECK(effnet_error_status(NULL) == EFFNET_OK);
    CHECK(effnet_model_label(NULL, 0) == NULL);
    CHECK(effnet_model_retain(NULL) == EFFNET_INVALID_ARGUMENT);

    size_t count = 0;
    EXPECT(EFFNET_OK, effnet_device_count(&count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_count(NULL, &error));
    CHECK(effnet_device_count(NULL, NULL) == EFFNET_INVALID_ARGUMENT);
    CHECK(count >= 1);
    effnet_device_info device;
    memset(&device, 0xff, sizeof device);
    device.struct_size = sizeof device;
    EXPECT(EFFNET_OK, effnet_device_get_info(count - 1, &device, &error));
    CHECK(device.device == EFFNET_DEVICE_CPU && device.usable == 1);
    CHECK(strcmp(device.name, "CPU") == 0 && device.why_not[0] == 0);
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_get_info(count, &device, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_get_info(0, NULL, &error));
    device.struct_size = 0;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_get_info(0, &device, &error));

    int32_t kind = -1;
    uint32_t index = 99;
    EXPECT(EFFNET_OK, effnet_device_parse("cuda:3", &kind, &index, &error));
    CHECK(kind == EFFNET_DEVICE_CUDA && index == 3);
    EXPECT(EFFNET_OK, effnet_device_parse("auto", &kind, &index, &error));
    CHECK(kind == EFFNET_DEVICE_AUTO && index == 0);
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_parse("gpu", &kind, &index, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_parse("\xff\xfe", &kind, &index, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_parse(NULL, &kind, &index, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_parse("cpu", NULL, &index, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_device_parse("cpu", &kind, NULL, &error));
    CHECK(kind == EFFNET_DEVICE_AUTO && index == 0);

    CHECK(effnet_session_options_init(NULL, sizeof(effnet_session_options)) ==
          EFFNET_INVALID_ARGUMENT);
    effnet_session_options options;
    CHECK(effnet_session_options_init(&options, 0) == EFFNET_INVALID_ARGUMENT);
    CHECK(effnet_session_options_init(&options, 4) == EFFNET_INVALID_ARGUMENT);
}

static void files(const char *checkpoint, const char *packed, const char *photo,
                  const char *scratch) {
    effnet_model *model = (effnet_model *)1;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_open(NULL, 0, &model, &error));
    CHECK(model == NULL);
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_open(packed, 0, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_open(packed, 2, &model, &error));
    EXPECT(EFFNET_NOT_FOUND, effnet_model_open("/no/such/file", 0, &model, &error));
    EXPECT(EFFNET_NOT_FOUND, effnet_model_open("/no/such/file", EFFNET_MODEL_COPY, &model, &error));
    EXPECT(EFFNET_BAD_WEIGHTS, effnet_model_open("/", 0, &model, &error));
    EXPECT(EFFNET_BAD_WEIGHTS, effnet_model_open(photo, 0, &model, &error));
    CHECK(model == NULL);
    CHECK(effnet_model_open("/no/such/file", 0, &model, NULL) == EFFNET_NOT_FOUND);

    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_import_checkpoint(NULL, scratch, 0, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_import_checkpoint(checkpoint, NULL, 0, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_import_checkpoint(checkpoint, scratch, 9, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_import_checkpoint(checkpoint, scratch, EFFNET_PRECISION_TF32, &error));
    EXPECT(EFFNET_NOT_FOUND, effnet_import_checkpoint("/no/such/file", scratch, 0, &error));
    EXPECT(EFFNET_BAD_WEIGHTS, effnet_import_checkpoint(photo, scratch, 0, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_import_checkpoint(packed, packed, 0, &error));
    effnet_status status =
        effnet_import_checkpoint(checkpoint, "/no/such/folder/file", 0, NULL);
    CHECK(status == EFFNET_IO || status == EFFNET_NOT_FOUND);
    EXPECT(EFFNET_OK, effnet_import_checkpoint(checkpoint, scratch, EFFNET_PRECISION_FP16, &error));
    size_t made_len, packed_len;
    void *made = read_file(scratch, &made_len), *expected = read_file(packed, &packed_len);
    CHECK(made_len == packed_len && memcmp(made, expected, made_len) == 0);
    free(made);
    free(expected);
}

static void models(const effnet_model *model, const effnet_session *session) {
    effnet_model_info info;
    memset(&info, 0xff, sizeof info);
    info.struct_size = sizeof info;
    EXPECT(EFFNET_OK, effnet_model_get_info(model, &info, &error));
    CHECK(info.classes == 1000 && info.features == 1280 && info.height == 224 && info.width == 224);
    CHECK(strstr(info.variant, "lite0") != NULL && info.precision == EFFNET_PRECISION_FP16);
    CHECK(info.activation == EFFNET_ACTIVATION_SOFTMAX && info.file_bytes > 1000000);
    /* An older header's struct: what lies behind it is not touched. */
    memset(&info, 0xff, sizeof info);
    info.struct_size = offsetof(effnet_model_info, classes);
    EXPECT(EFFNET_OK, effnet_model_get_info(model, &info, &error));
    CHECK(info.family != NULL && info.classes == 0xffffffff);
    CHECK(info.struct_size == offsetof(effnet_model_info, classes));
    /* A newer header's: what the library does not know is 0. */
    struct {
        effnet_model_info known;
        uint64_t unknown[2];
    } newer;
    memset(&newer, 0xff, sizeof newer);
    newer.known.struct_size = sizeof newer;
    EXPECT(EFFNET_OK, effnet_model_get_info(model, &newer.known, &error));
    CHECK(newer.known.classes == 1000 && newer.unknown[0] == 0 && newer.unknown[1] == 0);
    /* A length that nobody set. */
    info.struct_size = SIZE_MAX;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_get_info(model, &info, &error));
    info.struct_size = 7;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_get_info(model, &info, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_get_info(model, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_get_info(NULL, &info, &error));

    CHECK(strstr(effnet_model_label(model, 0), "tench") != NULL);
    CHECK(effnet_model_label(model, 999) != NULL && effnet_model_label(model, 1000) == NULL);
    CHECK(effnet_model_label(model, UINT32_MAX) == NULL);

    /* Handles of another kind. */
    const effnet_model *wrong_model = (const effnet_model *)session;
    effnet_session *wrong_session = (effnet_session *)model;
    info.struct_size = sizeof info;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_model_get_info(wrong_model, &info, &error));
    CHECK(effnet_model_label(wrong_model, 0) == NULL);
    CHECK(effnet_model_retain((effnet_model *)wrong_model) == EFFNET_INVALID_ARGUMENT);
    effnet_model_release((effnet_model *)wrong_model);
    effnet_session_destroy(wrong_session);
    effnet_error_free((effnet_error *)wrong_session);
    CHECK(effnet_error_status((effnet_error *)wrong_session) == EFFNET_INVALID_ARGUMENT);
    CHECK(strcmp(effnet_error_message((effnet_error *)wrong_session), "") == 0);
    effnet_session *made = (effnet_session *)1;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_session_create(wrong_model, NULL, &made, &error));
    CHECK(made == NULL);
    effnet_session_info about;
    about.struct_size = sizeof about;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_session_get_info(wrong_session, &about, &error));
    /* Of no kind at all, and at an odd address. */
    uint64_t zeros[8] = {0};
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_session_get_info((effnet_session *)zeros, &about, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_session_get_info((effnet_session *)((char *)zeros + 1), &about, &error));
}

static void session_options(const effnet_model *model, int quick) {
    effnet_session *session = NULL;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_session_create(NULL, NULL, &session, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_session_create(model, NULL, NULL, &error));

#define REFUSED(status, change) \
    do { \
        effnet_session_options options = options_for(1, quick); \
        change; \
        session = (effnet_session *)1; \
        EXPECT(status, effnet_session_create(model, &options, &session, &error)); \
        CHECK(session == NULL); \
    } while (0)
    REFUSED(EFFNET_INVALID_ARGUMENT, options.device = 4);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.device = -1);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.path = 2);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.precision = 4);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.activation = 4);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.input = 2);
    REFUSED(EFFNET_INVALID_ARGUMENT, (options.height = 32, options.width = 0));
    REFUSED(EFFNET_INVALID_ARGUMENT, options.height = options.width = 4000000000u);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.batch = 4000000000u);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.threads = 1000000);
    REFUSED(EFFNET_UNSUPPORTED, options.precision = EFFNET_PRECISION_FP16);
    REFUSED(EFFNET_UNSUPPORTED, options.device = EFFNET_DEVICE_EMULATOR);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.struct_size = 0);
    REFUSED(EFFNET_INVALID_ARGUMENT, options.struct_size = 1 << 20);

    /* The older header had fields up to the batch; what follows in memory is not looked at. */
    effnet_session_options options = options_for(3, quick);
    options.struct_size = offsetof(effnet_session_options, height);
    options.height = 1, options.width = 77, options.path = 99, options.input = 99;
    if (!quick) {
        session = session_for(model, options);
        const effnet_session_info about = info_of(session);
        CHECK(about.batch == 3 && about.height == 224 && about.input == EFFNET_INPUT_F32);
        effnet_session_destroy(session);
    }
    /* It ends within a field, which then is not there. */
    options = options_for(1, quick);
    options.struct_size = offsetof(effnet_session_options, input) + 1;
    options.input = 0x101;
    session = session_for(model, options);
    CHECK(info_of(session).input == EFFNET_INPUT_F32);
    effnet_session_destroy(session);

    /* The newer header has more. */
    struct {
        effnet_session_options known;
        uint64_t unknown[2];
    } newer;
    memset(&newer, 0, sizeof newer);
    newer.known = options_for(1, quick);
    newer.known.struct_size = sizeof newer;
    EXPECT(EFFNET_OK, effnet_session_create(model, &newer.known, &session, &error));
    effnet_session_destroy(session);
    newer.unknown[1] = (uint64_t)1 << 40;
    session = (effnet_session *)1;
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_session_create(model, &newer.known, &session, &error));
    CHECK(session == NULL);
    memset(&newer, 0xff, sizeof newer);
    CHECK(effnet_session_options_init(&newer.known, sizeof newer) == EFFNET_OK);
    CHECK(newer.unknown[0] == 0 && newer.unknown[1] == 0);
    /* An older caller's struct is not written beyond its end. */
    memset(&options, 0xff, sizeof options);
    CHECK(effnet_session_options_init(&options, offsetof(effnet_session_options, threads)) ==
          EFFNET_OK);
    CHECK(options.threads == 0xffffffff && options.width == 0);
}

static void runs(const effnet_model *model, const void *photo, size_t photo_len, int quick) {
    effnet_session *session = session_for(model, options_for(2, quick));
    const effnet_session_info about = info_of(session);
    const size_t elems = about.input_elems, classes = about.classes, features = about.features;
    CHECK(elems == (size_t)about.height * about.width * 3 && classes == 1000 && features == 1280);
    CHECK(about.batch == 2 && about.capacity == 1 && about.device == EFFNET_DEVICE_CPU);
    CHECK(about.precision == EFFNET_PRECISION_FP32);
    CHECK(about.activation == EFFNET_ACTIVATION_SOFTMAX);
    CHECK(about.input == EFFNET_INPUT_F32 && about.reserved == 0);
    CHECK(strcmp(about.device_name, "CPU") == 0 && strstr(about.description, "2 threads") != NULL);

    /* Buffers of exactly the right size: one element beyond is the address sanitiser's. */
    float *input = allocate(2 * elems * sizeof *input);
    float *logits = allocate(2 * classes * sizeof *logits);
    float *again = allocate(2 * classes * sizeof *again);
    float *vectors = allocate(2 * features * sizeof *vectors);
    EXPECT(EFFNET_OK, effnet_preprocess(session, photo, photo_len, input, elems, &error));
    EXPECT(EFFNET_OK, effnet_preprocess(session, photo, photo_len, input + elems, elems, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_preprocess(session, photo, photo_len, input, elems - 1, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_preprocess(session, photo, photo_len, NULL, elems, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_preprocess(session, NULL, 10, input, elems, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_preprocess(NULL, photo, photo_len, input, elems, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_preprocess(session, NULL, 0, input, elems, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_preprocess(session, "what?", 5, input, elems, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_preprocess(session, photo, 100, input, elems, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_preprocess(session, photo, SIZE_MAX, input, elems, &error));
    EXPECT(EFFNET_OK, effnet_preprocess(session, photo, photo_len, input, elems, &error));

    EXPECT(EFFNET_OK, effnet_run(session, input, 2 * elems, 2, logits, 2 * classes, vectors,
                                 2 * features, &error));
    CHECK(memcmp(logits, logits + classes, classes * sizeof *logits) == 0);
    EXPECT(EFFNET_OK, effnet_run(session, input, elems, 1, again, classes, NULL, 0, &error));
    CHECK(memcmp(logits, again, classes * sizeof *logits) == 0);
    EXPECT(EFFNET_OK,
           effnet_run(session, input, 2 * elems, 1, NULL, 0, vectors, features, &error));
    EXPECT(EFFNET_OK, effnet_run(session, input, elems, 1, NULL, 0, NULL, 0, &error));
    CHECK(effnet_run(session, input, elems, 1, NULL, 0, NULL, 0, NULL) == EFFNET_OK);
#define BAD_RUN(...) EXPECT(EFFNET_INVALID_ARGUMENT, effnet_run(__VA_ARGS__, &error))
    BAD_RUN(NULL, input, elems, 1, again, classes, NULL, 0);
    BAD_RUN(session, NULL, elems, 1, again, classes, NULL, 0);
    BAD_RUN(session, (char *)input + 1, elems - 1, 1, again, classes, NULL, 0);
    BAD_RUN(session, (char *)input + 1, elems, 1, again, classes, NULL, 0);
    BAD_RUN(session, input, elems - 1, 1, again, classes, NULL, 0);
    BAD_RUN(session, input, elems, 2, again, 2 * classes, NULL, 0);
    BAD_RUN(session, input, elems, 0, again, classes, NULL, 0);
    BAD_RUN(session, input, SIZE_MAX, SIZE_MAX, again, classes, NULL, 0);
    BAD_RUN(session, input, 3 * elems, 3, again, 3 * classes, NULL, 0);
    BAD_RUN(session, input, elems, 1, again, classes - 1, NULL, 0);
    BAD_RUN(session, input, elems, 1, NULL, classes, NULL, 0);
    BAD_RUN(session, input, elems, 1, again, 0, NULL, 0);
    BAD_RUN(session, input, elems, 1, (float *)((char *)again + 2), classes, NULL, 0);
    BAD_RUN(session, input, elems, 1, again, classes, vectors, features - 1);
    BAD_RUN(session, input, elems, 1, again, classes, NULL, features);

    /* Runs that are submitted, of which the CPU has one at a time. */
    size_t n = 99;
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_collect(session, again, 2 * classes, NULL, 0, &n, &error));
    CHECK(n == 99);
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_submit(session, input, elems, 2, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_submit(NULL, input, elems, 1, &error));
    EXPECT(EFFNET_OK, effnet_submit(session, input, 2 * elems, 2, &error));
    EXPECT(EFFNET_BUSY, effnet_submit(session, input, elems, 1, &error));
    EXPECT(EFFNET_BUSY, effnet_run(session, input, elems, 1, NULL, 0, NULL, 0, &error));
    effnet_prediction best[4];
    size_t count = 99;
    EXPECT(EFFNET_BUSY, effnet_classify(session, photo, photo_len, 4, best, &count, &error));
    effnet_image image = {photo, photo_len};
    effnet_outcome outcome;
    EXPECT(EFFNET_BUSY, effnet_classify_many(session, &image, 1, 4, best, &outcome, &error));
    CHECK(outcome.status == EFFNET_BUSY && outcome.error == NULL && outcome.count == 0);
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_collect(session, again, classes, NULL, 0, &n, &error));
    memset(again, 0, 2 * classes * sizeof *again);
    EXPECT(EFFNET_OK,
           effnet_collect(session, again, 2 * classes, vectors, 2 * features, &n, &error));
    CHECK(n == 2 && memcmp(logits, again, 2 * classes * sizeof *logits) == 0);
    EXPECT(EFFNET_OK, effnet_submit(session, input, elems, 1, &error));
    EXPECT(EFFNET_OK, effnet_collect(session, NULL, 0, NULL, 0, NULL, &error));
    /* One that nobody collects is given back with the session. */
    EXPECT(EFFNET_OK, effnet_submit(session, input, elems, 1, &error));

    /* What is made of logits. */
    float *probabilities = allocate(classes * sizeof *probabilities);
    EXPECT(EFFNET_OK,
           effnet_probabilities(session, logits, classes, probabilities, classes, &error));
    double sum = 0;
    for (size_t i = 0; i < classes; i++) {
        sum += (double)probabilities[i];
    }
    CHECK(fabs(sum - 1) < 1e-5);
    memcpy(again, logits, classes * sizeof *logits);
    EXPECT(EFFNET_OK, effnet_probabilities(session, again, classes, again, classes, &error));
    CHECK(memcmp(again, probabilities, classes * sizeof *again) == 0);
    EXPECT(EFFNET_OK, effnet_top_k(session, logits, classes, 4, best, &count, &error));
    CHECK(count == 4 && best[0].logit >= best[1].logit && best[0].index < 1000);
    CHECK(best[0].logit == logits[best[0].index]);
    CHECK(best[0].probability == probabilities[best[0].index]);
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_top_k(session, logits, classes - 1, 4, best, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_top_k(session, NULL, classes, 4, best, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_top_k(session, logits, classes, 4, NULL, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_top_k(session, logits, classes, 4, best, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_probabilities(session, logits, classes, probabilities, classes - 1, &error));
    memcpy(again, logits, classes * sizeof *logits);
    again[7] = NAN;
    EXPECT(EFFNET_NOT_FINITE, effnet_top_k(session, again, classes, 4, best, &count, &error));
    EXPECT(EFFNET_NOT_FINITE,
           effnet_probabilities(session, again, classes, probabilities, classes, &error));

    /* Device memory is no business of the CPU's. */
    EXPECT(EFFNET_UNSUPPORTED, effnet_run_device(session, input, 1, again, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_run_device(NULL, input, 1, again, NULL, &error));
    effnet_session_destroy(session);

    /* Levels: the same logits. */
    effnet_session_options options = options_for(1, quick);
    options.input = EFFNET_INPUT_U8;
    options.activation = EFFNET_ACTIVATION_NONE;
    session = session_for(model, options);
    uint8_t *levels = allocate(elems);
    EXPECT(EFFNET_OK, effnet_preprocess(session, photo, photo_len, levels, elems, &error));
    EXPECT(EFFNET_OK, effnet_run(session, levels, elems, 1, again, classes, NULL, 0, &error));
    CHECK(memcmp(logits, again, classes * sizeof *logits) == 0);
    EXPECT(EFFNET_UNSUPPORTED,
           effnet_probabilities(session, logits, classes, probabilities, classes, &error));
    EXPECT(EFFNET_OK, effnet_top_k(session, logits, classes, 4, best, &count, &error));
    CHECK(isnan(best[0].probability) && best[0].logit == logits[best[0].index]);
    effnet_session_destroy(session);

    free(levels);
    free(probabilities);
    free(vectors);
    free(again);
    free(logits);
    free(input);
}

static void photographs(const effnet_model *model, const char *path, const void *photo,
                        size_t photo_len, int quick) {
    effnet_session *session = session_for(model, options_for(2, quick));
    const effnet_session_info about = info_of(session);
    effnet_prediction one[3], file[3], *all = allocate(2000 * sizeof *all);
    size_t count = 99;
    EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 3, one, &count, &error));
    CHECK(count == 3 && one[0].probability > one[1].probability);
    EXPECT(EFFNET_OK, effnet_classify_file(session, path, 3, file, &count, &error));
    CHECK(count == 3 && memcmp(one, file, sizeof one) == 0);
    /* More than there are. */
    EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 2000, all, &count, &error));
    CHECK(count == 1000 && memcmp(one, all, sizeof one) == 0);
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify(NULL, photo, photo_len, 3, one, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_classify(session, NULL, 5, 3, one, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify(session, photo, photo_len, 0, one, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify(session, photo, photo_len, 3, NULL, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify(session, photo, photo_len, 3, one, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify(session, photo, photo_len, SIZE_MAX, one, &count, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_classify(session, "no image", 8, 3, one, &count, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_classify(session, NULL, 0, 3, one, &count, &error));
    EXPECT(EFFNET_NOT_FOUND, effnet_classify_file(session, "/no/such.jpg", 3, one, &count, &error));
    EXPECT(EFFNET_IO, effnet_classify_file(session, "/", 3, one, &count, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT, effnet_classify_file(session, NULL, 3, one, &count, &error));
    EXPECT(EFFNET_BAD_IMAGE, effnet_classify_file(session, __FILE__, 3, one, &count, &error));

    /* Many, with bad ones among them. */
    const effnet_image images[6] = {{photo, photo_len}, {"no image", 8}, {photo, photo_len},
                                    {NULL, 5},          {NULL, 0},       {photo, photo_len}};
    const effnet_status expected[6] = {EFFNET_OK,        EFFNET_BAD_IMAGE,
                                       EFFNET_OK,        EFFNET_INVALID_ARGUMENT,
                                       EFFNET_BAD_IMAGE, EFFNET_OK};
    effnet_prediction found[6][3];
    effnet_outcome outcomes[6];
    for (int repeat = 0; repeat < 2; repeat++) {
        memset(outcomes, 0xff, sizeof outcomes);
        EXPECT(EFFNET_OK,
               effnet_classify_many(session, images, 6, 3, found[0], outcomes, &error));
        for (int i = 0; i < 6; i++) {
            CHECK(outcomes[i].status == (int32_t)expected[i]);
            CHECK((outcomes[i].error == NULL) == (expected[i] == EFFNET_OK));
            CHECK(effnet_error_status(outcomes[i].error) == expected[i]);
            CHECK(outcomes[i].count == (expected[i] == EFFNET_OK ? 3 : 0));
            CHECK(expected[i] != EFFNET_OK || memcmp(found[i], one, sizeof one) == 0);
            effnet_error_free(outcomes[i].error);
        }
        /* Single ones in between. */
        EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 3, file, &count, &error));
        CHECK(memcmp(one, file, sizeof one) == 0);
    }
    EXPECT(EFFNET_OK, effnet_classify_many(session, NULL, 0, 3, NULL, NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify_many(session, NULL, 1, 3, found[0], outcomes, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify_many(session, images, 1, 3, NULL, outcomes, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify_many(session, images, 1, 3, found[0], NULL, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify_many(session, images, SIZE_MAX, 3, found[0], outcomes, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_classify_many(NULL, images, 2, 3, found[0], outcomes, &error));
    CHECK(outcomes[0].status == EFFNET_INVALID_ARGUMENT && outcomes[1].error == NULL);

    /* Features. */
    float *features = allocate(about.features * sizeof *features);
    EXPECT(EFFNET_OK,
           effnet_features(session, photo, photo_len, features, about.features, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_features(session, photo, photo_len, features, about.features - 1, &error));
    EXPECT(EFFNET_INVALID_ARGUMENT,
           effnet_features(session, photo, photo_len, NULL, about.features, &error));
    EXPECT(EFFNET_BAD_IMAGE,
           effnet_features(session, "no image", 8, features, about.features, &error));

    /* Pixels: with a stride and without one. */
    enum { WIDTH = 70, HEIGHT = 66, STRIDE = WIDTH * 3 + 5 };
    uint8_t tight[HEIGHT][WIDTH * 3], *strided = allocate((HEIGHT - 1) * STRIDE + WIDTH * 3);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH * 3; x++) {
            tight[y][x] = strided[y * STRIDE + x] = (uint8_t)(x * 7 + y * 13);
        }
    }
    float *first = allocate(about.input_elems * sizeof *first);
    float *second = allocate(about.input_elems * sizeof *second);
    EXPECT(EFFNET_OK, effnet_preprocess_rgb(session, tight[0], WIDTH, HEIGHT, 0, first,
                                            about.input_elems, &error));
    EXPECT(EFFNET_OK, effnet_preprocess_rgb(session, strided, WIDTH, HEIGHT, STRIDE, second,
                                            about.input_elems, &error));
    CHECK(memcmp(first, second, about.input_elems * sizeof *first) == 0 && first[0] != first[9]);
#define BAD_PIXELS(...) EXPECT(EFFNET_INVALID_ARGUMENT, effnet_preprocess_rgb(__VA_ARGS__, &error))
    BAD_PIXELS(NULL, tight[0], WIDTH, HEIGHT, 0, first, about.input_elems);
    BAD_PIXELS(session, NULL, WIDTH, HEIGHT, 0, first, about.input_elems);
    BAD_PIXELS(session, tight[0], 0, HEIGHT, 0, first, about.input_elems);
    BAD_PIXELS(session, tight[0], WIDTH, 0, 0, first, about.input_elems);
    BAD_PIXELS(session, tight[0], SIZE_MAX, SIZE_MAX, 0, first, about.input_elems);
    BAD_PIXELS(session, tight[0], WIDTH, HEIGHT, WIDTH * 3 - 1, first, about.input_elems);
    BAD_PIXELS(session, tight[0], WIDTH, HEIGHT, SIZE_MAX, first, about.input_elems);
    BAD_PIXELS(session, tight[0], WIDTH, HEIGHT, 0, first, about.input_elems - 1);
    BAD_PIXELS(session, tight[0], WIDTH, HEIGHT, 0, NULL, about.input_elems);
    /* A PPM file has the same pixels behind its header, but is no format that is decoded. */
    EXPECT(EFFNET_BAD_IMAGE,
           effnet_preprocess(session, "P6\n1 1\n255\n...", 14, first, about.input_elems, &error));

    free(second);
    free(first);
    free(strided);
    free(features);
    free(all);
    effnet_session_destroy(session);
}

/* Threads that share a model, each with a session of its own; and all of them with one more. */
enum { THREADS = 8 };

struct job {
    effnet_model *model;
    effnet_session *shared;
    const void *photo;
    size_t photo_len;
    int quick;
    effnet_prediction found[3];
    int wrong;
    int done;
    int busy;
};

static void *work(void *argument) {
    struct job *job = argument;
    effnet_session_options options;
    effnet_session_options_init(&options, sizeof options);
    options.device = EFFNET_DEVICE_CPU;
    options.threads = 1;
    if (job->quick) {
        options.height = options.width = 64;
    }
    effnet_session *session = NULL;
    job->wrong += effnet_session_create(job->model, &options, &session, NULL) != EFFNET_OK;
    /* The last to let go of the model gives it back. */
    effnet_model_release(job->model);
    size_t count = 0;
    const effnet_status status =
        effnet_classify(session, job->photo, job->photo_len, 3, job->found, &count, NULL);
    job->wrong += status != EFFNET_OK;
    for (int i = 0; i < 20; i++) {
        effnet_prediction again[3];
        effnet_error *error = NULL;
        const effnet_status shared =
            effnet_classify(job->shared, job->photo, job->photo_len, 3, again, &count, &error);
        if (shared == EFFNET_OK) {
            job->done++;
            job->wrong += memcmp(again, job->found, sizeof again) != 0;
        } else {
            job->busy += shared == EFFNET_BUSY;
            job->wrong += shared != EFFNET_BUSY;
        }
        effnet_error_free(error);
        /* Preparing is for any number of threads. */
        effnet_session_info info;
        info.struct_size = sizeof info;
        job->wrong += effnet_session_get_info(job->shared, &info, NULL) != EFFNET_OK;
        float *input = calloc(info.input_elems, sizeof *input);
        job->wrong += input == NULL ||
                      effnet_preprocess(job->shared, job->photo, job->photo_len, input,
                                        info.input_elems, NULL) != EFFNET_OK;
        free(input);
        if (job->quick && i == 2) {
            break;
        }
    }
    /* A session may be destroyed on another thread than it was made on, as the shared one is. */
    effnet_session_destroy(session);
    return NULL;
}

static void threads(const char *packed, const void *photo, size_t photo_len, int quick) {
    effnet_model *model = NULL;
    EXPECT(EFFNET_OK, effnet_model_open(packed, EFFNET_MODEL_COPY, &model, &error));
    effnet_session_options options = options_for(1, quick);
    options.threads = 1;
    effnet_session *shared = session_for(model, options);
    pthread_t ids[THREADS];
    struct job jobs[THREADS];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < THREADS; i++) {
        CHECK(effnet_model_retain(model) == EFFNET_OK);
        jobs[i].model = model;
        jobs[i].shared = shared;
        jobs[i].photo = photo;
        jobs[i].photo_len = photo_len;
        jobs[i].quick = quick;
        if (pthread_create(&ids[i], NULL, work, &jobs[i]) != 0) {
            fprintf(stderr, "abuse.c: no thread\n");
            exit(1);
        }
    }
    effnet_model_release(model);
    int done = 0, busy = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        CHECK(jobs[i].wrong == 0);
        CHECK(memcmp(jobs[i].found, jobs[0].found, sizeof jobs[i].found) == 0);
        done += jobs[i].done;
        busy += jobs[i].busy;
    }
    CHECK(done > 0 && done + busy == THREADS * (quick ? 3 : 20));
    printf("threads: %d calls done, %d told busy\n", done, busy);
    effnet_session_destroy(shared);
}

/* Bytes of memory that the process has; 0 where the system does not say. */
static long resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0, pages = 0;
    if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2) {
        pages = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages * 4096;
}

/* A child has the parent's memory, and none of its threads: it is told so, and nothing hangs. */
static void fork_after_use(const effnet_model *model, const void *photo, size_t photo_len) {
    effnet_session *session = session_for(model, options_for(1, 0));
    effnet_prediction best[1], again[1];
    size_t count = 0;
    EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 1, best, &count, &error));
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        const effnet_status refused =
            effnet_classify(session, photo, photo_len, 1, again, &count, NULL);
        effnet_session_destroy(session);
        /* The model has no threads, and serves the child's own sessions. */
        effnet_session_options options = options_for(1, 0);
        effnet_session *own = NULL;
        const int made = effnet_session_create(model, &options, &own, NULL) == EFFNET_OK;
        const effnet_status done = effnet_classify(own, photo, photo_len, 1, again, &count, NULL);
        effnet_session_destroy(own);
        const int same = again[0].index == best[0].index && again[0].logit == best[0].logit;
        _exit(refused == EFFNET_UNSUPPORTED && made && done == EFFNET_OK && same ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 1, again, &count, &error));
    effnet_session_destroy(session);
}

/* The address sanitiser keeps what was given back for a while. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITISED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITISED 1
#endif
#endif
#ifndef SANITISED
#define SANITISED 0
#endif

/* Everything made and given back again and again: memory stays as it is. */
static void again_and_again(const char *packed, const void *photo, size_t photo_len) {
    enum { WARM_UP = 40, ROUNDS = SANITISED ? 60 : 240 };
    long before = 0;
    for (int round = 0; round < ROUNDS; round++) {
        effnet_model *model = NULL;
        effnet_session *session = NULL;
        effnet_error *error = NULL;
        effnet_session_options options = options_for(2, 1);
        CHECK(effnet_model_open(packed, 0, &model, NULL) == EFFNET_OK);
        CHECK(effnet_session_create(model, &options, &session, NULL) == EFFNET_OK);
        effnet_prediction best[2];
        effnet_outcome outcomes[2];
        const effnet_image images[2] = {{photo, photo_len}, {"no image", 8}};
        size_t count;
        CHECK(effnet_classify(session, photo, 30, 1, best, &count, &error) == EFFNET_BAD_IMAGE);
        effnet_error_free(error);
        CHECK(effnet_classify(session, photo, photo_len, 1, best, &count, NULL) == EFFNET_OK);
        if (round % 8 == 0) {
            CHECK(effnet_classify_many(session, images, 2, 1, best, outcomes, NULL) == EFFNET_OK);
            effnet_error_free(outcomes[1].error);
        }
        effnet_session_destroy(session);
        effnet_model_release(model);
        if (round == WARM_UP) {
            before = resident();
        }
    }
    /* 200 rounds that keep a session's memory each would be gigabytes, an error each 30 KiB. */
    const long grown = resident() - before;
    printf("%d rounds: grown by %ld KiB\n", ROUNDS - WARM_UP, grown / 1024);
    CHECK(SANITISED || grown < 8l << 20);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: abuse CHECKPOINT PACKED PHOTO SCRATCH [quick]\n");
        return 2;
    }
    const char *checkpoint = argv[1], *packed = argv[2], *path = argv[3], *scratch = argv[4];
    const int quick = argc > 5;
    size_t photo_len;
    void *photo = read_file(path, &photo_len);

    without_a_model();
    files(checkpoint, packed, path, scratch);
    effnet_model *model = NULL;
    EXPECT(EFFNET_OK, effnet_model_open(packed, 0, &model, &error));
    if (model == NULL) {
        return 1;
    }
    effnet_session *session = session_for(model, options_for(1, quick));
    models(model, session);
    effnet_session_destroy(session);
    session_options(model, quick);
    runs(model, photo, photo_len, quick);
    photographs(model, path, photo, photo_len, quick);
    if (!quick) {
        /* Valgrind would call it a leak that the child leaves the parent's session alone. */
        fork_after_use(model, photo, photo_len);
    }
    /* A session holds what it needs of its model. */
    session = session_for(model, options_for(1, quick));
    effnet_model_release(model);
    effnet_prediction best[1];
    size_t count = 0;
    EXPECT(EFFNET_OK, effnet_classify(session, photo, photo_len, 1, best, &count, &error));
    effnet_session_destroy(session);
    threads(packed, photo, photo_len, quick);
    if (!quick) {
        again_and_again(packed, photo, photo_len);
    }
    free(photo);

    if (failures > 0) {
        fprintf(stderr, "%d of %d checks failed\n", failures, checks);
        return 1;
    }
    printf("%d checks passed\n", checks);
    return 0;
}
