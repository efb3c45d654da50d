/*
 * Prepares a photograph twice, runs both at once, and writes the input, the logits and the
 * features as bare floats, for tests/compare.py.
 *
 *   run WEIGHTS PHOTO INPUT LOGITS FEATURES
 */

#include <effnet.h>
#include <stdio.h>
#include <stdlib.h>

static void check(effnet_status status, effnet_error *error) {
    if (status != EFFNET_OK) {
        fprintf(stderr, "run.c: %s\n", effnet_error_message(error));
        exit(1);
    }
}

static void *whole(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*len);
    if (bytes == NULL || fread(bytes, 1, *len, file) != *len) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return bytes;
}

static void write_floats(const char *path, const float *values, size_t len) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(values, sizeof *values, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: run WEIGHTS PHOTO INPUT LOGITS FEATURES\n");
        return 2;
    }
    enum { N = 2 };
    effnet_error *error = NULL;
    effnet_model *model;
    effnet_session *session;
    effnet_session_options options;
    check(effnet_model_open(argv[1], EFFNET_MODEL_COPY, &model, &error), error);
    check(effnet_session_options_init(&options, sizeof options), NULL);
    options.device = EFFNET_DEVICE_CPU;
    options.batch = N;
    check(effnet_session_create(model, &options, &session, &error), error);
    effnet_session_info info;
    info.struct_size = sizeof info;
    check(effnet_session_get_info(session, &info, &error), error);

    size_t len;
    void *photo = whole(argv[2], &len);
    const size_t inputs = N * info.input_elems, logit_len = N * (size_t)info.classes;
    const size_t feature_len = N * (size_t)info.features;
    float *input = malloc(inputs * sizeof *input), *logits = malloc(logit_len * sizeof *logits);
    float *features = malloc(feature_len * sizeof *features);
    if (input == NULL || logits == NULL || features == NULL) {
        return 1;
    }
    for (size_t i = 0; i < N; i++) {
        float *to = input + i * info.input_elems;
        check(effnet_preprocess(session, photo, len, to, info.input_elems, &error), error);
    }
    /* Another image, and no photograph. */
    for (size_t i = info.input_elems; i < inputs; i++) {
        input[i] = -input[i];
    }
    check(effnet_run(session, input, inputs, N, logits, logit_len, features, feature_len, &error),
          error);
    write_floats(argv[3], input, inputs);
    write_floats(argv[4], logits, logit_len);
    write_floats(argv[5], features, feature_len);

    free(features);
    free(logits);
    free(input);
    free(photo);
    effnet_session_destroy(session);
    effnet_model_release(model);
    return 0;
}
